// Package allocatorv1 is generated from the .proto file beside it: answers to inverse offers as operators' tools see them. Names and numbers are Mesos'.
package allocatorv1
