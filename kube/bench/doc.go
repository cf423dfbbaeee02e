// Package bench measures what the pool costs kube-scheduler: pods a second and processor time with the plugin and everything that goes
// with it, beside the stock scheduler on the same objects, by turns. Everything is real but the machines: etcd, the API server, the
// controller manager and the scheduler are one process, the pool's server is another, and thousands of nodes are objects on one side and
// sessions on the other. The stock scheduler's process has its parts speak TLS with each other, as stock processes do; the door's is as
// the door runs it.
//
// Pods a second are from the first that is bound to the last. Processor time is until their events are written, too: they come later.
//
// It is a measurement and not a test: "make bench-kube" runs it.
package bench
