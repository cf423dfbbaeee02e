// Package console holds the tests of the console in a real browser: every page and action, with a real server, real and
// simulated nodes. They need Node.js, which builds the pages, and Chromium; without either they fail and say so.
package console
