// Package metrics serves metrics.k8s.io, what pods and nodes use now, for "kubectl top" and HorizontalPodAutoscalers.
//
// It is a part of the API server's process, with its callers and permissions, and no program, port or certificate more.
// Nothing is collected beforehand and nothing is kept for longer than a few seconds: who asks is answered with what the kubelets'
// summaries say, of the nodes that it is about. A node uses what its pods use, since it may be a slice of a machine. A node whose
// kubelet does not run says nothing, and has no pods.
//
// It is not a history: usage over time and by role is in Polder's own metrics.
//
// A [Source] is safe for concurrent use.
package metrics
