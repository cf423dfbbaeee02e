// Package etcd implements [store.Store] on etcd: embedded in this process, on a directory, with no socket at all
// ([OpenEmbedded]); or external, by endpoints and TLS, when several servers stand by for each other ([OpenExternal]).
//
// Every write goes through etcd's log and is on disk when it returns; fsync is never relaxed. An election is etcd's own
// (a key on a lease that is kept alive), and the fence of a leader's write is a comparison with the revision that key was
// created at, inside the same transaction.
//
// It is no general etcd client: the keys below the root belong to this package.
package etcd
