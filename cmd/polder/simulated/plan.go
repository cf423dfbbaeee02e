package simulated

import (
	"fmt"

	"polder.dev/polder/core/role"
	"polder.dev/polder/planfile"
)

// cpus and gibis are what each node has.
const (
	cpus  = 16
	gibis = 64
)

// Plan is the plan of a simulated pool of so many nodes: two departments with five teams, 85 % of the pool guaranteed, and a
// night in which the web needs less.
func Plan(nodes int) (*role.Plan, error) {
	part := func(percent int) string {
		return fmt.Sprintf("{cpu: %dm, memory: %dMi}", nodes*cpus*10*percent, nodes*gibis*1024/100*percent)
	}
	return planfile.Parse(fmt.Appendf(nil, `
roles:
  corp: {guarantee: %s, lendGrace: 1m}
  corp/web: {guarantee: %s}
  corp/search: {guarantee: %s}
  corp/reports: {guarantee: %s, limit: %s, reclaimGrace: 20s}
  research: {guarantee: %s, lendGrace: 1m, reclaimGrace: 30s}
  research/vision: {guarantee: %s}
  research/language: {guarantee: %s}
windows:
  - name: night
    when: {daily: "22:00-06:00"}
    set:
      corp/web: {guarantee: %s}
`, part(58), part(30), part(20), part(8), part(12), part(27), part(12), part(15), part(15)))
}
