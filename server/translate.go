package server

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/cluster"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
)

// longest is the longest duration anybody may ask for; it keeps sums of durations far from overflowing.
const longest = 366 * 24 * time.Hour

func amountsProto(r resource.Resources) map[string]string {
	out := make(map[string]string, len(r))
	for name, a := range r {
		out[name] = resource.FormatValue(name, a)
	}
	return out
}

// amountsCore reads amounts by name; at is the path of the field that holds them.
func amountsCore(m map[string]string, at string) (resource.Resources, error) {
	out := make(resource.Resources, len(m))
	for name, text := range m {
		a, err := resource.ParseValue(name, text)
		if err != nil {
			return nil, invalid(role.JoinKey(at, name), "%v", err)
		}
		if a == resource.Unlimited {
			return nil, invalid(role.JoinKey(at, name), "an unlimited amount can be promised to nobody; write a number")
		}
		out[name] = a
	}
	return out, nil
}

// kindAmounts is amountsCore for names that may not hold a pool.
func kindAmounts(m map[string]string, at string) (resource.Resources, error) {
	for name := range m {
		if pool, kind := resource.SplitName(name); pool != "" {
			return nil, invalid(role.JoinKey(at, name), "write the kind alone, %q, and name the pool %q in the field pool", kind, pool)
		}
	}
	return amountsCore(m, at)
}

func timeProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeCore(t *timestamppb.Timestamp, at string) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, invalid(at, "%v", err)
	}
	return t.AsTime(), nil
}

// durationCore reads an optional duration, nil when it is not set.
func durationCore(d *durationpb.Duration, at string) (*time.Duration, error) {
	if d == nil {
		return nil, nil
	}
	out := d.AsDuration()
	if d.CheckValid() != nil || out < 0 || out > longest {
		return nil, invalid(at, "%v is not between 0s and %v", out, longest)
	}
	return &out, nil
}

// invalid refuses a field by its path.
func invalid(at, format string, args ...any) *cluster.Refusal {
	text := fmt.Sprintf(format, args...)
	if at != "" {
		text = at + ": " + text
	}
	return refused("Invalid", "", "%s", text)
}

func reasonProto(r cluster.Reason) *polderv1.Reason {
	if r == (cluster.Reason{}) {
		return nil
	}
	return &polderv1.Reason{Code: r.Code, Message: r.Message, UnblockedBy: r.UnblockedBy, Expected: timeProto(r.Expected)}
}

func reasonCore(r *polderv1.Reason) cluster.Reason {
	if r == nil {
		return cluster.Reason{}
	}
	out := cluster.Reason{Code: r.Code, Message: r.Message, UnblockedBy: r.UnblockedBy}
	if r.Expected.IsValid() {
		out.Expected = r.Expected.AsTime()
	}
	return out
}

func noticeProto(n *cluster.Notice) *polderv1.Notice {
	if n == nil {
		return nil
	}
	return &polderv1.Notice{
		Id: n.ID, Task: n.Task, Role: n.Role, Node: n.Node, Claimant: n.Claimant, Amount: amountsProto(n.Amount),
		Issued: timeProto(n.Issued), Deadline: timeProto(n.Deadline), State: string(n.State), Funding: n.Funding,
		Kind: string(n.Kind), Opens: timeProto(n.Opens),
	}
}

func noticeCore(n *polderv1.Notice, at string) (*cluster.Notice, error) {
	if n == nil {
		return nil, nil
	}
	amount, err := amountsCore(n.Amount, role.JoinKey(at, "amount"))
	if err != nil {
		return nil, err
	}
	issued, err := timeCore(n.Issued, role.JoinKey(at, "issued"))
	if err != nil {
		return nil, err
	}
	deadline, err := timeCore(n.Deadline, role.JoinKey(at, "deadline"))
	if err != nil {
		return nil, err
	}
	opens, err := timeCore(n.Opens, role.JoinKey(at, "opens"))
	if err != nil {
		return nil, err
	}
	return &cluster.Notice{
		ID: n.Id, Task: n.Task, Role: n.Role, Node: n.Node, Claimant: n.Claimant, Amount: amount,
		Issued: issued, Deadline: deadline, State: cluster.NoticeState(n.State), Funding: n.Funding,
		Kind: cluster.NoticeKind(n.Kind), Opens: opens,
	}, nil
}
