// Package store is where the leader keeps what must survive it: byte values under path-like keys, one revision that grows
// with every change, and an election whose winner's writes are fenced.
//
// [Store] is the interface; [Memory] implements it for tests and for trying things out; package etcd implements it on an
// embedded or an external etcd. All pass the one suite in package storetest.
//
//	lead, err := st.Campaign(ctx, "server")          // blocks until leader
//	snap, err := st.View(ctx, "/node/")              // what is there
//	for c := range st.Watch(ctx, "/node/", snap.Revision) {} // everything after, no gap
//	_, err = lead.Update(ctx, store.Txn{Ops: []store.Op{store.Put("/node/a", v)}})
//
// Leases, tasks and notices are not kept here: agents hold them, so that launching does not wait for a quorum.
//
// The package knows nothing about what the values mean. A Store and a Leadership are safe for concurrent use.
package store
