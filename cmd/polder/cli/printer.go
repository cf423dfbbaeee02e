package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"
)

// output is the flags that say how to print.
type output struct {
	format    string
	noHeaders bool
}

var formats = []string{"table", "wide", "json", "yaml", "name"}

func (o *output) register(cmd *cobra.Command) {
	o.format = "table"
	f := cmd.Flags()
	f.VarP(&choice{&o.format, formats}, "output", "o", "`format`: table, wide, json, yaml or name")
	f.BoolVar(&o.noHeaders, "no-headers", false, "leave out the line with the column names")
	complete(cmd, "output", formats...)
}

// choice is a flag with a closed list of values.
type choice struct {
	value   *string
	allowed []string
}

func (c *choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

func (c *choice) Type() string { return "string" }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("choose one of %s", strings.Join(c.allowed, ", "))
	}
	*c.value = s
	return nil
}

// column is one column of a table. Cells are cleaned before they are printed; an empty cell shows "-".
type column[T any] struct {
	head string
	wide bool // only with -o wide
	cell func(T) string
	// raw keeps leading spaces and tree lines as they are; such text is made here, not by the server.
	raw bool
}

// view is how a kind of thing is printed in lists.
type view[T proto.Message] struct {
	name    func(T) string
	columns []column[T]
}

// list prints items in the chosen format.
func list[T proto.Message](w io.Writer, o output, v view[T], items []T, colour bool) error {
	switch o.format {
	case "json":
		return printJSON(w, items)
	case "yaml":
		return printYAML(w, items)
	case "name":
		for _, it := range items {
			fmt.Fprintln(w, clean(v.name(it)))
		}
		return nil
	}
	rows := make([][]string, len(items))
	heads := v.heads(o.format == "wide")
	for i, it := range items {
		rows[i] = v.row(it, o.format == "wide")
	}
	return table(w, o, heads, rows, colour)
}

func (v view[T]) heads(wide bool) []string {
	var out []string
	for _, c := range v.columns {
		if wide || !c.wide {
			out = append(out, c.head)
		}
	}
	return out
}

func (v view[T]) row(it T, wide bool) []string {
	var out []string
	for _, c := range v.columns {
		if !wide && c.wide {
			continue
		}
		cell := c.cell(it)
		if !c.raw {
			cell = orNone(clean(cell))
		}
		out = append(out, cell)
	}
	return out
}

// table aligns rows under heads. With colour, heads are dim and the words that are states have their colour.
func table(w io.Writer, o output, heads []string, rows [][]string, colour bool) error {
	var text bytes.Buffer
	tw := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	if !o.noHeaders {
		fmt.Fprintln(tw, strings.Join(heads, "\t"))
	}
	for _, r := range rows {
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for i, line := range strings.SplitAfter(text.String(), "\n") {
		line = strings.TrimRight(line, " \n") + strings.Repeat("\n", min(1, strings.Count(line, "\n")))
		if colour {
			line = paint(line, i == 0 && !o.noHeaders)
		}
		if _, err := io.WriteString(w, line); err != nil {
			return err
		}
	}
	return nil
}

// shades is the colour of each state word; a waiting thing is not an error and not red.
var shades = map[string]string{
	"running": "32", "ready": "32", "succeeded": "32", "healthy": "32", "done": "32", "open": "36",
	"leaving": "33", "draining": "33", "cordoned": "33", "stopping": "33", "reclaimed": "33", "borrowed": "33", "withdrawn": "36",
	"pending": "36", "starting": "36", "unreachable": "35", "lost": "31", "failed": "31", "unhealthy": "31", "expired": "31",
}

// paint colours a finished line, so that colours never disturb the alignment.
func paint(line string, head bool) string {
	if head {
		return "\x1b[2m" + strings.TrimSuffix(line, "\n") + "\x1b[0m\n"
	}
	var b strings.Builder
	for i, word := range strings.Split(line, "  ") {
		if i > 0 {
			b.WriteString("  ")
		}
		bare := strings.TrimSpace(word)
		if s, ok := shades[bare]; ok {
			word = strings.Replace(word, bare, "\x1b["+s+"m"+bare+"\x1b[0m", 1)
		}
		b.WriteString(word)
	}
	return b.String()
}

// field is one line of a thing shown alone.
type field struct{ name, value string }

// one prints a single thing: its fields as lines, or the whole message.
func one[T proto.Message](w io.Writer, o output, name string, it T, fields []field) error {
	switch o.format {
	case "json":
		data, err := toJSON(it)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", data)
		}
		return err
	case "yaml":
		data, err := toYAML(it)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	case "name":
		_, err := fmt.Fprintln(w, clean(name))
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range fields {
		if f.value != "" && f.value != none {
			fmt.Fprintf(tw, "%s:\t%s\n", f.name, clean(f.value))
		}
	}
	return tw.Flush()
}

// toJSON is the API's JSON, indented. protojson varies its white space on purpose, hence the second pass.
func toJSON(m proto.Message) ([]byte, error) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.Indent(&b, raw, "", "  ")
	return b.Bytes(), err
}

func toYAML(m proto.Message) ([]byte, error) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(raw)
}

// printJSON writes one JSON array.
func printJSON[T proto.Message](w io.Writer, items []T) error {
	all := make([]json.RawMessage, len(items))
	for i, it := range items {
		raw, err := protojson.Marshal(it)
		if err != nil {
			return err
		}
		all[i] = raw
	}
	data, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(w, "%s\n", data)
	}
	return err
}

// printYAML writes one YAML list.
func printYAML[T proto.Message](w io.Writer, items []T) error {
	var b bytes.Buffer
	if err := printJSON(&b, items); err != nil {
		return err
	}
	data, err := yaml.JSONToYAML(b.Bytes())
	if err == nil {
		_, err = w.Write(data)
	}
	return err
}

// printLine writes one message of a stream: a JSON object on one line, or a YAML document.
func printLine(w io.Writer, format string, m proto.Message) error {
	if format == "yaml" {
		data, err := toYAML(m)
		if err == nil {
			_, err = fmt.Fprintf(w, "---\n%s", data)
		}
		return err
	}
	raw, err := protojson.Marshal(m)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, b.String())
	return err
}
