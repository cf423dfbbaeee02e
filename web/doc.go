// Package web is the console: pages in a browser that show the pool and act on it.
//
// The pages are one program, in ui, which the build puts into the binary. It speaks the native API's JSON through
// /console/api, and hears of changes through server-sent events below /console/live. Both end at the server's own handler,
// as calls of whoever is logged in: the console has no rights of its own and shows nothing to a stranger.
//
// # Logging in
//
// A browser logs in once with a token, or with a ticket: a word that "polder console" gets for its own token, good once
// and for a few minutes. It is given a cookie that holds the token, sealed with a key that the servers of a cluster share, so
// a restart logs nobody out. The server judges the token on every request; a revoked one is refused at once. The cookie is
// out of scripts' reach and is sent by pages of this origin only; requests that another origin caused are refused besides.
//
// # Live
//
// A stream carries the changes after a revision, with the revision as its event's id, so a browser that reconnects goes on
// where it was. The queue of a slow one is the server's bounded log of changes: who falls out of it is told "resync" and
// reads everything again. One that takes nothing at all is hung up on.
//
// # Terminals
//
// A command in a task runs for as long as the request that started it is read; what is typed comes in requests of their own,
// which only the session that started it may send. The server judges and audits it as any exec, and ends it when the token is
// no longer good.
//
// # What it is not
//
// It keeps no state but tickets and open terminals, draws nothing itself, and decides nothing.
//
// The handler is safe for concurrent use.
package web
