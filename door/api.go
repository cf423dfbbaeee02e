package door

import (
	"net/http"

	"connectrpc.com/connect"

	api "polder.dev/polder/api/polder/v1/polderv1connect"
)

// API is the native API as a door calls it. A call whose context has no [Caller] is anonymous, and denied.
type API struct {
	Plans   api.PlanServiceClient
	Roles   api.RoleServiceClient
	Nodes   api.NodeServiceClient
	Asks    api.AskServiceClient
	Claims  api.ClaimServiceClient
	Tasks   api.TaskServiceClient
	Leases  api.LeaseServiceClient
	Notices api.NoticeServiceClient
	Events  api.EventServiceClient
	Access  api.AccessServiceClient
	Audits  api.AuditServiceClient
	Doors   api.DoorServiceClient
	Engines api.EngineServiceClient
	Volumes api.VolumeServiceClient
	// Reservations are what others are carved out of.
	Reservations api.ReservationServiceClient
	// Agents is for nodes that exist only in this process.
	Agents api.AgentServiceClient

	way     *transport
	watched watched // nil when the server is none that hands over
}

// Open returns the API of a server in this process. The handler is the server's own, guard included; door is the door's
// name, which the audit trail shows as where calls come from.
func Open(server http.Handler, door string) *API {
	way := &transport{server: server, door: door}
	client := &http.Client{Transport: way}
	const url = "http://polder.invalid"                      // never dialled
	plain := connect.WithAcceptCompression("gzip", nil, nil) // bytes that stay in the process are not worth packing
	out := &API{
		Plans: api.NewPlanServiceClient(client, url, plain), Roles: api.NewRoleServiceClient(client, url, plain),
		Nodes: api.NewNodeServiceClient(client, url, plain), Asks: api.NewAskServiceClient(client, url, plain),
		Claims: api.NewClaimServiceClient(client, url, plain), Tasks: api.NewTaskServiceClient(client, url, plain),
		Leases: api.NewLeaseServiceClient(client, url, plain), Notices: api.NewNoticeServiceClient(client, url, plain),
		Events: api.NewEventServiceClient(client, url, plain), Access: api.NewAccessServiceClient(client, url, plain),
		Audits: api.NewAuditServiceClient(client, url, plain), Doors: api.NewDoorServiceClient(client, url, plain),
		Engines: api.NewEngineServiceClient(client, url, plain), Volumes: api.NewVolumeServiceClient(client, url, plain),
		Reservations: api.NewReservationServiceClient(client, url, plain),
		Agents:       api.NewAgentServiceClient(client, url, plain),
		way:          way,
	}
	out.watched, _ = server.(watched)
	if to, ok := server.(committer); ok {
		out.Claims = claims{out.Claims, way, to}
	}
	return out
}
