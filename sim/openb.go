package sim

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// BadLine is a line of a trace that cannot be read.
type BadLine struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Reason string `json:"reason"`
	Head   bool   `json:"-"` // it is the one that names the columns: without it none can be read
}

// Error writes file:line: reason.
func (b BadLine) Error() string { return fmt.Sprintf("%s:%d: %s", b.File, b.Line, b.Reason) }

// MaxTraceLines is the most lines a trace file may have.
const MaxTraceLines = 2_000_000

// ReadTrace reads a trace's pods and nodes in the columns of the openb trace:
//
//	name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
//	sn,cpu_milli,memory_mib,gpu,model
//
// Times are in seconds. Every line that cannot be read is given to bad, which says whether to go on; nil stops at the first.
func ReadTrace(podsName string, pods io.Reader, nodesName string, nodes io.Reader, bad func(BadLine) bool) (*Trace, error) {
	t := &Trace{Name: podsName}
	err := readTable(nodesName, nodes, []string{"sn", "cpu_milli", "memory_mib", "gpu", "model"}, bad, func(r row) {
		t.Nodes = append(t.Nodes, r.node())
	})
	if err != nil {
		return nil, err
	}
	columns := []string{"name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec", "qos", "creation_time", "deletion_time"}
	err = readTable(podsName, pods, columns, bad, func(r row) {
		t.Tasks = append(t.Tasks, r.pod())
	})
	switch {
	case err != nil:
		return nil, err
	case len(t.Nodes) == 0:
		return nil, fmt.Errorf("%s has no node", nodesName)
	case len(t.Tasks) == 0:
		return nil, fmt.Errorf("%s has no pod", podsName)
	}
	slices.SortStableFunc(t.Tasks, func(a, b TraceTask) int { return int(a.At - b.At) })
	return t, nil
}

// row is a line of a table being read.
type row struct {
	names []string
	cells []string
}

func readTable(file string, from io.Reader, columns []string, bad func(BadLine) bool, take func(row)) error {
	c := csv.NewReader(bufio.NewReader(from))
	c.ReuseRecord, c.FieldsPerRecord = true, -1
	head, err := c.Read()
	if err != nil {
		return BadLine{File: file, Line: 1, Reason: fmt.Sprintf("no line with the names of the columns: %v; it needs %s", err, strings.Join(columns, ", ")), Head: true}
	}
	head = slices.Clone(head)
	for _, name := range columns {
		if !slices.Contains(head, name) {
			return BadLine{File: file, Line: 1, Reason: fmt.Sprintf("there is no column %s; it needs %s", name, strings.Join(columns, ", ")), Head: true}
		}
	}
	for n := 0; ; n++ {
		cells, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		line, _ := c.FieldPos(0)
		if n >= MaxTraceLines {
			return BadLine{File: file, Line: line, Reason: fmt.Sprintf("more than %d lines", MaxTraceLines)}
		}
		if err == nil && len(cells) != len(head) {
			err = fmt.Errorf("%d values for %d columns", len(cells), len(head))
		}
		if err == nil {
			err = takeRow(head, cells, take)
		}
		if err == nil {
			continue
		}
		var broken *csv.ParseError
		if errors.As(err, &broken) {
			line, err = broken.StartLine, broken.Err
		}
		b := BadLine{File: file, Line: line, Reason: err.Error()}
		if bad == nil || !bad(b) {
			return b
		}
	}
}

// takeRow gives a row away unless reading it fails.
func takeRow(head, cells []string, take func(row)) (err error) {
	defer func() {
		if r := recover(); r != nil {
			wrong, ok := r.(rowError)
			if !ok {
				panic(r)
			}
			err = wrong.error
		}
	}()
	take(row{names: head, cells: cells})
	return nil
}

// rowError leaves the reading of a row.
type rowError struct{ error }

func (r row) text(name string) string { return r.cells[slices.Index(r.names, name)] }

// number reads a whole number up to a bound.
func (r row) number(name string, most int64) int64 {
	n, err := strconv.ParseInt(r.text(name), 10, 64)
	if err != nil || n < 0 || n > most {
		panic(rowError{fmt.Errorf("%s is %q; want a whole number from 0 to %d", name, r.text(name), most)})
	}
	return n
}

// What one machine may have in a trace, and how long a trace may be.
const (
	maxMilli   = 10_000_000
	maxMiB     = 100 << 20
	maxSeconds = 10 * 366 * 24 * 3600
)

func (r row) node() cluster.NodeInfo {
	n := cluster.NodeInfo{Name: r.text("sn"), Attributes: resource.Attributes{}, Capacity: resource.Resources{
		"cpu": resource.Amount(r.number("cpu_milli", maxMilli)), "memory": resource.Amount(r.number("memory_mib", maxMiB)) << 20,
	}}
	if n.Name == "" {
		panic(rowError{errors.New("the node has no name (sn)")})
	}
	if gpus := r.number("gpu", 1000); gpus > 0 {
		n.Capacity["gpu"] = resource.Amount(gpus) * resource.Milli
		n.Attributes["gpu-model"] = r.text("model")
	}
	return n
}

func (r row) pod() TraceTask {
	t := TraceTask{
		Name: r.text("name"), Role: strings.ToLower(r.text("qos")), At: time.Duration(r.number("creation_time", maxSeconds)) * time.Second,
		Resources: resource.Resources{},
	}
	if t.Name == "" || !role.ValidPath(t.Role) {
		panic(rowError{fmt.Errorf("name %q or qos %q is not a name", t.Name, r.text("qos"))})
	}
	ends := time.Duration(r.number("deletion_time", maxSeconds)) * time.Second
	if ends < t.At {
		panic(rowError{fmt.Errorf("it is deleted at %s, before its creation at %s", r.text("deletion_time"), r.text("creation_time"))})
	}
	t.Duration = max(time.Second, ends-t.At) // times are in full seconds
	for kind, amount := range map[string]int64{
		"cpu": r.number("cpu_milli", maxMilli), "memory": r.number("memory_mib", maxMiB) << 20, "gpu": r.number("num_gpu", 1000) * r.number("gpu_milli", 1000),
	} {
		if amount > 0 {
			t.Resources[kind] = resource.Amount(amount)
		}
	}
	if len(t.Resources) == 0 {
		panic(rowError{errors.New("it needs nothing")})
	}
	if models := r.text("gpu_spec"); models != "" {
		t.Constraints = []placement.Constraint{{Attribute: "gpu-model", Op: placement.In, Values: strings.Split(models, "|")}}
	}
	return t
}
