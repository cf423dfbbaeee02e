package cli

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/proto"
)

// pageSize is what is asked for at once; the whole list is always fetched.
const pageSize = 500

// page is one answer of a list call.
type page[T any] struct {
	items    []T
	next     string
	revision int64
}

// pages follows a list to its end and returns everything, with the revision of the first page.
func pages[T any](ctx context.Context, fetch func(ctx context.Context, token string) (page[T], error)) ([]T, int64, error) {
	var (
		out   []T
		first int64
		token string
	)
	for {
		p, err := fetch(ctx, token)
		if err != nil {
			return nil, 0, err
		}
		if token == "" {
			first = p.revision
		}
		out = append(out, p.items...)
		if p.next == "" {
			return out, first, nil
		}
		if p.next == token {
			return nil, 0, fail(exitError, "The server has a bug; look for a newer version.", "the list does not end: page %q follows itself", token)
		}
		token = p.next
	}
}

// listing is a command that lists things.
type listing struct {
	output
	watch    bool
	interval time.Duration
}

func (l *listing) register(cmd *cobra.Command) {
	l.output.register(cmd)
	cmd.Flags().BoolVarP(&l.watch, "watch", "w", false, "keep showing changes until interrupted")
	cmd.Flags().DurationVar(&l.interval, "interval", time.Second, "time between two looks with --watch; 0 looks once")
}

// showList prints what get returns once, or again and again with --watch. On a terminal the table is redrawn in place;
// elsewhere only new and changed rows follow the first list.
func showList[T proto.Message](ctx context.Context, a *app, l listing, v view[T], get func(context.Context) ([]T, error)) error {
	items, err := get(ctx)
	if err != nil {
		return err
	}
	if !l.watch || l.interval <= 0 {
		return list(a.Out, l.output, v, items, a.colour())
	}
	if _, tty := terminal(a.Out); tty && (l.format == "table" || l.format == "wide") {
		return redraw(ctx, a, l, v, items, get)
	}
	return printChanges(ctx, a, l, v, items, get)
}

// every calls f with a fresh list after each interval until ctx ends, which is the normal end of watching. Short trouble
// with the server is waited out.
func every[T proto.Message](ctx context.Context, l listing, get func(context.Context) ([]T, error), f func([]T) error) error {
	for trouble := 0; ; {
		if pause(ctx, l.interval<<trouble) != nil {
			return nil
		}
		items, err := get(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			trouble = 0
			err = f(items)
		case passing(err) && trouble < reconnects:
			trouble++
			continue
		}
		if err != nil {
			return err
		}
	}
}

// redraw shows the list in place, cut to the size of the terminal.
func redraw[T proto.Message](ctx context.Context, a *app, l listing, v view[T], items []T, get func(context.Context) ([]T, error)) error {
	drawn := 0
	draw := func(items []T) error {
		var b bytes.Buffer
		if err := list(&b, l.output, v, items, false); err != nil {
			return err
		}
		lines := a.fit(strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n"))
		if drawn > 0 {
			fmt.Fprintf(a.Out, "\x1b[%dA\x1b[J", drawn)
		}
		drawn = len(lines)
		for i, line := range lines {
			if a.colour() {
				line = paint(line+"\n", i == 0 && !l.noHeaders)
			} else {
				line += "\n"
			}
			fmt.Fprint(a.Out, line)
		}
		return nil
	}
	if err := draw(items); err != nil {
		return err
	}
	return every(ctx, l, get, draw)
}

// fit cuts lines to the terminal; a wrapped or scrolled line could not be drawn over.
func (a *app) fit(lines []string) []string {
	fd, _ := terminal(a.Out)
	width, height, err := term.GetSize(fd)
	if err != nil || width < 10 || height < 4 {
		return lines
	}
	if len(lines) > height-1 {
		more := len(lines) - (height - 2)
		lines = append(lines[:height-2:height-2], fmt.Sprintf("... and %d more", more))
	}
	for i, line := range lines {
		if r := []rune(line); len(r) > width {
			lines[i] = string(r[:width])
		}
	}
	return lines
}

// printChanges prints the list, then rows that are new or different, and "gone" for those that left. The formats json
// and yaml print one object for each row.
func printChanges[T proto.Message](ctx context.Context, a *app, l listing, v view[T], items []T, get func(context.Context) ([]T, error)) error {
	known := map[string]T{}
	var order []string
	show := func(items []T) error {
		var changed []T
		names := make([]string, len(items))
		for i, it := range items {
			names[i] = v.name(it)
			if old, ok := known[names[i]]; !ok || !proto.Equal(old, it) {
				changed = append(changed, it)
			}
			known[names[i]] = it
		}
		for _, n := range order {
			if !slices.Contains(names, n) {
				delete(known, n)
				fmt.Fprintf(a.Err, "%s is gone\n", clean(n))
			}
		}
		order = names
		return printRows(a, l.output, v, changed)
	}
	if err := show(items); err != nil {
		return err
	}
	l.noHeaders = true
	return every(ctx, l, get, show)
}

// printRows prints rows of a stream.
func printRows[T proto.Message](a *app, o output, v view[T], items []T) error {
	if o.format != "json" && o.format != "yaml" {
		if len(items) == 0 && o.noHeaders {
			return nil
		}
		return list(a.Out, o, v, items, a.colour())
	}
	for _, it := range items {
		if err := printLine(a.Out, o.format, it); err != nil {
			return err
		}
	}
	return nil
}
