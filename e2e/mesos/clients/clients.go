//go:build clients

// Package clients holds what real clients of Mesos need, apart from this repository's own dependencies. They are built
// unmodified, by their exact versions, for the tests beside it.
package clients

import (
	_ "github.com/mesos/mesos-go/api/v1/cmd/example-executor"
	_ "github.com/mesos/mesos-go/api/v1/cmd/example-scheduler"
	_ "github.com/mesos/mesos-go/api/v1/cmd/msh"
	_ "github.com/mesos/mesos-go/api/v1/cmd/mwatch"
)
