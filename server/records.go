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

// recordVersion is the first byte of every record; JSON follows.
const recordVersion = 1

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

// askRecord is an ask with how far it is. The shape is read again from the spec.
type askRecord struct {
	ID        string           `json:"id"`
	Role      string           `json:"role"`
	Count     int              `json:"count"`
	Gang      bool             `json:"gang,omitempty"`
	Earmark   bool             `json:"earmark,omitempty"`
	Submitted time.Time        `json:"submitted"`
	Spec      json.RawMessage  `json:"spec"`
	State     cluster.AskState `json:"state"`
	askExtra
}

// taskRecord is a task that must not be forgotten although its agent may not say so.
type taskRecord struct {
	Node   string          `json:"node"`
	Report json.RawMessage `json:"report"`
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
	return append([]byte{recordVersion}, data...), nil
}

// decodeRecord reads a record strictly. The error names the key and what to do: a record is never dropped.
func decodeRecord(key string, data []byte, into any) error {
	if len(data) == 0 || data[0] != recordVersion {
		return unreadable(key, fmt.Errorf("it does not start with version byte %d", recordVersion))
	}
	d := json.NewDecoder(bytes.NewReader(data[1:]))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return unreadable(key, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return unreadable(key, errors.New("data follows the value"))
	}
	return nil
}

func unreadable(key string, err error) error {
	return fmt.Errorf("record %s cannot be read: %w; if a newer version wrote it start that one, else restore the store from a backup", key, err)
}

// messageJSON encodes a message for a record.
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

func encodeAsk(a cluster.AskSpec, s cluster.AskState, extra askExtra) ([]byte, error) {
	spec, err := messageJSON(specOf(a.Payload))
	if err != nil {
		return nil, err
	}
	return encodeRecord(askRecord{a.ID, a.Role, a.Count, a.Gang, a.Earmark, a.Submitted, spec, s, extra})
}

func (r askRecord) spec() (cluster.AskSpec, error) {
	payload := &polderv1.TaskSpec{}
	if err := unmarshalJSON(r.Spec, payload); err != nil {
		return cluster.AskSpec{}, err
	}
	shape, err := shapeOf(payload, "spec")
	return cluster.AskSpec{
		ID: r.ID, Role: r.Role, Count: r.Count, Gang: r.Gang, Earmark: r.Earmark, Submitted: r.Submitted, Shape: shape, Payload: payload,
	}, err
}

func encodeTask(t cluster.TaskReport) ([]byte, error) {
	report, err := messageJSON(reportProto(t))
	if err != nil {
		return nil, err
	}
	return encodeRecord(taskRecord{t.Node, report})
}

func (r taskRecord) report(known interned) (cluster.TaskReport, error) {
	m := &polderv1.TaskReport{}
	if err := unmarshalJSON(r.Report, m); err != nil {
		return cluster.TaskReport{}, err
	}
	return reportCore(r.Node, m, known)
}
