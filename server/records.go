package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/store"
)

// Where records lie in the store. Identities and permissions are package auth's, under /auth/.
const (
	planPrefix   = "/plan/"
	nodePrefix   = "/node/"
	askPrefix    = "/ask/"
	taskPrefix   = "/task/"
	answerPrefix = "/answer/"
	revisionKey  = "/revision"
)

// The first byte of a record says how the rest is written.
const (
	// recordJSON is followed by JSON.
	recordJSON = 1
	// recordParts is followed by parts, each after its length: a head in JSON, then messages as they go over the wire. So are asks
	// and tasks written, of which there are many; those of earlier versions are JSON.
	recordParts = 2
)

func planKey(revision int64) string { return fmt.Sprintf("%s%016d", planPrefix, revision) }

// planRecord is one revision of the plan.
type planRecord struct {
	Revision int64      `json:"revision"`
	Applied  time.Time  `json:"applied"`
	By       string     `json:"by"`
	Comment  string     `json:"comment,omitempty"`
	Plan     *role.Plan `json:"plan"`
}

// nodeRecord is a node as it last registered.
type nodeRecord struct {
	Name       string             `json:"name"`
	Attributes map[string]string  `json:"attributes,omitempty"`
	Capacity   resource.Resources `json:"capacity"`
	Ports      string             `json:"ports,omitempty"`
	Cordoned   bool               `json:"cordoned,omitempty"`
	Draining   *drainRecord       `json:"draining,omitempty"`
	nodeExtra
}

// drainRecord is a drain under way.
type drainRecord struct {
	By    time.Time `json:"by"`
	Force bool      `json:"force,omitempty"`
}

// askRecord is an ask with how far it is. The shape is read again from the spec, which is the second part, or in the JSON.
type askRecord struct {
	ID        string           `json:"id"`
	Role      string           `json:"role"`
	Count     int              `json:"count"`
	Gang      bool             `json:"gang,omitempty"`
	Earmark   bool             `json:"earmark,omitempty"`
	Submitted time.Time        `json:"submitted"`
	Spec      json.RawMessage  `json:"spec,omitempty"`
	State     cluster.AskState `json:"state"`
	askExtra
}

// taskRecord is a task that must not be forgotten although its agent may not say so. Its report without the spec is the second part and
// the spec the third, or both are in the JSON.
type taskRecord struct {
	Node   string          `json:"node"`
	Report json.RawMessage `json:"report,omitempty"`
	news   []byte
	wire   []byte
}

// answerRecord is the answer to a request with an idempotency key.
type answerRecord struct {
	Request  string          `json:"request"` // digest
	Response json.RawMessage `json:"response"`
	At       time.Time       `json:"at"`
}

// revisionRecord says which revisions are used up at most.
type revisionRecord struct {
	Reserved int64 `json:"reserved"`
}

func encodeRecord(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append([]byte{recordJSON}, data...), nil
}

// decodeRecord reads a record strictly. The error names the key and what to do: a record is never dropped.
func decodeRecord(key string, data []byte, into any) error {
	if len(data) == 0 || data[0] != recordJSON {
		return unreadable(key, fmt.Errorf("it does not start with version byte %d", recordJSON))
	}
	return decodeHead(key, data[1:], into)
}

func decodeHead(key string, data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return unreadable(key, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return unreadable(key, errors.New("data follows the value"))
	}
	return nil
}

// decodeParts reads a record of a head and so many messages; it returns none of these when all of it is JSON.
func decodeParts(key string, data []byte, into any, messages int) ([][]byte, error) {
	if len(data) == 0 || data[0] != recordParts {
		return nil, decodeRecord(key, data, into)
	}
	parts, err := store.Parts(data[1:])
	if err != nil {
		return nil, unreadable(key, err)
	}
	if len(parts) != 1+messages {
		return nil, unreadable(key, fmt.Errorf("it has %d parts, not %d", len(parts), 1+messages))
	}
	return parts[1:], decodeHead(key, parts[0], into)
}

func unreadable(key string, err error) error {
	return fmt.Errorf("record %s cannot be read: %w; if a newer version wrote it start that one, else restore the store from a backup", key, err)
}

// messageJSON encodes a message for a record in JSON.
func messageJSON(m proto.Message) (json.RawMessage, error) { return protojson.Marshal(m) }

func encodeNode(n cluster.NodeInfo, extra nodeExtra) ([]byte, error) {
	attributes := map[string]string{}
	for name, value := range n.Attributes {
		if !isRuntimeAttribute(name) {
			attributes[name] = value
		}
	}
	return encodeRecord(nodeRecord{n.Name, attributes, n.Capacity, n.Ports.String(), n.Cordoned, (*drainRecord)(n.Draining), extra})
}

func (r nodeRecord) info() (cluster.NodeInfo, error) {
	ports, err := resource.ParsePorts(r.Ports)
	return cluster.NodeInfo{
		Name: r.Name, Attributes: withRuntimes(r.Attributes, r.Runtimes, r.Away), Capacity: r.Capacity, Ports: ports, Cordoned: r.Cordoned, Draining: (*cluster.Draining)(r.Draining),
	}, err
}

// encodeAsk writes an ask; wire is its spec.
func encodeAsk(a cluster.AskSpec, s cluster.AskState, extra askExtra, wire []byte) ([]byte, error) {
	r := askRecord{ID: a.ID, Role: a.Role, Count: a.Count, Gang: a.Gang, Earmark: a.Earmark, Submitted: a.Submitted, State: s, askExtra: extra}
	var err error
	b := append(make([]byte, 0, askHeadSize+len(wire)), recordParts)
	b = store.AppendPart(b, func(b []byte) []byte {
		b, err = r.appendHead(b)
		return b
	})
	return store.AppendParts(b, wire), err
}

func decodeAsk(key string, data []byte) (askRecord, error) {
	var r askRecord
	parts, err := decodeParts(key, data, &r, 1)
	if err == nil && parts != nil {
		r.wire = parts[0]
	}
	return r, err
}

func (r askRecord) spec() (cluster.AskSpec, error) {
	payload := &polderv1.TaskSpec{}
	if err := r.payload(payload); err != nil {
		return cluster.AskSpec{}, err
	}
	shape, err := shapeOf(payload, "spec")
	return cluster.AskSpec{
		ID: r.ID, Role: r.Role, Count: r.Count, Gang: r.Gang, Earmark: r.Earmark, Submitted: r.Submitted, Shape: shape, Payload: payload,
	}, err
}

func (r askRecord) payload(into *polderv1.TaskSpec) error {
	if r.wire == nil {
		return unmarshalJSON(r.Spec, into)
	}
	return unmarshalProto(r.wire, into)
}

// encodeTask writes a task; wire is its spec.
func encodeTask(t *cluster.TaskReport, wire []byte) ([]byte, error) {
	var err error
	b := append(make([]byte, 0, taskHeadSize+assignmentSize+len(wire)), recordParts)
	b = store.AppendPart(b, func(b []byte) []byte { return appendTaskHead(b, t.Node) })
	b = store.AppendPart(b, func(b []byte) []byte {
		b, err = appendReport(b, t)
		return b
	})
	return store.AppendParts(b, wire), err
}

func decodeTask(key string, data []byte) (taskRecord, error) {
	var r taskRecord
	parts, err := decodeParts(key, data, &r, 2)
	if err == nil && parts != nil {
		r.news, r.wire = parts[0], parts[1]
	}
	return r, err
}

func (r taskRecord) report(known interned) (cluster.TaskReport, error) {
	m := &polderv1.TaskReport{}
	if r.news == nil {
		if err := unmarshalJSON(r.Report, m); err != nil {
			return cluster.TaskReport{}, err
		}
		return reportCore(r.Node, m, known)
	}
	if err := unmarshalProto(r.news, m); err != nil {
		return cluster.TaskReport{}, err
	}
	if _, _, ok := known(m.GetAssignment().GetAsk()); !ok && m.Assignment != nil {
		m.Assignment.Spec = &polderv1.TaskSpec{}
		if err := unmarshalProto(r.wire, m.Assignment.Spec); err != nil {
			return cluster.TaskReport{}, err
		}
	}
	out, err := reportCore(r.Node, m, known)
	out.Cost = costCore(m.Cost)
	return out, err
}
