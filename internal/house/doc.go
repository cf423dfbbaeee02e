// Package house keeps this repository in order: its rules are tests, and each test says what it found and why the rule is
// there. It has no code of its own.
//
// The rules: imports go down the floors; the core is pure; every package and exported name is documented; files and
// functions stay small; no package is a drawer for everything; every dependency has a line that defends it; links and test
// names in documents exist. An exception is a line in a table, with its reason; one that is no longer needed fails.
//
// What the rules mean is in docs/house.md. Files are parsed, not compiled, so that a broken package does not hide another's
// fault.
package house
