package node

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	cri "k8s.io/cri-client/pkg"
)

// exitsEvery is between two looks at containers that have ended. The kubelet takes a pod's cgroup away later than that.
const exitsEvery = 500 * time.Millisecond

// Labels that the kubelet gives every container.
const (
	uidLabel  = "io.kubernetes.pod.uid"
	nameLabel = "io.kubernetes.container.name"
)

// exit is what the agent reads about a pod whose cgroup is gone: how the container ended that failed, or that none did.
type exit struct {
	Container string `json:"container"`
	Code      int32  `json:"code"`
	OOM       bool   `json:"oom,omitempty"`
}

// ended is one container that has ended, for the last time so far.
type ended struct {
	exit
	at int64 // nanoseconds
}

// ends is what is needed of the container runtime.
type ends interface {
	ListContainers(context.Context, *runtimev1.ContainerFilter) ([]*runtimev1.Container, error)
	ContainerStatus(context.Context, string, bool) (*runtimev1.ContainerStatusResponse, error)
}

// watchExits notes for the agent how pods' containers end, until ctx is done: the agent itself sees only that they are gone.
func (n *machine) watchExits(ctx context.Context) {
	r, err := cri.NewRemoteRuntimeServiceBuilder().WithEndpoint("unix://" + n.socket).WithConnectionTimeout(purgeLimit).Build(ctx)
	if err == nil {
		err = os.MkdirAll(n.path("exits"), 0o700)
	}
	if err != nil {
		n.Logger.Warn("how containers end will not be known", "error", err)
		return
	}
	w := &exits{dir: n.path("exits"), from: r, seen: map[string]bool{}, pods: map[string]map[string]ended{}}
	for {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			n.Logger.Warn("how containers have ended is not known", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(exitsEvery):
		}
	}
}

// exits follows containers.
type exits struct {
	dir  string
	from ends
	seen map[string]bool             // containers that have been asked about
	pods map[string]map[string]ended // by uid, then container
}

// look asks about containers that have ended since the last look, and forgets those that are gone.
func (w *exits) look(ctx context.Context) error {
	list, err := w.from.ListContainers(ctx, &runtimev1.ContainerFilter{State: &runtimev1.ContainerStateValue{State: runtimev1.ContainerState_CONTAINER_EXITED}})
	if err != nil {
		return err
	}
	there, pods := map[string]bool{}, map[string]bool{}
	for _, c := range list {
		uid, name := c.Labels[uidLabel], c.Labels[nameLabel]
		there[c.Id], pods[uid] = true, true
		if w.seen[c.Id] || uid == "" || uid != filepath.Base(uid) {
			continue
		}
		res, err := w.from.ContainerStatus(ctx, c.Id, false)
		if err != nil {
			continue // gone meanwhile, or asked again at the next look
		}
		if err := w.note(uid, name, res.GetStatus()); err != nil {
			return err // and asked again at the next look
		}
		w.seen[c.Id] = true
	}
	for id := range w.seen {
		if !there[id] {
			delete(w.seen, id)
		}
	}
	for uid := range w.pods {
		if !pods[uid] {
			delete(w.pods, uid)
		}
	}
	return nil
}

// note keeps a container's last end and writes down how its pod stands.
func (w *exits) note(uid, name string, s *runtimev1.ContainerStatus) error {
	if w.pods[uid] == nil {
		w.pods[uid] = map[string]ended{}
	}
	if w.pods[uid][name].at > s.GetFinishedAt() {
		return nil
	}
	w.pods[uid][name] = ended{exit{name, s.GetExitCode(), s.GetReason() == "OOMKilled"}, s.GetFinishedAt()}
	file := filepath.Join(w.dir, uid)
	e, failed := firstFailure(w.pods[uid])
	if !failed {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// firstFailure is the container that failed first, by its last end. One that was told to end has not failed.
func firstFailure(all map[string]ended) (exit, bool) {
	var failed []ended
	for _, e := range all {
		told := e.Code == 128+15 || e.Code == 128+9 && !e.OOM
		if e.Code != 0 && !told {
			failed = append(failed, e)
		}
	}
	if len(failed) == 0 {
		return exit{}, false
	}
	return slices.MinFunc(failed, func(a, b ended) int { return int(a.at - b.at) }).exit, true
}
