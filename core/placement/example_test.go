package placement_test

import (
	"fmt"

	"polder.dev/polder/core/placement"
	"polder.dev/polder/core/resource"
)

func Example() {
	kinds := resource.NewKinds()
	ix := placement.NewIndex(kinds, placement.Options{})
	for i, zone := range []string{"a", "a", "b"} {
		ix.Set(placement.NodeID(i), placement.Node{
			Name:        fmt.Sprintf("node-%d", i),
			Attributes:  resource.Attributes{"zone": zone},
			Capacity:    resource.Vector{8 * resource.Milli},
			Schedulable: true,
		})
	}
	ix.SetAvailable(0, resource.Vector{3 * resource.Milli})
	ix.SetAvailable(1, resource.Vector{2 * resource.Milli})

	inA, _ := placement.ParseConstraint("zone==a")
	c, _ := ix.Compile(placement.Shape{Need: resource.Vector{4 * resource.Milli}, Constraints: []placement.Constraint{inA}})
	_, ok := ix.Place(c)
	fmt.Println(ok, ix.Explain(c))
	// Output: false 0 of 3 nodes fit: 2 lack cpu (asked 4, most free 3 on node-0), 1 is not zone==a
}
