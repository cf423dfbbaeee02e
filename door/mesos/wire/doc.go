// Package wire is how Mesos' HTTP API looks on the wire: its messages (in the packages below this one), its dialect of
// JSON, streams of records, and what is negotiated by headers.
//
// The dialect is not protobuf's canonical JSON: names are as in the .proto files, 64-bit integers are numbers, and an
// optional field with a default of its own is written although it is not set. What is read is read leniently, as Mesos does:
// unknown fields are skipped, numbers and booleans may be strings, a lone value stands for a list of one. Whatever is read is
// bounded: in length, in depth, and by what the message says is required.
//
// It knows no call and no event: what they mean belongs to the door. All functions are safe for concurrent use; a reader or
// writer of records belongs to one goroutine.
package wire
