// Package agent is a machine's Polder process: it joins the cluster, runs what the server assigns to the machine, and
// keeps what was promised to tasks whether the server is there or not.
//
// # What it promises
//
//   - A task is recorded on the agent's disk before it is started, and started once: launching it again, restarting the
//     agent, or killing it with SIGKILL at any instant changes nothing. What cannot be recorded is not started; it is
//     reported FAILED with reason NoCheckpoint.
//   - The end of a task is kept until the server says that it has it, and reported after every reconnection until then.
//     Of a task that changes quickly the server may see only the newest state.
//   - A leader whose epoch is lower than the highest this agent has obeyed is not obeyed.
//   - Nothing is said to have ended because an engine or the server is away. A task that runs without a record is
//     reported and left alone.
//   - When the agent ends, tasks go on; [Agent.StopAll] ends them.
//
// # Notices
//
// A notice is on disk before its time counts. Its deadline is the grace after that, or the server's deadline if that is
// later; telling it again may only move it later. The deadline is counted in time since boot, so that setting the clock
// moves it neither way, and it goes on over restarts of the agent. A notice the disk refuses is tried again every second
// and not accepted before.
//
// The task finds the notice in notice.json in its sandbox and, if it asked for that, gets a signal and an HTTP POST of the
// same document: {"id", "claimant", "amount", "issued", "deadline", "state"}. State is "open", or "withdrawn" when the
// task may stay after all. It answers in the body of the POST's response or in answer.json in its sandbox:
// {"done":true} means stop me now, {"released":{"cpu":"1"}} means part is given back and it goes on. What is released is the
// total under this notice: saying it again, in every session and to every leader, gives nothing more back. The server takes
// off the lease what the total has beyond the difference between the amount of the notice, as reports have it, and what the
// lease holds now. Ending is an answer, too: a task that ends under an open notice is RECLAIMED. The one exception is exit code 0 before any stop signal, which
// says that the work is finished: SUCCEEDED. A task that saves its work to go on elsewhere answers done, waits for the
// stop signal, or ends with another code. A withdrawal changes nothing about that until the deadline the task was told: it
// may be leaving already, so a failure before then is RECLAIMED, too.
//
// Otherwise the stop signal comes at the deadline, and SIGKILL a second later. A task whose kill policy sets a grace of its
// own gets the signal that much before the deadline, but not before half of the notice is over, and SIGKILL at the
// deadline. Neither comes earlier, except to a task that said it is done or that somebody else stopped. A stop signal that was sent cannot be taken back by a withdrawal; an event says so.
//
// # Ends
//
// SUCCEEDED and FAILED are the task's own doing, or a failed start, health check (Unhealthy) or run time (MaxRunTime).
// A stop of the server makes it KILLED, or RECLAIMED when the stop's reason is Done. LOST is a task
// whose end nobody saw (Vanished, Lost), that this agent never had (UnknownTask), or that ended with its agent
// (NodeStopped). The agent restarts nothing: the server decides that from the report.
//
// After the server has the end, logs and sandbox stay for [Config.KeepEnded].
//
// # What waits, and what happens when there is too much
//
// Reports are kept per task and never dropped. Up to 256 events wait for the server; then the oldest are dropped and
// their number is told. Heartbeats are not queued. A task takes 16 commands at a time; more make the session wait.
// A change the disk refuses is tried again every second. A relay that is not read makes its task's command wait.
//
// # What it is not
//
// It listens on no network, places nothing, and does not judge who may do what: it obeys the leader it authenticated.
//
// [New], [Agent.Run] and [Agent.StopAll] may be called from any goroutine; Run is called once. One goroutine owns each
// task; none outlives Run.
package agent
