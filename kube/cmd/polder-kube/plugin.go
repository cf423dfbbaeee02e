package main

import (
	"context"
	"sync/atomic"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"polder.dev/polder/kube/claim"
)

// plugin makes the scheduler's plugin and keeps the way to its queue. The scheduler starts after the book is there.
func (d *doorway) plugin(ctx context.Context, args runtime.Object, h fwk.Handle) (fwk.Plugin, error) {
	d.queue.to.Store(&h)
	return claim.Factory(d.book)(ctx, args, h)
}

// queue is the scheduler's queue, once there is a scheduler.
type queue struct{ to atomic.Pointer[fwk.Handle] }

// Activate implements [claim.Activator].
func (q *queue) Activate(log klog.Logger, pods map[string]*v1.Pod) {
	if h := q.to.Load(); h != nil {
		(*h).Activate(log, pods)
	}
}
