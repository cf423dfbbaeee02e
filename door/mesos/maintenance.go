package mesos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/allocatorv1"
	"polder.dev/polder/door/mesos/wire/maintenancev1"
	"polder.dev/polder/door/mesos/wire/masterv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// Maintenance is Mesos': an operator says when machines will not be there. Offers of them say so, and who runs something there gets
// an inverse offer, whose answer is for the operator to read. Nothing happens at the hour itself. When the operator takes a machine
// down, its node is drained: every task has its notice. Taking it up again ends that.

// maintenanceKey is where the schedule is kept.
const maintenanceKey = keepPrefix + "maintenance"

// maintenance is what operators have said of machines. The door's mutex guards it.
type maintenance struct {
	schedule *maintenancev1.Schedule
	windows  map[string]*mesosv1.Unavailability // by node
	down     map[string]bool                    // nodes
	answers  map[string]map[string]*allocatorv1.InverseOfferStatus
	offers   uint64 // inverse offers made
}

// maintenanceRecord is the same in the store.
type maintenanceRecord struct {
	Schedule []byte   `json:"schedule"` // mesos.v1.maintenance.Schedule
	Down     []string `json:"down,omitempty"`
}

func (m *maintenance) record() ([]byte, error) {
	return json.Marshal(maintenanceRecord{encoded(m.schedule), slices.Sorted(maps.Keys(m.down))})
}

func newMaintenance() *maintenance {
	return &maintenance{schedule: &maintenancev1.Schedule{}, windows: map[string]*mesosv1.Unavailability{}, down: map[string]bool{},
		answers: map[string]map[string]*allocatorv1.InverseOfferStatus{}}
}

func (d *Door) rememberMaintenance(data []byte) error {
	var r maintenanceRecord
	if err := strictly(data, &r); err != nil {
		return err
	}
	s, err := decoded[maintenancev1.Schedule](r.Schedule)
	if err != nil {
		return err
	}
	for _, name := range r.Down {
		d.maint.down[name] = true
	}
	d.maint.schedule = s
	return nil
}

// machine finds the node that a machine is: by its name, or by the host name or address that its attributes give.
func (d *Door) machine(id *mesosv1.MachineID) *node {
	if n := d.nodes[id.GetHostname()]; n != nil {
		return n
	}
	for _, name := range slices.Sorted(maps.Keys(d.nodes)) {
		n := d.nodes[name]
		if id.GetHostname() == n.host() || id.GetHostname() == "" && id.GetIp() == n.ip() {
			return n
		}
	}
	return nil
}

// scheduleWindows takes over a schedule, for the nodes that are known. The mutex is held.
func (d *Door) scheduleWindows() {
	clear(d.maint.windows)
	for _, w := range d.maint.schedule.GetWindows() {
		for _, id := range w.MachineIds {
			if n := d.machine(id); n != nil {
				d.maint.windows[n.name] = w.Unavailability
			}
		}
	}
}

// updateSchedule replaces the schedule.
func (d *Door) updateSchedule(who principal, s *maintenancev1.Schedule) error {
	if err := d.mayMaintain(who); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := map[string]bool{}
	for _, w := range s.GetWindows() {
		switch u := w.GetUnavailability(); {
		case len(w.MachineIds) == 0:
			return answer(http.StatusBadRequest, "List of machines in the maintenance window is empty")
		case u.GetDuration() != nil && u.GetDuration().GetNanoseconds() < 0:
			return answer(http.StatusBadRequest, "Unavailability 'duration' is negative")
		}
		for _, id := range w.MachineIds {
			n := d.machine(id)
			if n == nil {
				return answer(http.StatusBadRequest, "Machine '%s' (%s) is no node of the pool", id.GetHostname(), id.GetIp())
			}
			if seen[n.name] {
				return answer(http.StatusBadRequest, "Machine '%s' appears more than once in the schedule", n.name)
			}
			seen[n.name] = true
		}
	}
	for name := range d.maint.down {
		if !seen[name] {
			return answer(http.StatusBadRequest, "Machine '%s' is deactivated and cannot be removed from the schedule", name)
		}
	}
	d.maint.schedule = s
	clear(d.maint.answers)
	d.scheduleWindows()
	d.keep(maintenanceKey, d.maint)
	for _, n := range d.nodes { // offers say when a machine goes: those that do not are made anew
		for _, o := range n.offers {
			d.rescind(o, "the maintenance of its machine has changed")
		}
	}
	d.nudge()
	return nil
}

// mayMaintain asks whether somebody may drain nodes: that is what maintenance comes to.
func (d *Door) mayMaintain(who principal) error {
	ctx, cancel := contextFor(d, who.caller)
	defer cancel()
	res, err := d.c.API.Access.CanI(ctx, connect.NewRequest(&polderv1.CanIRequest{Verb: "node", Role: ""}))
	if err != nil {
		return statusOf(err)
	}
	if !res.Msg.Allowed {
		return answer(http.StatusForbidden, "%s", res.Msg.Reason)
	}
	return nil
}

// maintain keeps inverse offers with whoever runs something on a machine that is to go. The mutex is held.
func (d *Door) maintain() {
	for _, x := range d.inverse {
		if x.window != nil && (x.window != d.maint.windows[x.node] || d.frameworks[x.fw.id] != x.fw) {
			d.rescindInverse(x)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.maint.windows)) {
		for _, id := range slices.Sorted(maps.Keys(d.frameworks)) {
			if f := d.frameworks[id]; f.stream != nil && d.maint.answers[name][id] == nil {
				d.announceWindow(f, name, d.maint.windows[name])
			}
		}
	}
}

// announceWindow sends a framework an inverse offer of what it has on a node, unless it has one.
func (d *Door) announceWindow(f *framework, name string, w *mesosv1.Unavailability) {
	has := amounts{}
	for _, t := range f.tasks {
		if need, err := wantedOf(t.info.Resources); err == nil && t.node == name && !t.over() {
			has = plus(has, need.amounts)
		}
	}
	if isEmpty(has) {
		return
	}
	for _, x := range f.inverse {
		if x.window == w && x.node == name {
			return
		}
	}
	d.maint.offers++
	x := &inverseOffer{
		id: fmt.Sprintf("%s-M%d", d.uuid, d.maint.offers), fw: f, node: name, amount: has, deadline: time.Unix(0, w.GetStart().GetNanoseconds()), window: w,
	}
	d.inverse[x.id], f.inverse[x.id] = x, x
	d.counters.inverseSent++
	d.sendInverse(f, x)
}

// answered notes what a framework says to the maintenance of a machine, for operators to read.
func (d *Door) answered(x *inverseOffer, s allocatorv1.InverseOfferStatus_Status) {
	if x.window == nil {
		return
	}
	delete(d.inverse, x.id)
	if d.maint.answers[x.node] == nil {
		d.maint.answers[x.node] = map[string]*allocatorv1.InverseOfferStatus{}
	}
	d.maint.answers[x.node][x.fw.id] = &allocatorv1.InverseOfferStatus{
		Status: s.Enum(), FrameworkId: &mesosv1.FrameworkID{Value: &x.fw.id}, Timestamp: timeInfo(d.c.Now()),
	}
}

// maintenanceStatus is how far the machines of the schedule are.
func (d *Door) maintenanceStatus() *maintenancev1.ClusterStatus {
	out := &maintenancev1.ClusterStatus{}
	for _, name := range slices.Sorted(maps.Keys(d.maint.windows)) {
		id := &mesosv1.MachineID{Hostname: new(name)}
		if d.maint.down[name] {
			out.DownMachines = append(out.DownMachines, id)
			continue
		}
		m := &maintenancev1.ClusterStatus_DrainingMachine{Id: id}
		for _, f := range slices.Sorted(maps.Keys(d.maint.answers[name])) {
			m.Statuses = append(m.Statuses, d.maint.answers[name][f])
		}
		out.DrainingMachines = append(out.DrainingMachines, m)
	}
	return out
}

// switchMachines takes machines down, or up again.
func (d *Door) switchMachines(who principal, ids []*mesosv1.MachineID, down bool) error {
	var names []string
	for _, id := range ids {
		d.mu.Lock()
		n := d.machine(id)
		ok := n != nil && d.maint.windows[n.name] != nil && d.maint.down[n.name] != down
		d.mu.Unlock()
		switch {
		case !ok && down:
			return answer(http.StatusBadRequest, "Machine '%s' is not in DRAINING mode and cannot be brought down", id.GetHostname())
		case !ok:
			return answer(http.StatusBadRequest, "Machine '%s' is not in DOWN mode and cannot be brought up", id.GetHostname())
		}
		names = append(names, n.name)
	}
	for _, name := range names {
		if err := d.switchMachine(who, name, down); err != nil {
			return err
		}
	}
	return nil
}

func (d *Door) switchMachine(who principal, name string, down bool) error {
	err := d.nodeOrder(who, func(ctx context.Context) (err error) {
		if down {
			_, err = d.c.API.Nodes.Drain(ctx, connect.NewRequest(&polderv1.DrainRequest{Name: name}))
		} else {
			_, err = d.c.API.Nodes.Cordon(ctx, connect.NewRequest(&polderv1.CordonRequest{Name: name}))
		}
		return err
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.maint.down[name] = true; !down {
		delete(d.maint.down, name)
		delete(d.maint.answers, name)
		d.unschedule(name)
	}
	d.keep(maintenanceKey, d.maint)
	d.nudge()
	return nil
}

// unschedule takes a machine that is up again out of the schedule.
func (d *Door) unschedule(name string) {
	s := &maintenancev1.Schedule{}
	for _, w := range d.maint.schedule.GetWindows() {
		left := slices.DeleteFunc(slices.Clone(w.MachineIds), func(id *mesosv1.MachineID) bool {
			n := d.machine(id)
			return n != nil && n.name == name
		})
		if len(left) > 0 {
			s.Windows = append(s.Windows, &maintenancev1.Window{MachineIds: left, Unavailability: w.Unavailability})
		}
	}
	d.maint.schedule = s
	d.scheduleWindows()
}

// serveSchedule is the document of version 0: read, or replaced with POST.
func (d *Door) serveSchedule(who principal, w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return document(func(d *Door, _ viewer, _ *http.Request) any { return wireDoc(d.maint.schedule) })(d, who, w, r)
	}
	s := &maintenancev1.Schedule{}
	if err := readJSON(w, r, func(data []byte) error { return wire.UnmarshalJSON(data, s) }); err != nil {
		return err
	}
	return d.updateSchedule(who, s)
}

// serveMachines takes the machines of a list down, or up.
func serveMachines(down bool) handler {
	return func(d *Door, who principal, w http.ResponseWriter, r *http.Request) error {
		if err := onlyPost(w, r); err != nil {
			return err
		}
		m := &masterv1.Call_StartMaintenance{}
		err := readJSON(w, r, func(data []byte) error {
			return wire.UnmarshalJSON(slices.Concat([]byte(`{"machines":`), data, []byte(`}`)), m)
		})
		if err != nil {
			return err
		}
		return d.switchMachines(who, m.Machines, down)
	}
}

// readJSON reads the body of a request to a document of version 0.
func readJSON(w http.ResponseWriter, r *http.Request, decode func([]byte) error) error {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return answer(http.StatusRequestEntityTooLarge, "%v", err)
	}
	if !json.Valid(data) {
		return answer(http.StatusBadRequest, "the body is not JSON")
	}
	if err := decode(data); err != nil {
		return answer(http.StatusBadRequest, "%v", err)
	}
	return nil
}
