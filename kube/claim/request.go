package claim

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	v1 "k8s.io/api/core/v1"
	podresource "k8s.io/component-helpers/resource"
	fwk "k8s.io/kube-scheduler/framework"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/kube/pool"
)

// Labels of the tasks that are leases of pods. The agent reads the first.
const (
	UIDLabel     = "kube.polder.dev/uid"
	PodLabel     = "kube.polder.dev/pod"     // namespace/name
	ClusterLabel = "kube.polder.dev/cluster" // of the pod, where that is somebody else's
)

// Annotations of pods that say how the pool is to treat them.
const (
	PreemptibleAnnotation  = "polder.dev/preemptible"   // "false": runs only on its role's own guarantee
	ReclaimGraceAnnotation = "polder.dev/reclaim-grace" // a shorter notice than the role's, such as 20s
)

// Annotations that say what the pool did with a pod.
const (
	TaskAnnotation    = "polder.dev/task"    // id of its lease
	RoleAnnotation    = "polder.dev/role"    // whose it is
	FundingAnnotation = "polder.dev/funding" // who pays, or "borrowed"
)

// Roles says which role pays for the pods of a namespace, or why none does.
type Roles interface {
	RoleOf(namespace string) (role string, why error)
}

// kinds are the resources of pods that the pool knows, by Kubernetes' names.
var kinds = map[v1.ResourceName]string{v1.ResourceCPU: "cpu", v1.ResourceMemory: "memory", v1.ResourceEphemeralStorage: "disk", "nvidia.com/gpu": "gpu"}

// maxPriority is what the pool takes; Kubernetes' own classes for its system are above it.
const maxPriority = 1_000_000

// request is what a pod wants of the pool.
type request struct {
	name string // prefix of ids
	role string
	need resource.Resources
	task *polderv1.TaskSpec

	amounts []amount // need, in order of kind
	lease   Entry    // of the pod, when the scheduler began with it
}

type amount struct {
	kind   string
	amount resource.Amount
}

// Clone implements the scheduler's StateData: a request does not change.
func (r *request) Clone() fwk.StateData { return r }

// requestOf reads a pod. The error is for the pod's owner.
func requestOf(pod *v1.Pod, roles Roles, defaults resource.Resources) (*request, error) {
	role, err := roles.RoleOf(pod.Namespace)
	if err != nil {
		return nil, err
	}
	r := &request{name: idName(pod.Name), role: role, need: needOf(pod, defaults)}
	if len(r.need) == 0 {
		return nil, fmt.Errorf("the pod requests neither cpu nor memory, and the pool leases nothing else: set resources.requests of its containers")
	}
	r.task = &polderv1.TaskSpec{
		Runtime: pool.KubeRuntime, Resources: map[string]string{}, Requeue: new(false), Priority: priorityOf(pod),
		Labels: map[string]string{UIDLabel: string(pod.UID), PodLabel: pod.Namespace + "/" + pod.Name},
	}
	for _, kind := range r.need.Names() {
		r.amounts = append(r.amounts, amount{kind, r.need[kind]})
		r.task.Resources[kind] = resource.FormatValue(kind, r.need[kind])
	}
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		r.task.Kill = &polderv1.KillPolicy{Grace: durationpb.New(time.Duration(*s) * time.Second)}
	}
	return r, r.treatment(pod.Annotations)
}

// treatment reads the annotations.
func (r *request) treatment(annotations map[string]string) error {
	if text, ok := annotations[PreemptibleAnnotation]; ok {
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("annotation %s is %q: write true or false", PreemptibleAnnotation, text)
		}
		r.task.Preemptible = &b
	}
	if text, ok := annotations[ReclaimGraceAnnotation]; ok {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return fmt.Errorf("annotation %s is %q: write a time such as 20s", ReclaimGraceAnnotation, text)
		}
		r.task.ReclaimGrace = durationpb.New(d)
	}
	return nil
}

// needOf is what a pod requests, completed by what pods that say nothing are charged.
func needOf(pod *v1.Pod, defaults resource.Resources) resource.Resources {
	need := resource.Resources{}
	for name, q := range podresource.PodRequests(pod, podresource.PodResourcesOptions{}) {
		kind, ok := kinds[name]
		if !ok {
			continue
		}
		a := resource.Amount(q.Value())
		if kind != "memory" && kind != "disk" {
			a = resource.Amount(q.MilliValue())
		}
		if a > 0 {
			need[kind] = a
		}
	}
	for kind, a := range defaults {
		need[kind] = cmp.Or(need[kind], a)
	}
	return need
}

func priorityOf(pod *v1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return max(-maxPriority, min(maxPriority, *pod.Spec.Priority))
}

var notInID = regexp.MustCompile(`[^a-z0-9]+`)

// idName makes the beginning of an id of a pod's name.
func idName(pod string) string {
	s := strings.Trim(notInID.ReplaceAllString(strings.ToLower(pod), "-"), "-")
	if len(s) > 40 {
		s = strings.Trim(s[:40], "-")
	}
	return cmp.Or(s, "pod")
}
