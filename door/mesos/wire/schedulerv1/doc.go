// Package schedulerv1 is generated from the .proto file beside it: what a framework's scheduler and the master say to each other. Names and numbers are Mesos'.
package schedulerv1
