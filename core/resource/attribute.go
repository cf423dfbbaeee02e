package resource

import (
	"fmt"
	"sort"
	"strings"
)

// Attributes are what a node says about itself beside its amounts: zone=a, gpu-model=a100. Names are as [ValidName] has
// them; values are any text without a comma.
type Attributes map[string]string

// ParseAttributes reads "zone=a,rack=r12". An empty text is no attributes.
func ParseAttributes(s string) (Attributes, error) {
	out := Attributes{}
	for f := range strings.SplitSeq(s, ",") {
		if f = strings.TrimSpace(f); f == "" {
			continue
		}
		name, value, ok := strings.Cut(f, "=")
		if !ok || !ValidName(name) {
			return nil, fmt.Errorf("attribute %q: write name=value, the name in lower-case letters, digits, '-', '_' and '.'", f)
		}
		if _, dup := out[name]; dup {
			return nil, fmt.Errorf("attribute %s is given twice", name)
		}
		out[name] = value
	}
	return out, nil
}

// String writes a as [ParseAttributes] reads it, names sorted.
func (a Attributes) String() string {
	parts := make([]string, 0, len(a))
	for name, value := range a {
		parts = append(parts, name+"="+value)
	}
	sort.Strings(parts)
	return strings.Join(parts, ",")
}

// Match reports whether a has every attribute of the selector with the same value. An empty selector matches anything.
func (a Attributes) Match(selector Attributes) bool {
	for name, want := range selector {
		if got, ok := a[name]; !ok || got != want {
			return false
		}
	}
	return true
}
