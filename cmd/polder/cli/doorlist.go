package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
)

func (a *app) doorListCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the doors of the server, with their requests", Args: cobra.NoArgs,
		Long:    "List the doors of the server that answers, with their requests and refusals since it started, and those that are off. -o wide says why and how to open them, -o json has the refused calls.",
		Example: "  polder door list\n  polder door list -o json",
	}
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		r, err := do(ctx, c.door.List, &polderv1.DoorServiceListRequest{})
		if err != nil {
			return err
		}
		return list(a.Out, o, a.doorView(), r.GetDoors(), a.colour())
	})
	return cmd
}

func (a *app) doorView() view[*polderv1.Door] {
	type d = *polderv1.Door
	return view[d]{(*polderv1.Door).GetName, []column[d]{
		{head: "DOOR", cell: (*polderv1.Door).GetName},
		{head: "STATE", cell: (*polderv1.Door).GetState},
		{head: "ADDRESS", cell: func(d d) string {
			if d.GetName() == "native" {
				return a.conn.resolved
			}
			return first(d.GetAddress(), none)
		}},
		{head: "REQUESTS", cell: func(d d) string { return count(d.GetRequests()) }},
		{head: "PER SECOND", cell: func(d d) string { return fmt.Sprintf("%.1f", d.GetRate()) }},
		{head: "REFUSED", cell: func(d d) string { return count(d.GetRefused()) }},
		{head: "LAST REFUSED", cell: func(d d) string {
			if len(d.GetRefusals()) == 0 {
				return none
			}
			r := d.GetRefusals()[0]
			return fmt.Sprintf("%s %s, %s ago", r.GetStatus(), r.GetCall(), a.age(r.GetLast()))
		}},
		{head: "SINCE", wide: true, cell: func(d d) string { return stamp(d.GetSince()) }},
		{head: "WHY NOT", wide: true, cell: func(d d) string { return first(d.GetOff(), none) }},
	}}
}

func (a *app) frameworksCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "frameworks", Short: "List schedulers connected through doors, with what is on offer to them", Args: cobra.NoArgs,
		Example: "  polder door frameworks\n  polder door frameworks -o json",
	}
	o.register(cmd)
	cmd.RunE = a.call(func(ctx context.Context, c *client, _ []string) error {
		r, err := do(ctx, c.door.Frameworks, &polderv1.DoorServiceFrameworksRequest{})
		if err != nil {
			return err
		}
		if o.format == "json" || o.format == "yaml" {
			return one(a.Out, o, "", r, nil)
		}
		return list(a.Out, o, a.frameworkView(), r.GetFrameworks(), a.colour())
	})
	return cmd
}

func (a *app) frameworkView() view[*polderv1.Framework] {
	type f = *polderv1.Framework
	each := func(of func(*polderv1.FrameworkRole) string) func(f) string {
		return func(f f) string {
			var out []string
			for _, r := range f.GetRoles() {
				out = append(out, of(r))
			}
			return strings.Join(out, "; ")
		}
	}
	return view[f]{(*polderv1.Framework).GetId, []column[f]{
		{head: "FRAMEWORK", cell: (*polderv1.Framework).GetName},
		{head: "ID", wide: true, cell: (*polderv1.Framework).GetId},
		{head: "DOOR", cell: (*polderv1.Framework).GetDoor},
		{head: "STATE", cell: func(f f) string {
			if f.GetConnected() {
				return "connected"
			}
			return "away for " + a.age(f.GetAwaySince())
		}},
		{head: "TASKS", cell: func(f f) string { return count(f.GetTasks()) }},
		{head: "ROLES", cell: each((*polderv1.FrameworkRole).GetRole)},
		{head: "HELD", cell: each(func(r *polderv1.FrameworkRole) string { return amounts(r.GetHeld()) })},
		{head: "OFFERED", cell: each(func(r *polderv1.FrameworkRole) string {
			if r.GetSuppressed() {
				return "wants none"
			}
			return amounts(r.GetOffered())
		})},
		{head: "REFUSED", cell: each(func(r *polderv1.FrameworkRole) string {
			if r.GetRefusedNodes() == 0 {
				return none
			}
			return fmt.Sprintf("%d nodes, until %s", r.GetRefusedNodes(), a.until(r.GetRefusedUntil()))
		})},
		{head: "PRINCIPAL", wide: true, cell: (*polderv1.Framework).GetPrincipal},
	}}
}
