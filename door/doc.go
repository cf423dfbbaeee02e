// Package door is what protocol fronts share: the way from a door into the server that runs in the same process.
//
// A door translates a protocol and nothing else. What it wants of the pool it asks through the native API, like anybody
// else: [Open] gives it the API's clients, and every call goes through the same guard as a call from the network, with the
// caller's own credentials, permissions and line in the audit trail. [As] puts the caller into a context: the credentials
// of the client being served, passed on unread, or, for work that goes on after the client has hung up, the identity it is
// done for.
//
// It is not a protocol and keeps no state: sessions, objects and their books belong to the door.
//
// An [API] is safe for concurrent use. A call that is answered once runs in the caller's goroutine, and so does what [API.WatchNodes] and
// [API.WatchEvents] follow; any other stream runs in one beside it, which ends with the stream.
package door
