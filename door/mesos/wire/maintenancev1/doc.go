// Package maintenancev1 is generated from the .proto file beside it: maintenance as operators' tools see it. Names and numbers are Mesos'.
package maintenancev1
