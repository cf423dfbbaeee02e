// Package docker tells one story on a real container engine: a server and three agents as processes, tasks as containers of an
// engine that is started for it in a directory of its own. Containers run, speak, are looked into, lend their place and give
// it back, and go on after their engine was restarted. The package has only tests, and they fail where no engine can be
// started: see e2e/packages.sh for what is missing.
package docker
