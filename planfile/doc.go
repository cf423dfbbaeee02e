// Package planfile reads and writes plans as an operator keeps them: YAML (or JSON, which is YAML) in a file.
//
// Reading is strict. A field nobody knows, a key given twice, a value of the wrong sort and everything [role.Validate] finds
// are reported together, each with its line and its path. It does not open files and does not know when or whether a plan
// is applied. [Decode] reads the house's other files by the same rules. Its functions keep no state and may be called concurrently.
package planfile
