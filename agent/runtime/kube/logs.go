package kube

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"polder.dev/polder/agent/runtime"
)

const followEvery = 200 * time.Millisecond

// Logs copies what the kubelet keeps of the pod's output: of all containers, in order of time. Where the pod has several, a line
// begins with the name of its container. It is gone when the kubelet has removed the pod.
func (r *Runtime) Logs(ctx context.Context, taskID string, opt runtime.LogOptions, stdout, stderr io.Writer) error {
	t, err := r.lookup("logs", taskID)
	if err != nil {
		return err
	}
	o := &output{pod: filepath.Join(r.opt.Output, "*_"+t.uid()), files: map[string]*outputFile{}, to: map[string]io.Writer{"stdout": stdout, "stderr": stderr}}
	defer o.close()
	lines := lastOf(o.read(), opt.Tail)
	if t.ended() && len(o.files) == 0 {
		return &runtime.Error{Kind: runtime.ErrNotRunning, Op: "logs", Task: taskID, Cause: errors.New("its output went with its pod")}
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for last := !opt.Follow; ; lines = o.read() {
		if err := o.write(lines); err != nil || last {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.done:
			last = true // what it wrote before its end is there
		case <-tick.C:
		}
	}
}

// output is what the containers of one pod write, as the kubelet keeps it: a directory for each container, in it a file for each
// start, named by its number. A file that is full gets another name, and a new one takes its place.
type output struct {
	pod   string // pattern of the pod's directory
	files map[string]*outputFile
	to    map[string]io.Writer // by stream; nil is not wanted
	many  bool                 // containers
}

// outputFile is a file that is being read.
type outputFile struct {
	*os.File
	container string
	rest      []byte // the beginning of a line
	within    bool   // what was written last did not end its line
}

// outputLine is a piece of a line, in the words of the kubelet's format: "time stream P|F text".
type outputLine struct {
	at      time.Time
	stream  string
	partial bool
	text    []byte
	file    *outputFile
}

// read is what came since it was called last, in order of time.
func (o *output) read() []outputLine {
	dirs, _ := filepath.Glob(filepath.Join(o.pod, "*")) // the pattern is fine, and what is not there yet comes later
	o.many = len(dirs) > 1
	var lines []outputLine
	for _, dir := range dirs {
		names, _ := filepath.Glob(filepath.Join(dir, "*.log"))
		for _, name := range names {
			lines = append(lines, o.readFile(name, filepath.Base(dir))...)
		}
	}
	slices.SortStableFunc(lines, func(a, b outputLine) int { return a.at.Compare(b.at) })
	return lines
}

// readFile reads on in a file. When another one has its name, the one before is read to its end.
func (o *output) readFile(name, container string) (lines []outputLine) {
	f := o.files[name]
	if f != nil {
		lines = f.lines()
		if same(f.File, name) {
			return lines
		}
		f.Close()
		delete(o.files, name)
	}
	opened, err := os.Open(name)
	if err != nil {
		return lines // gone again
	}
	f = &outputFile{File: opened, container: container}
	o.files[name] = f
	return append(lines, f.lines()...)
}

func same(f *os.File, name string) bool {
	now, err := os.Stat(name)
	if err != nil {
		return true // nothing else is there
	}
	was, err := f.Stat()
	return err == nil && os.SameFile(was, now)
}

// lines are the whole lines that came since it was called last.
func (f *outputFile) lines() []outputLine {
	data, _ := io.ReadAll(f) // what was read so far counts
	f.rest = append(f.rest, data...)
	var out []outputLine
	for {
		line, rest, whole := bytes.Cut(f.rest, []byte("\n"))
		if !whole {
			f.rest = bytes.Clone(f.rest)
			return out
		}
		f.rest = rest
		if l, ok := decodeLine(line); ok {
			l.file = f
			out = append(out, l)
		}
	}
}

// decodeLine reads one line; what is none of the format is passed over.
func decodeLine(line []byte) (outputLine, bool) {
	parts := bytes.SplitN(line, []byte(" "), 4)
	if len(parts) < 4 {
		return outputLine{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(parts[0]))
	if err != nil {
		return outputLine{}, false
	}
	tag, _, _ := strings.Cut(string(parts[2]), ":")
	return outputLine{at: at, stream: string(parts[1]), partial: tag == "P", text: parts[3]}, true
}

// lastOf keeps the last n pieces of each stream; 0 keeps all.
func lastOf(lines []outputLine, n int) []outputLine {
	if n <= 0 {
		return lines
	}
	kept, count := []outputLine{}, map[string]int{}
	for _, l := range slices.Backward(lines) {
		if !l.partial {
			count[l.stream]++
		}
		if count[l.stream] <= n {
			kept = append(kept, l)
		}
	}
	slices.Reverse(kept)
	return kept
}

// write passes lines on to those who want them.
func (o *output) write(lines []outputLine) error {
	for _, l := range lines {
		w := o.to[l.stream]
		if w == nil {
			continue
		}
		var text []byte
		if o.many && !l.file.within {
			text = append(text, l.file.container+": "...)
		}
		if text = append(text, l.text...); !l.partial {
			text = append(text, '\n')
		}
		l.file.within = l.partial
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return nil
}

func (o *output) close() {
	for _, f := range o.files {
		f.Close()
	}
}
