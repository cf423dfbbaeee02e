// Package witness watches the worker tasks of the stories from their own side. A worker connects to a unix socket and says
// what happens to it; that it has died is seen by the connection ending, which the kernel does for every process however it
// ends. What Polder says about the tasks is not looked at here.
//
// A [Witness] may be used from any goroutine. Times are of the machine's wall clock, which all of the parties share; setting
// it during a story spoils the story.
package witness
