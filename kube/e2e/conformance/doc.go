// Package conformance is the module from which Kubernetes' own tests, and agnhost, the program that their pods run, are built, in the version
// that the door is made of.
//
// It is a module of its own, so that what the tests need is not the door's; "make conformance-kube" runs them, see package e2e.
package conformance

import _ "k8s.io/kubernetes/test/e2e" // not run from here: its test binary is
