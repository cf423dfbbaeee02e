package kube

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"polder.dev/polder/agent/runtime"
)

var (
	podUID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	static = regexp.MustCompile(`^[0-9a-f]{32}$`) // a kubelet's own name of a pod
)

// checkLabels refuses a task that is no pod's.
func checkLabels(labels map[string]string) error {
	if uid := labels[UIDLabel]; !podUID.MatchString(uid) {
		return fmt.Errorf("label %s is %q, not a pod's uid", UIDLabel, uid)
	}
	if uid := labels[StaticLabel]; uid != "" && !static.MatchString(uid) && !podUID.MatchString(uid) {
		return fmt.Errorf("label %s is %q, not a kubelet's name of a pod", StaticLabel, uid)
	}
	return nil
}

// record is a lease as it is on disk.
type record struct {
	Spec    runtime.Spec  `json:"spec"`   // as launched
	Funded  string        `json:"funded"` // as of now
	BootID  string        `json:"bootID"`
	Created time.Time     `json:"created"`
	Seen    bool          `json:"seen,omitempty"` // the pod's cgroup was there in this boot
	Exit    *runtime.Exit `json:"exit,omitempty"`
}

func (r record) status() runtime.Status {
	s := runtime.Status{TaskID: r.Spec.TaskID, Role: r.Spec.Role, Node: r.Spec.Node, Funded: r.Funded, Labels: r.Spec.Labels,
		State: runtime.Running, StartedAt: r.Created, Exit: r.Exit, Isolation: "container"}
	if r.Exit != nil {
		s.State = runtime.Exited
	}
	return s
}

func (r record) file(dir string) string { return filepath.Join(dir, r.Spec.TaskID+".json") }

// write replaces the record.
func (r record) write(dir string) error { return runtime.WriteRecord(r.file(dir), r) }

func (r record) remove(dir string) error {
	if err := os.Remove(r.file(dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func readRecords(dir string) ([]record, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []record
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		r, err := decodeRecord(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w; move it away to forget the pod's lease", filepath.Join(dir, e.Name()), err)
		}
		out = append(out, r)
	}
	return out, nil
}

func decodeRecord(data []byte) (record, error) {
	var r record
	if err := runtime.DecodeRecord(data, &r); err != nil {
		return r, err
	}
	if err := checkLabels(r.Spec.Labels); err != nil {
		return r, err
	}
	return r, r.Spec.Validate()
}

// config is the file that names the node's program.
type config struct {
	// Command starts it. What follows is appended: --node, --dir, --cgroup, --cpu and --memory, each with its value.
	Command []string `json:"command"`
	// Exec runs a command in a pod; empty is not at all. What follows is appended: --dir, --pod with the pod's uid, --stdin and --tty if
	// they are wanted, and after "--" the command.
	Exec []string `json:"exec,omitempty"`
}

func readConfig(path string) (config, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return config{}, &runtime.Error{Kind: runtime.ErrUnavailable, Op: "kube", Cause: fmt.Errorf("there is no %s yet", path), Next: "start polder-kube up, which writes it"}
	}
	if err != nil {
		return config{}, &runtime.Error{Kind: runtime.ErrUnavailable, Op: "kube", Cause: err}
	}
	c, err := decodeConfig(data)
	if err != nil {
		return c, &runtime.Error{Kind: runtime.ErrUnavailable, Op: "kube", Cause: fmt.Errorf("%s: %w", path, err)}
	}
	return c, nil
}

func decodeConfig(data []byte) (config, error) {
	var c config
	if err := runtime.DecodeRecord(data, &c); err != nil {
		return c, err
	}
	if len(c.Command) == 0 || !filepath.IsAbs(c.Command[0]) {
		return c, fmt.Errorf("command %q does not start with the absolute path of a program", c.Command)
	}
	if len(c.Exec) > 0 && !filepath.IsAbs(c.Exec[0]) {
		return c, fmt.Errorf("exec %q does not start with the absolute path of a program", c.Exec)
	}
	return c, nil
}
