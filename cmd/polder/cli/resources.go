package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"polder.dev/polder/core/resource"
)

// resourceFlags are the flags that name amounts of resources.
type resourceFlags struct {
	amounts   [len(plainAmounts)]string
	resources []string
}

// plainAmounts have flags of their own.
var plainAmounts = [4]string{"cpu", "memory", "disk", "gpu"}

func (r *resourceFlags) register(f *pflag.FlagSet) {
	f.StringVar(&r.amounts[0], "cpu", "", "`cores` it needs, as in 2 or 0.5")
	f.StringVar(&r.amounts[1], "memory", "", "`memory` it needs, as in 512Mi or 4Gi")
	f.StringVar(&r.amounts[2], "disk", "", "`disk` space it needs, as in 10Gi")
	f.StringVar(&r.amounts[3], "gpu", "", "`number` of GPUs it needs")
	f.StringArrayVar(&r.resources, "resource", nil, "other resource it needs, `kind=amount`; repeatable")
}

// read is what the flags say, by kind.
func (r *resourceFlags) read() (map[string]string, error) {
	all := slices.Clone(r.resources)
	for i, v := range r.amounts {
		if v != "" {
			all = append(all, plainAmounts[i]+"="+v)
		}
	}
	out, err := amountArgs(all)
	if err != nil {
		return nil, fmt.Errorf("resources: %w", err)
	}
	for name := range out {
		if pool, _ := resource.SplitName(name); pool != "" {
			return nil, fmt.Errorf("resource %s: name the pool with --pool", name)
		}
	}
	return out, nil
}
