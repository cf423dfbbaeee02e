//go:build clients

// Package clients names programs of other people that "make clients" builds to test the doors with.
//
// It is a module of its own, so that their dependencies are not Polder's. It has no code.
package clients

import (
	_ "github.com/docker/buildx/cmd/buildx" // docker buildx, which docker build is
	_ "github.com/docker/compose/v5/cmd"    // docker compose
)
