// Package polderv1 is the native API of Polder, version 1: messages and services as Protocol Buffers, served by Connect,
// which speaks Connect, gRPC and plain JSON over HTTP on one port.
//
// Resource amounts travel as text by name ({"cpu": "2", "gpu-a100/gpu": "8"}), so that no client needs to know units.
// Lists page with page_size and page_token; streams resume from a revision. The generated types are safe for concurrent
// reading.
package polderv1
