// Package agentv1 is generated from the .proto file beside it: what tools and an agent say to each other. Names and numbers are Mesos'.
package agentv1
