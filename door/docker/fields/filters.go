package fields

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Filters reads the parameter filters of a list: {"label":{"a=b":true}} as clients of today write it, or {"label":["a=b"]} as old ones
// do. As engines have it, a value counts by being there, even where it is said to be false. Values are in order; nothing is no filter.
func Filters(text string) (map[string][]string, error) {
	out := map[string][]string{}
	if text == "" {
		return out, nil
	}
	var now map[string]map[string]bool
	if json.Unmarshal([]byte(text), &now) == nil {
		for name, values := range now {
			out[name] = slices.Sorted(maps.Keys(values))
		}
		return out, nil
	}
	if json.Unmarshal([]byte(text), &out) != nil {
		return nil, fmt.Errorf("invalid filter: %.200s", text)
	}
	for _, values := range out {
		slices.Sort(values)
	}
	return out, nil
}
