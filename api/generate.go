// Package api holds the native API's definition; see [polder.dev/polder/api/polder/v1].
//
// Regenerate with protoc and its two Go plug-ins on the PATH after changing a .proto file.
package api

//go:generate protoc -I . --go_out=.. --go_opt=module=polder.dev/polder --connect-go_out=.. --connect-go_opt=module=polder.dev/polder polder/v1/task.proto polder/v1/polder.proto polder/v1/audit.proto polder/v1/door.proto polder/v1/volume.proto polder/v1/reservation.proto polder/v1/agent.proto
