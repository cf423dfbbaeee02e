package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/cmd/polder/top"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/waste"
)

// none is what an empty cell shows.
const none = "-"

func orNone(s string) string { return cmp.Or(s, none) }

// clean is [top.Clean], for every line that is printed.
func clean(s string) string { return top.Clean(s) }

// amounts writes resources as "cpu=2,memory=4Gi": the well-known kinds first, other names in order, pools last.
func amounts(m map[string]string) string {
	parts := make([]string, 0, len(m))
	for _, name := range sortedKinds(m) {
		parts = append(parts, name+"="+readable(name, m[name]))
	}
	return orNone(strings.Join(parts, ","))
}

// readable is an amount as people read it. What was written by people stays as it is; bytes that came out of a division lose the
// digits that nobody reads.
func readable(name, text string) string {
	_, kind := resource.SplitName(name)
	if len(text) <= len("12345Gi") || resource.Scale(kind) != 1 {
		return text
	}
	a, err := resource.ParseValue(name, text)
	if err != nil || a == resource.Unlimited {
		return text
	}
	return resource.FormatValue(name, waste.Round(name, a))
}

func sortedKinds(m map[string]string) []string {
	return slices.SortedFunc(maps.Keys(m), compareKinds)
}

func compareKinds(a, b string) int {
	poolA, kindA := resource.SplitName(a)
	poolB, kindB := resource.SplitName(b)
	return cmp.Or(cmp.Compare(poolA, poolB), cmp.Compare(rank(kindA), rank(kindB)), cmp.Compare(kindA, kindB))
}

func rank(kind string) int {
	if i := slices.Index([]string{"cpu", "memory", "disk", "gpu"}, kind); i >= 0 {
		return i
	}
	return 4
}

// pairs writes a map as "a=1,b=2" in order.
func pairs(m map[string]string) string {
	parts := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+"="+m[k])
	}
	return orNone(strings.Join(parts, ","))
}

func portList(m map[string]uint32) string {
	parts := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+"="+strconv.FormatUint(uint64(m[k]), 10))
	}
	return orNone(strings.Join(parts, ","))
}

// span writes a duration without zero parts: 35s, 2m, 1h30m.
func span(d *durationpb.Duration) string {
	if d == nil {
		return none
	}
	return shortDuration(d.AsDuration())
}

func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// age writes how long ago t was, in one unit.
func (a *app) age(t *timestamppb.Timestamp) string {
	if t == nil {
		return none
	}
	return oneUnit(a.now().Sub(t.AsTime()))
}

// until writes how long it is to t, in one unit.
func (a *app) until(t *timestamppb.Timestamp) string {
	if t == nil {
		return none
	}
	d := t.AsTime().Sub(a.now())
	if d < 0 {
		return oneUnit(-d) + " ago"
	}
	return "in " + oneUnit(d)
}

func oneUnit(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// stamp writes an instant in the local time zone.
func stamp(t *timestamppb.Timestamp) string {
	if t == nil {
		return none
	}
	return t.AsTime().Local().Format("2006-01-02 15:04:05 MST")
}

// stateName is a task state as users write it: "running".
func stateName(s polderv1.TaskState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "TASK_STATE_"))
}

// ended reports whether a task in this state will not change any more.
func ended(s polderv1.TaskState) bool { return s >= polderv1.TaskState_TASK_STATE_SUCCEEDED }

// why is a reason in one line.
func why(r *polderv1.Reason) string {
	if r == nil {
		return none
	}
	return orNone(r.GetMessage())
}

func count[N int32 | uint32 | int64](n N) string { return strconv.FormatInt(int64(n), 10) }

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
