package mesos

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// TestOffersAsBytes: offers that are written as bytes read back as the messages that other frameworks get.
func TestOffersAsBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &Door{c: Config{Addr: "127.0.0.1:5050", AgentAddr: "127.0.0.1:5051"}, maint: newMaintenance()}
		f := newFramework(rapid.StringN(1, 200, -1).Draw(t, "framework"))
		f.info = info("f", []string{"a"}, rapid.SliceOfDistinct(rapid.SampledFrom([]mesosv1.FrameworkInfo_Capability_Type{
			mesosv1.FrameworkInfo_Capability_RESERVATION_REFINEMENT, mesosv1.FrameworkInfo_Capability_REVOCABLE_RESOURCES}), func(c mesosv1.FrameworkInfo_Capability_Type) int32 { return int32(c) }).Draw(t, "capabilities")...)
		if rapid.Bool().Draw(t, "one role") {
			f.info.Capabilities = nil
		}
		n := &node{name: "n1", attributes: rapid.MapOf(rapid.StringMatching("[a-z]{1,9}"), rapid.StringN(0, 300, -1)).Draw(t, "attributes")}
		if rapid.Bool().Draw(t, "executor") {
			f.executors[executorKey{"n1", "e"}], f.executors[executorKey{"n2", "e"}] = &executor{}, &executor{}
		}
		if rapid.Bool().Draw(t, "window") {
			d.maint.windows["n1"] = &mesosv1.Unavailability{Start: timeInfo(time.Unix(5, 0))}
		}
		some := rapid.MapOf(rapid.SampledFrom([]string{"cpu", "memory", "disk", "gpu", "licences"}), rapid.Custom(func(t *rapid.T) resource.Amount {
			return resource.Amount(rapid.Int64Range(-1, 1<<40).Draw(t, "amount"))
		}))
		var list []*offer
		for range rapid.IntRange(0, 3).Draw(t, "offers") {
			o := &offer{id: rapid.StringN(1, 200, -1).Draw(t, "id"), node: n, to: &subscription{fw: f, role: "a", path: "a"}, regular: some.Draw(t, "regular"), revocable: some.Draw(t, "revocable")}
			if rapid.Bool().Draw(t, "ports") {
				o.ports, _ = resource.ParsePorts("80,31000-31999") // these are ports
			}
			list = append(list, o)
		}
		got, want := &schedulerv1.Event{}, offersEvent(f, list, d)
		data := d.appendOffers(appendType(nil, schedulerv1.Event_OFFERS), f, list)
		if err := proto.Unmarshal(data, got); err != nil || !proto.Equal(got, want) {
			t.Fatalf("it reads back as %v, want %v: %v", got, want, err)
		}
	})
}
