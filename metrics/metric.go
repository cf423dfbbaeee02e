package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Type is what kind of number a metric is.
type Type string

// Types, named as in OpenMetrics.
const (
	Gauge     Type = "gauge"
	Counter   Type = "counter"
	Histogram Type = "histogram"
)

// Metric is a row of the table.
type Metric struct {
	Name    string
	Type    Type
	Unit    string // "seconds"; "amount" is whole units of the resource it is labelled with, bytes for memory and disk; empty is a count
	Help    string
	Labels  []string
	Buckets []float64 // of a histogram
	Part    string    // who shows it: "server" or "agent"
	Group   string    // heading on the page, row on the dashboard
}

var table []*Metric

// Table lists every metric of Polder in the order of the page.
func Table() []*Metric { return slices.Clone(table) }

// declare adds a row.
func declare(m Metric) *Metric {
	table = append(table, &m)
	return &m
}

func (m *Metric) desc() *prometheus.Desc { return prometheus.NewDesc(m.Name, m.Help, m.Labels, nil) }

// Show sends the value a gauge or counter has at this moment, with its labels in the order of the row.
func (m *Metric) Show(to chan<- prometheus.Metric, value float64, labels ...string) {
	kind := prometheus.GaugeValue
	if m.Type == Counter {
		kind = prometheus.CounterValue
	}
	to <- prometheus.MustNewConstMetric(m.desc(), kind, value, labels...)
}

// Counter returns a live counter of the row; its labels are given with each count.
func (m *Metric) Counter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name, Help: m.Help}, m.Labels)
}

// Histogram returns a live histogram of the row.
func (m *Metric) Histogram() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.Name, Help: m.Help, Buckets: m.Buckets}, m.Labels)
}
