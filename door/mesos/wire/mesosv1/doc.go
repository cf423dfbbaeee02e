// Package mesosv1 is generated from the .proto file beside it: the types that every Mesos API shares. Names and numbers are Mesos'.
package mesosv1
