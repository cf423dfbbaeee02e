// Package cli is the command line of Polder: the tree of commands, the connection to the server, and what is printed.
//
// Every client command is one native API call or a few, over TLS, as the caller: there is no second way in. The package
// keeps no state and takes no decision about leases; it validates what was typed, calls, and says what came back. The
// long-running processes (up, server, agent, demo) are given by the caller in [Processes]; the package only reads
// their flags.
//
// Exit codes: 0 fine, 1 error, 2 wrong usage or input, 3 not found, 4 denied, 5 conflict, 6 timeout, 130 interrupted;
// run --wait and exec end with the task's own code.
//
// One [Main] runs one command at a time; different values are independent.
package cli
