// Package auth says who is calling and what they may do: identities, tokens, the cluster's certificate authority, the one
// permission table, and the audit trail.
//
// # Who
//
// A person carries a token in the header "Authorization: Bearer polder-<id>-<secret>". An agent carries a certificate of
// the cluster's own authority whose URI is "polder://agent/<node>"; a door that runs in a process of its own carries
// "polder://door/<name>". An agent gets its certificate once, with a join token, which also holds the digest of the
// authority: the agent knows it speaks to the right cluster before it sends the secret. [Authenticator] turns a request
// into an [Identity] or into an error that says which of these went wrong.
//
// # What
//
// Permissions are one table of [Rule]: subject, verbs, role pattern. What no rule allows is denied. Subjects are
// "user:<name>", "door:<name>", "group:<name>" and "*", which is every authenticated user and door. Role patterns are
// "corp/search" (that role alone), "corp/search/**" (it and all below), "**" (everything) and "/" (the root alone).
// The verbs are a closed list:
//
//	verb    on a role it allows to                                                  checked on
//	view    read usage, asks, tasks, leases, notices, events, explanations          the role; nodes: the root
//	logs    read what a task writes, and the files of its sandbox                   the task's role
//	run     ask, claim, accept offers, cancel, kill tasks, answer their notices     the task's role
//	exec    start a command in, or attach to, a running task                        the task's role
//	host    run containers that reach beyond themselves on their machine: its        the task's role
//	        directories, devices, namespaces, more capabilities
//	plan    change the plan of the role                                             every role whose plan changes
//	node    cordon, drain, label and forget nodes                                   the root
//	token   issue and revoke join tokens, and tokens for oneself                    the root
//	admin   all of the above, anybody's tokens, the permission table, the audit     the role; the table: the root
//
// admin implies every other verb on the roles its rule names; no other verb implies another. The group "admin" holds
// admin on everything by a built-in rule that cannot be removed. An agent has no permission on roles at all: it may
// only act for its own node ([CheckNode]).
//
// # What it is not
//
// It keeps no session, decodes no API object and never decides by itself when to check: the server authorises the
// decoded object of every call. It does not know the store; it writes through [Records].
//
// Every type is safe for concurrent use unless its comment says otherwise. No goroutine is started here.
package auth
