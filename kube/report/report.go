package report

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/component-base/metrics/legacyregistry"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/kube/pool"
)

const (
	every     = 5 * time.Second
	window    = time.Minute // the rate is taken over
	keepKinds = 50          // kinds of refused calls
)

// Run reports the door that listens on an address, until ctx ends. What was asked before, while the control plane started and
// looked for what it makes at first, is not counted.
func Run(ctx context.Context, client *pool.Client, address string, log *slog.Logger) {
	b := &book{since: time.Now(), kinds: map[kind]refusal{}}
	b.before, _ = gather() // without it the start is counted too
	tick := time.NewTicker(every)
	defer tick.Stop()
	well := true
	for {
		counts, err := gather()
		if err == nil {
			d := b.door(counts, time.Now())
			d.Address = address
			_, err = client.Doors.Report(ctx, connect.NewRequest(&polderv1.DoorServiceReportRequest{Door: d}))
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && well {
			log.Warn("the pool does not take this door's report; trying again", "error", err)
		}
		well = err == nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// kind is one kind of request, as the API server counts them.
type kind struct{ call, code string }

// gather reads the API server's counter of requests. It is in this process.
func gather() (map[kind]int64, error) {
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		return nil, err
	}
	out := map[kind]int64{}
	for _, f := range families {
		if f.GetName() != "apiserver_request_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			out[kind{callOf(labels), labels["code"]}] += int64(m.GetCounter().GetValue())
		}
	}
	return out, nil
}

// callOf is a request as people write it: "GET apps/deployments/scale".
func callOf(labels map[string]string) string {
	parts := slices.DeleteFunc([]string{labels["group"], labels["resource"], labels["subresource"]}, func(s string) bool { return s == "" })
	return strings.TrimSpace(labels["verb"] + " " + strings.Join(parts, "/"))
}

// refusal is what is known of one kind of refused request.
type refusal struct {
	count int64
	last  time.Time
}

// sample is how many requests there were at a time.
type sample struct {
	at    time.Time
	total int64
}

// book turns counters into what the list of doors shows: a rate, and when something was refused last.
type book struct {
	since  time.Time
	before map[kind]int64 // what there was then
	recent []sample       // of the last minute
	kinds  map[kind]refusal
}

// door is the report at an instant.
func (b *book) door(counts map[kind]int64, now time.Time) *polderv1.Door {
	out := &polderv1.Door{Name: "kubernetes", Since: timestamppb.New(b.since)}
	for k, n := range counts {
		n -= b.before[k]
		out.Requests += n
		if k.code < "400" || len(k.code) != 3 {
			continue
		}
		out.Refused += n
		if r := b.kinds[k]; r.count != n && n > 0 {
			b.kinds[k] = refusal{n, now}
		}
	}
	b.recent = append(slices.DeleteFunc(b.recent, func(s sample) bool { return now.Sub(s.at) > window }), sample{now, out.Requests})
	if first := b.recent[0]; now.After(first.at) {
		out.Rate = float64(out.Requests-first.total) / now.Sub(first.at).Seconds()
	}
	for k, r := range b.kinds {
		out.Refusals = append(out.Refusals, &polderv1.RefusedCall{Call: k.call, Status: k.code, Count: r.count, Last: timestamppb.New(r.last)})
	}
	slices.SortFunc(out.Refusals, func(x, y *polderv1.RefusedCall) int {
		return cmp.Or(y.Last.AsTime().Compare(x.Last.AsTime()), cmp.Compare(y.Count, x.Count), strings.Compare(x.Call+x.Status, y.Call+y.Status))
	})
	out.Refusals = out.Refusals[:min(len(out.Refusals), keepKinds)]
	return out
}
