// Package e2e runs pods on real kubelets of a pool, as a user would: with the programs, kubectl and polder. Its tests need root,
// cgroups, containerd, runc, CNI's plugins and busybox, and are built with the tag e2e only: "make test-kube" runs them.
package e2e
