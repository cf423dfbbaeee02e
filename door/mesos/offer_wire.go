package mesos

import (
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"polder.dev/polder/core/resource"
	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/schedulerv1"
)

// Numbers of the fields that an offer is written with.
const (
	eventType           = 1 // mesos.v1.scheduler.Event
	eventOffers         = 3
	offersOffers        = 1 // mesos.v1.scheduler.Event.Offers
	offerID             = 1 // mesos.v1.Offer
	offerFramework      = 2
	offerResources      = 5
	offerExecutors      = 6
	offerUnavailability = 9
	offerAllocation     = 10
	idValue             = 1 // mesos.v1.OfferID and FrameworkID
	resourceName        = 1 // mesos.v1.Resource
	resourceType        = 2
	resourceScalar      = 3
	resourceRanges      = 4
	resourceRole        = 6
	resourceRevocable   = 9
	resourceAllocation  = 11
	scalarValue         = 1 // mesos.v1.Value.Scalar
	rangesRange         = 1 // mesos.v1.Value.Ranges
	rangeBegin          = 1 // mesos.v1.Value.Range
	rangeEnd            = 2
	allocationRole      = 1 // mesos.v1.Resource.AllocationInfo
)

// appendField appends a field that is a text, bytes or a message.
func appendField[T string | []byte](dst []byte, number protowire.Number, value T) []byte {
	dst = protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.BytesType), uint64(len(value)))
	return append(dst, value...)
}

// message appends a message that write appends, as a field. Its length is put before it when it is known.
func message(dst []byte, number protowire.Number, write func(dst []byte) []byte) []byte {
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	from := len(dst)
	dst = write(dst)
	size := len(dst) - from
	head := protowire.SizeVarint(uint64(size))
	dst = append(dst, "0123456789"[:head]...)
	copy(dst[from+head:], dst[from:from+size])
	protowire.AppendVarint(dst[:from], uint64(size))
	return dst
}

// appendOffers appends offers to a framework that reads protobuf as the field of the event that tells of them. What they say is what offerProto
// says, without the messages: at a framework's first subscription there are as many as nodes.
func (d *Door) appendOffers(dst []byte, f *framework, list []*offer) []byte {
	return message(dst, eventOffers, func(dst []byte) []byte {
		for _, o := range list {
			dst = message(dst, offersOffers, func(dst []byte) []byte { return d.appendOffer(dst, f, o) })
		}
		return dst
	})
}

func (d *Door) appendOffer(dst []byte, f *framework, o *offer) []byte {
	text := func(dst []byte, field protowire.Number, value string) []byte {
		return message(dst, field, func(dst []byte) []byte { return appendField(dst, idValue, value) })
	}
	dst = text(text(dst, offerID, o.id), offerFramework, f.id)
	dst = append(dst, d.offered(o.node)...)
	form := f.form(o.to.role)
	dst = form.append(dst, o.regular, o.ports)
	form.revocable = true
	dst = form.append(dst, o.revocable, setOfNone)
	if form.multi {
		dst = message(dst, offerAllocation, func(dst []byte) []byte { return appendField(dst, allocationRole, o.to.role) })
	}
	if len(f.executors) > 0 {
		for _, id := range f.executorsOn(o.node, viewer{all: true}) {
			dst = text(dst, offerExecutors, id.GetValue())
		}
	}
	if w := d.maint.windows[o.node.name]; w != nil {
		dst = appendField(dst, offerUnavailability, encoded(w))
	}
	return dst
}

// offered is what every offer of a node says of it. It is made once, until the node says something else of itself.
func (d *Door) offered(n *node) []byte {
	if n.offered == nil {
		n.offered = encoded(&mesosv1.Offer{
			AgentId: &mesosv1.AgentID{Value: &n.name}, Hostname: new(n.host()), Attributes: n.attributeProtos(), Url: d.nodeURL(),
		})
	}
	return n.offered
}

// append appends amounts and ports in Mesos' way as the fields of an offer, as resources makes them.
func (f form) append(dst []byte, r amounts, ports resource.PortSet) []byte {
	var room [8]string
	kinds := room[:0]
	for kind := range r {
		kinds = append(kinds, kind)
	}
	slices.SortFunc(kinds, func(a, b string) int { return strings.Compare(mesosName(a), mesosName(b)) })
	for _, kind := range kinds {
		v := toScalar(kind, r[kind])
		if kind == "gpu" {
			v = math.Floor(v)
		}
		if v > 0 {
			dst = message(dst, offerResources, func(dst []byte) []byte {
				dst = f.appendHead(dst, mesosName(kind), mesosv1.Value_SCALAR)
				return message(dst, resourceScalar, func(dst []byte) []byte {
					return protowire.AppendFixed64(protowire.AppendTag(dst, scalarValue, protowire.Fixed64Type), math.Float64bits(v))
				})
			})
		}
	}
	if ports.Len() > 0 && !f.revocable {
		dst = message(dst, offerResources, func(dst []byte) []byte {
			dst = f.appendHead(dst, "ports", mesosv1.Value_RANGES)
			return message(dst, resourceRanges, func(dst []byte) []byte { return appendRanges(dst, ports) })
		})
	}
	return dst
}

// appendHead appends what a resource is, and for whom, as dress says it.
func (f form) appendHead(dst []byte, name string, kind mesosv1.Value_Type) []byte {
	dst = appendField(dst, resourceName, name)
	dst = protowire.AppendVarint(protowire.AppendTag(dst, resourceType, protowire.VarintType), uint64(kind))
	if !f.refined {
		dst = appendField(dst, resourceRole, "*")
	}
	if f.multi && f.role != "" {
		dst = message(dst, resourceAllocation, func(dst []byte) []byte { return appendField(dst, allocationRole, f.role) })
	}
	if f.revocable {
		dst = appendField(dst, resourceRevocable, "")
	}
	return dst
}

func appendRanges(dst []byte, ports resource.PortSet) []byte {
	for _, r := range ports.Ranges() {
		dst = message(dst, rangesRange, func(dst []byte) []byte {
			dst = protowire.AppendVarint(protowire.AppendTag(dst, rangeBegin, protowire.VarintType), uint64(r.First))
			return protowire.AppendVarint(protowire.AppendTag(dst, rangeEnd, protowire.VarintType), uint64(r.Last))
		})
	}
	return dst
}

// appendType appends what begins an event of the scheduler API.
func appendType(dst []byte, t schedulerv1.Event_Type) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, eventType, protowire.VarintType), uint64(t))
}

// sendOffers shows offers to their framework.
func (d *Door) sendOffers(f *framework, list []*offer) {
	if f.stream == nil || f.stream.media != wire.Protobuf {
		f.send(offersEvent(f, list, d))
		return
	}
	record := appendType(wire.BeginRecord(512*len(list)), schedulerv1.Event_OFFERS)
	f.stream.queueRecord(wire.EndRecord(d.appendOffers(record, f, list)))
}
