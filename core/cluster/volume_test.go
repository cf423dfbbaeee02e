package cluster

import (
	"testing"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

func disk(n int) resource.Resources { return resource.Resources{"disk": resource.Amount(n)} }

func volumeFor(id, path string, size int) AskSpec {
	return AskSpec{ID: id, Role: path, Count: 1, Submitted: epoch, Shape: Shape{Resources: disk(size), Volume: true, Pinned: true}}
}

// keeper is a world with one role that is guaranteed so much disk, and one node.
func keeper(guarantee int) *world {
	w := newWorld(&role.Plan{Roles: map[string]role.RoleSpec{"a": {Guarantee: disk(guarantee)}}, Windows: []role.Window{
		{Name: "w", When: role.When{From: "2026-03-02T10:00", To: "2026-03-02T11:00"}, Set: map[string]role.RoleSpec{"a": {Guarantee: disk(guarantee / 2)}}},
	}})
	w.join("n", disk(100), nil)
	return w
}

// TestVolumesOfOneCommit do not each count on what the guarantee has left.
func TestVolumesOfOneCommit(t *testing.T) {
	w := keeper(10)
	if err := w.step(Commit{Tasks: []Claim{{volumeFor("x", "a", 5), "n"}, {volumeFor("y", "a", 5), "n"}}}); err != nil {
		t.Fatal(err)
	}
	if n := len(w.live()); n != 1 {
		t.Errorf("%d volumes of 5 inside a guarantee that is 5 at the least", n)
	}
	w.run(2 * 3600e9)
	w.check(t)
}

// TestVolumeWithoutItsAsk counts for plans and for other volumes.
func TestVolumeWithoutItsAsk(t *testing.T) {
	w := keeper(10)
	if err := w.step(Submit{volumeFor("v", "a", 5)}); err != nil {
		t.Fatal(err)
	}
	w.run(1e9)
	delete(w.saved.asks, "v")
	w.failover()
	if w.step(SetPlan{&role.Plan{Roles: map[string]role.RoleSpec{"a": {Guarantee: disk(1)}}}, 2}) == nil {
		t.Error("a plan took the guarantee from under a volume whose ask is not known")
	}
	if w.step(Submit{volumeFor("u", "a", 1)}) == nil {
		t.Error("a guarantee was given out again")
	}
	if w.step(Resize{Task: "v.0", Resources: disk(6)}) == nil || w.step(Resize{Task: "v.0", Resources: disk(4)}) != nil {
		t.Error("a volume may become smaller, and not larger than the guarantee")
	}
	w.check(t)
}

// TestVolumeNotReported stays until somebody deletes it.
func TestVolumeNotReported(t *testing.T) {
	w := keeper(10)
	if err := w.step(Submit{volumeFor("v", "a", 5)}); err != nil {
		t.Fatal(err)
	}
	w.run(1e9)
	w.step(Disconnect{"n"})
	w.step(Register{w.nodes["n"].info, nil})
	if _, ok := w.c.Task("v.0"); !ok {
		t.Error("a volume that its node did not report was given up")
	}
	w.check(t)
}

// TestBadCapacityChangesNothing: a machine that is refused leaves no kind of resource behind for which nobody has room.
func TestBadCapacityChangesNothing(t *testing.T) {
	w := keeper(10)
	if w.step(Register{NodeInfo{Name: "m", Capacity: resource.Resources{"weird": -1}}, nil}) == nil {
		t.Fatal("a negative capacity was accepted")
	}
	if err := w.step(Commit{Tasks: []Claim{{volumeFor("x", "a", 5), "n"}}}); err != nil || len(w.live()) != 1 {
		t.Errorf("%v, %d tasks", err, len(w.live()))
	}
	w.check(t)
}
