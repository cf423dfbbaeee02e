// Package masterv1 is generated from the .proto file beside it: what operators' tools and the master say to each other. Names and numbers are Mesos'.
package masterv1
