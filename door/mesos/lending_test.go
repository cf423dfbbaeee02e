package mesos

import (
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

const lendingPlan = `
cluster: {reclaimDelay: 0s}
roles:
  owner: {guarantee: {cpu: 3, memory: 3Gi}, lendGrace: 10s}
  guest: {guarantee: {cpu: 1, memory: 1Gi}, reclaimGrace: 2s}
`

// split sums an offer's cpus, ordinary and revocable.
func split(o *mesosv1.Offer) (regular, lent float64) {
	for _, r := range o.Resources {
		switch {
		case r.GetName() != "cpus":
		case r.Revocable != nil:
			lent += r.Scalar.GetValue()
		default:
			regular += r.Scalar.GetValue()
		}
	}
	return regular, lent
}

// TestLendingOnTheWire: a framework that knows revocable resources has its guarantee as ordinary ones and borrows the rest.
// When the owner asks, an inverse offer names what is to go and when; the task is not killed before that, and ends as preempted.
func TestLendingOnTheWire(t *testing.T) {
	w := newWorld(t, lendingPlan, 1, nil)
	c := w.subscribe(w.admin, info("guest", []string{"guest"}, mesosv1.FrameworkInfo_Capability_REVOCABLE_RESOURCES, mesosv1.FrameworkInfo_Capability_PARTITION_AWARE))
	o := c.offer()
	if regular, lent := split(o); regular != 1 || lent != 3 {
		t.Fatalf("offered are %v cpus and %v revocable", regular, lent)
	}
	c.must(http.StatusAccepted, launchCall(o,
		command(o, "own", "forever", scalar("cpus", 1), scalar("mem", 64)), command(o, "lent", "forever", revocable(scalar("cpus", 3)), revocable(scalar("mem", 64)))))
	for range 2 {
		s := c.next(schedulerv1.Event_UPDATE).Update.Status
		if s.GetState() != mesosv1.TaskState_TASK_RUNNING {
			t.Fatalf("got %v", s)
		}
		c.must(http.StatusAccepted, acknowledge(s))
	}
	_, err := w.api.Asks.Submit(w.as(w.admin), connect.NewRequest(&polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{{
		Name: "owner", Role: "owner", Task: &polderv1.TaskSpec{Command: []string{"forever"}, Resources: map[string]string{"cpu": "2"}},
	}}}))
	if err != nil {
		t.Fatal(err)
	}
	x := c.next(schedulerv1.Event_INVERSE_OFFERS).InverseOffers.InverseOffers[0]
	deadline := time.Unix(0, x.Unavailability.Start.GetNanoseconds())
	if regular, lent := split(&mesosv1.Offer{Resources: x.Resources}); regular != 0 || lent != 3 || x.AgentId.GetValue() != "n1" || time.Until(deadline) > 3*time.Second {
		t.Errorf("the inverse offer is %v", x)
	}
	c.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_ACCEPT_INVERSE_OFFERS.Enum(),
		AcceptInverseOffers: &schedulerv1.Call_AcceptInverseOffers{InverseOfferIds: []*mesosv1.OfferID{x.Id}}})
	s := c.state("lent", mesosv1.TaskState_TASK_GONE)
	if s.GetReason() != mesosv1.TaskStatus_REASON_CONTAINER_PREEMPTED {
		t.Errorf("the end is %v", s)
	}
	// The fake machine obeys its first signal, which comes at the deadline or the grace of the kill policy before it.
	if early := time.Until(deadline); early > time.Second+100*time.Millisecond {
		t.Errorf("the task was gone %v before its deadline", early)
	}
	w.until("the owner's task runs", func() bool {
		r, err := w.api.Tasks.List(w.as(w.admin), connect.NewRequest(&polderv1.TaskServiceListRequest{Role: "owner", States: []polderv1.TaskState{polderv1.TaskState_TASK_STATE_RUNNING}}))
		return err == nil && len(r.Msg.Tasks) == 1
	})
}

// TestUnawareBorrowers: a framework that has never heard of revocable resources is offered all it may have as ordinary ones,
// and its task still leaves for the owner.
func TestUnawareBorrowers(t *testing.T) {
	w := newWorld(t, lendingPlan, 1, nil)
	c := w.subscribe(w.admin, info("old", []string{"guest"}))
	o := c.offer()
	if regular, lent := split(o); regular != 4 || lent != 0 {
		t.Fatalf("offered are %v cpus and %v revocable", regular, lent)
	}
	c.must(http.StatusAccepted, launchCall(o, command(o, "t", "forever", scalar("cpus", 4), scalar("mem", 64))))
	c.state("t", mesosv1.TaskState_TASK_RUNNING)
	if _, err := w.api.Asks.Submit(w.as(w.admin), connect.NewRequest(&polderv1.SubmitRequest{Asks: []*polderv1.AskSpec{{
		Name: "owner", Role: "owner", Task: &polderv1.TaskSpec{Command: []string{"forever"}, Resources: map[string]string{"cpu": "2"}},
	}}})); err != nil {
		t.Fatal(err)
	}
	if s := c.state("t", mesosv1.TaskState_TASK_LOST); s.GetReason() != mesosv1.TaskStatus_REASON_CONTAINER_PREEMPTED {
		t.Errorf("the end is %v", s)
	}
}

// TestHoarders: an offer that is not answered is rescinded, and goes to somebody else.
func TestHoarders(t *testing.T) {
	w := newWorld(t, onePlan, 1, func(c *Config) { c.OfferTimeout = 100 * time.Millisecond })
	hoarder := w.subscribe(w.admin, info("hoarder", []string{"a"}))
	o := hoarder.offer()
	other := w.subscribe(w.admin, info("other", []string{"b"}))
	if e := hoarder.next(schedulerv1.Event_RESCIND); e.Rescind.OfferId.GetValue() != o.Id.GetValue() {
		t.Errorf("rescinded is %v", e)
	}
	if got := other.offer(); got.AgentId.GetValue() != "n1" {
		t.Errorf("the other is offered %v", got)
	}
}

// TestOptimisticOffers: both see the node; the first accept wins, and the loser is told at once.
func TestOptimisticOffers(t *testing.T) {
	w := newWorld(t, onePlan, 1, func(c *Config) { c.Optimistic = true })
	one, two := w.subscribe(w.admin, info("one", []string{"a"})), w.subscribe(w.admin, info("two", []string{"b"}))
	o1, o2 := one.offer(), two.offer()
	one.must(http.StatusAccepted, launchCall(o1, command(o1, "won", "forever", scalar("cpus", 4))))
	one.state("won", mesosv1.TaskState_TASK_RUNNING)
	if e := two.next(schedulerv1.Event_RESCIND); e.Rescind.OfferId.GetValue() != o2.Id.GetValue() {
		t.Errorf("rescinded is %v", e)
	}
}

// TestDemand: a framework that waits for offers has demand for what its role's guarantee has left. Whoever borrowed it is asked back, has
// its whole notice, and what comes free is offered and kept until it is answered.
func TestDemand(t *testing.T) {
	w := newWorld(t, lendingPlan, 1, nil)
	guest := w.subscribe(w.admin, info("guest", []string{"guest"}, mesosv1.FrameworkInfo_Capability_REVOCABLE_RESOURCES, mesosv1.FrameworkInfo_Capability_PARTITION_AWARE))
	o := guest.offer()
	guest.must(http.StatusAccepted, launchCall(o,
		command(o, "lent", "forever", revocable(scalar("cpus", 3)), revocable(scalar("mem", 64))), command(o, "own", "forever", scalar("cpus", 1), scalar("mem", 64))))
	guest.state("lent", mesosv1.TaskState_TASK_RUNNING)
	guest.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_SUPPRESS.Enum()})

	owner := w.subscribe(w.admin, info("owner", []string{"owner"}, mesosv1.FrameworkInfo_Capability_REVOCABLE_RESOURCES))
	x := guest.next(schedulerv1.Event_INVERSE_OFFERS).InverseOffers.InverseOffers[0]
	deadline := time.Unix(0, x.Unavailability.Start.GetNanoseconds())
	s := guest.state("lent", mesosv1.TaskState_TASK_GONE)
	if early := time.Until(deadline); early > time.Second+100*time.Millisecond || s.GetReason() != mesosv1.TaskStatus_REASON_CONTAINER_PREEMPTED {
		t.Errorf("%v before its deadline the task is %v", early, s)
	}
	var all []*mesosv1.OfferID // places come free one after the other
	var one *mesosv1.Offer
	for cpus := 0.0; cpus < 3; {
		o := owner.offer()
		if regular, _ := split(o); regular > 0 { // idle memory alone is offered too
			one, cpus, all = o, cpus+regular, append(all, o.Id)
		}
	}
	call := launchCall(one, command(one, "own", "forever", scalar("cpus", 3), scalar("mem", 1024)))
	call.Accept.OfferIds = all
	owner.must(http.StatusAccepted, call)
	owner.state("own", mesosv1.TaskState_TASK_RUNNING)
	w.until("nothing is kept any more", func() bool { return w.openAsks() == 0 })
}

// TestUselessDemand: who declines what it was made room for needs nothing: its places go back, and it asks again only after a while.
func TestUselessDemand(t *testing.T) {
	w := newWorld(t, lendingPlan, 1, nil)
	guest := w.subscribe(w.admin, info("guest", []string{"guest"}))
	o := guest.offer()
	guest.must(http.StatusAccepted, launchCall(o, command(o, "lent", "forever", scalar("cpus", 4), scalar("mem", 64))))
	guest.state("lent", mesosv1.TaskState_TASK_RUNNING)
	guest.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_SUPPRESS.Enum()})
	owner := w.subscribe(w.admin, info("owner", []string{"owner"}))
	guest.state("lent", mesosv1.TaskState_TASK_LOST)
	owner.must(http.StatusAccepted, decline(owner.place(3), 0))
	w.until("the places are given back", func() bool { return w.openAsks() == 0 })
	w.door.mu.Lock()
	wish := w.door.frameworks[owner.id].subs["owner"].wish
	w.door.mu.Unlock()
	if wish.quiet != quietLeast || wish.asking {
		t.Errorf("after a useless place its wish is %+v", wish)
	}
	owner.must(http.StatusAccepted, &schedulerv1.Call{Type: schedulerv1.Call_REQUEST.Enum(), Request: &schedulerv1.Call_Request{
		Requests: []*mesosv1.Request{{Resources: []*mesosv1.Resource{scalar("cpus", 2), scalar("mem", 64)}}},
	}})
	if regular, _ := split(owner.offer()); regular < 2 {
		t.Errorf("after a request it is offered %v cpus", regular)
	}
}

// place waits for an offer of so many ordinary cpus.
func (c *client) place(cpus float64) *mesosv1.Offer {
	c.w.t.Helper()
	for {
		for _, o := range c.next(schedulerv1.Event_OFFERS).Offers.Offers {
			if regular, _ := split(o); regular == cpus {
				return o
			}
		}
	}
}

// openAsks counts the asks that wait or run.
func (w *world) openAsks() int {
	n := 0
	res, err := w.api.Asks.List(w.as(w.admin), connect.NewRequest(&polderv1.AskServiceListRequest{State: "open"}))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range res.Msg.Asks {
		if a.Spec.Earmark {
			n++
		}
	}
	return n
}
