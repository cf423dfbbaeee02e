package planfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"polder.dev/polder/core/role"
)

// Marshal writes a plan as canonical YAML: fields in the order they are documented, roles by path, amounts and other
// innermost mappings on one line. [Parse] reads a valid plan back equal; equal plans give equal bytes.
func Marshal(p *role.Plan) ([]byte, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	root, err := fromJSON(dec)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(root), enc.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// fromJSON turns the next JSON value into a node, keys in the order they come.
func fromJSON(dec *json.Decoder) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		return container(dec, t)
	case json.Number:
		return number(t.String()), nil
	case string:
		if plainNumber.MatchString(t) {
			return number(t), nil
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: t}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

// plainNumber matches text that looks better without quotes; the reader takes every word as text anyway.
var plainNumber = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?$`)

func number(text string) *yaml.Node {
	tag := "!!int"
	if strings.Contains(text, ".") {
		tag = "!!float"
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text}
}

// container reads the rest of an object or list. One that holds only scalars stands on one line.
func container(dec *json.Decoder, open json.Delim) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	if open == '[' {
		n.Kind = yaml.SequenceNode
	}
	for dec.More() {
		child, err := fromJSON(dec)
		if err != nil {
			return nil, err
		}
		if child.Kind != yaml.ScalarNode && len(child.Content) > 0 {
			n.Style = 0
		}
		n.Content = append(n.Content, child)
	}
	if _, err := dec.Token(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return n, nil
}
