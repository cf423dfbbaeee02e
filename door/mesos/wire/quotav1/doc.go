// Package quotav1 is generated from the .proto file beside it: quota as operators' tools see it. Names and numbers are Mesos'.
package quotav1
