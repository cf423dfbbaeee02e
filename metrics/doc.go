// Package metrics is the one table of what Polder measures: name, type, unit, help and labels of every figure that a server or an
// agent shows at /metrics. Code shows a figure by its row; the page docs/metrics.md, the dashboard and the alert rules are generated
// from the same rows ("make generate"), and a test fails when they are not current.
//
// It measures nothing itself. Labels are roles, resources and closed lists; never a task, an ask or a user. A [Metric] is immutable
// and safe for concurrent use.
package metrics
