// Package executorv1 is generated from the .proto file beside it: what an executor and its agent say to each other. Names and numbers are Mesos'.
package executorv1
