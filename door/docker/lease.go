package docker

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// What a container leases that does not say how much it needs. The memory is its limit, too: what is not leased is not there.
const (
	defaultCPU    = "100m"
	defaultMemory = 256 << 20
)

// taskOf is the task that runs a container: what it needs and how it wants to be treated, from its description. It changes the
// description where the pool does what the engine would.
func taskOf(body thing) (task *polderv1.TaskSpec, warnings []string, err error) {
	labels, host := under(body, "Labels"), under(body, "HostConfig")
	task = &polderv1.TaskSpec{Runtime: "docker", Image: text(body, "Image"), Resources: map[string]string{}, Labels: map[string]string{}}
	warnings, err = needs(task, labels, host)
	if err == nil {
		err = treatment(task, labels)
	}
	if err == nil {
		err = ends(task, body, host)
	}
	if err == nil {
		err = constraints(task, body)
	}
	return task, warnings, err
}

// needs reads what the container needs. The engine keeps it to that.
func needs(task *polderv1.TaskSpec, labels, host thing) (warnings []string, err error) {
	cpu, err := cpus(host)
	if err != nil {
		return nil, err
	}
	task.Resources["cpu"] = cmp.Or(text(labels, "polder.cpu"), cpu, defaultCPU)
	if err := gpus(task, host); err != nil {
		return nil, err
	}
	memory, _ := number(host, "Memory")
	switch label := text(labels, "polder.memory"); {
	case memory > 0 && label != "":
		return nil, fail(http.StatusBadRequest, "the memory is said twice: with --memory and with the label polder.memory")
	case memory > 0:
		task.Resources["memory"] = strconv.FormatInt(memory, 10)
	case label != "":
		bytes, err := parseBytes(label)
		if err != nil {
			return nil, err
		}
		task.Resources["memory"], host["Memory"] = strconv.FormatInt(bytes, 10), bytes
	default:
		task.Resources["memory"], host["Memory"] = strconv.Itoa(defaultMemory), defaultMemory
		warnings = append(warnings, fmt.Sprintf("No memory limit was given: the container leases %d MiB and gets no more. Say how much with --memory.", defaultMemory>>20))
	}
	return warnings, nil
}

// cpus reads how many CPUs are asked for, in thousandths; empty when nothing is said.
func cpus(host thing) (string, error) {
	nano, _ := number(host, "NanoCpus")
	quota, _ := number(host, "CpuQuota")
	period, _ := number(host, "CpuPeriod")
	milli := int64(0)
	switch {
	case nano < 0 || period < 0:
		return "", fail(http.StatusBadRequest, "CPUs cannot be negative")
	case nano > 0:
		milli = (nano + 1e6 - 1) / 1e6
	case quota > 0:
		milli = int64(math.Ceil(float64(quota) * 1000 / float64(cmp.Or(period, 100_000))))
	default:
		return "", nil
	}
	return strconv.FormatInt(milli, 10) + "m", nil
}

// gpus reads how many GPUs are asked for. Which ones they are, the agent says when the lease is there.
func gpus(task *polderv1.TaskSpec, host thing) error {
	list, _ := host["DeviceRequests"].([]any)
	total := int64(0)
	for _, x := range list {
		m, _ := x.(thing)
		n, _ := number(m, "Count")
		if sets, _ := m["Capabilities"].([]any); n <= 0 || len(sets) == 0 {
			return fail(http.StatusBadRequest, "HostConfig.DeviceRequests: say how many GPUs, as in --gpus 2")
		}
		total += n
	}
	if total > 0 {
		task.Resources["gpu"] = strconv.FormatInt(total, 10)
	}
	return nil
}

// number reads a whole number, zero when it is none.
func number(m thing, key string) (int64, bool) {
	n, ok := m[key].(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

var units = []struct {
	suffix string
	factor int64
}{{"gi", 1 << 30}, {"mi", 1 << 20}, {"ki", 1 << 10}, {"g", 1 << 30}, {"m", 1 << 20}, {"k", 1 << 10}, {"b", 1}, {"", 1}}

// parseBytes reads sizes as docker writes them: 512m is 512 MiB.
func parseBytes(s string) (int64, error) {
	low := strings.ToLower(s)
	for _, u := range units {
		digits, ok := strings.CutSuffix(low, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n <= 0 || n > math.MaxInt64/u.factor {
			break
		}
		return n * u.factor, nil
	}
	return 0, fail(http.StatusBadRequest, "%q is not a size such as 512m or 2g", clip(s))
}

// treatment reads the labels that say how the pool is to treat the container.
func treatment(task *polderv1.TaskSpec, labels thing) error {
	if s := text(labels, "polder.priority"); s != "" {
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return fail(http.StatusBadRequest, "polder.priority: %q is not a whole number", clip(s))
		}
		task.Priority = int32(n)
	}
	for name, to := range map[string]**bool{"polder.preemptible": &task.Preemptible} {
		if s := text(labels, name); s != "" {
			b, err := strconv.ParseBool(s)
			if err != nil {
				return fail(http.StatusBadRequest, "%s: %q is neither true nor false", name, clip(s))
			}
			*to = &b
		}
	}
	for name, to := range map[string]**durationpb.Duration{"polder.grace": &task.ReclaimGrace, "polder.min-runtime": &task.MinRuntime} {
		if s := text(labels, name); s != "" {
			d, err := time.ParseDuration(s)
			if err != nil || d < 0 {
				return fail(http.StatusBadRequest, "%s: %q is not a duration such as 30s", name, clip(s))
			}
			*to = durationpb.New(d)
		}
	}
	return nil
}

// ends reads how the container stops and what happens then: both are the pool's to do.
func ends(task *polderv1.TaskSpec, body, host thing) error {
	task.Kill = &polderv1.KillPolicy{Signal: text(body, "StopSignal"), Grace: durationpb.New(10 * time.Second)}
	if s, ok := number(body, "StopTimeout"); ok && s >= 0 {
		task.Kill.Grace = durationpb.New(time.Duration(s) * time.Second)
	}
	policy := under(host, "RestartPolicy")
	name, most := text(policy, "Name"), int64(0)
	if policy != nil {
		most, _ = number(policy, "MaximumRetryCount")
	}
	again := true
	switch name {
	case "", "no":
		again, name = false, "no"
	case "always", "unless-stopped":
		task.Restart = &polderv1.RestartPolicy{Policy: "always"}
	case "on-failure":
		task.Restart = &polderv1.RestartPolicy{Policy: "on-failure", MaxAttempts: uint32(max(0, most))}
	default:
		return fail(http.StatusBadRequest, "invalid restart policy: unknown policy '%s'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'", clip(name))
	}
	remove, _ := host["AutoRemove"].(bool)
	if remove && again {
		return fail(http.StatusBadRequest, "can't create 'AutoRemove' container with restart policy")
	}
	task.Requeue = &again
	host["RestartPolicy"] = thing{"Name": "no"}
	host["AutoRemove"] = false
	task.Labels["docker.restart"] = encode(thing{"Name": name, "MaximumRetryCount": most})
	if remove {
		task.Labels["docker.remove"] = "1"
	}
	return nil
}

// constraints takes the constraints out of the environment, where classic Swarm had them.
func constraints(task *polderv1.TaskSpec, body thing) error {
	list, _ := body["Env"].([]any)
	kept := []any{}
	for _, x := range list {
		s, _ := x.(string)
		rule, ok := strings.CutPrefix(s, "constraint:")
		switch {
		case !ok:
			kept = append(kept, x)
			continue
		case strings.Contains(rule, "~") || strings.ContainsAny(rule, "*/"):
			return fail(http.StatusBadRequest, "%s: write KEY==VALUE or KEY!=VALUE; patterns and soft constraints are not supported", clip(s))
		}
		task.Constraints = append(task.Constraints, rule)
	}
	for _, other := range []string{"affinity:", "whitelist:", "reschedule:"} {
		for _, x := range kept {
			if s, _ := x.(string); strings.HasPrefix(s, other) {
				return fail(http.StatusBadRequest, "%s: only constraint:… is supported in the environment", clip(s))
			}
		}
	}
	if list != nil {
		body["Env"] = kept
	}
	return nil
}
