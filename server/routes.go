package server

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/auth"
)

// route says who may call a procedure.
type route struct {
	// verb is the permission it takes; on which roles follows from the decoded request. Empty means the check says.
	verb auth.Verb
	// roles are what verb is checked on. Nil with a verb is the root.
	roles func(*leader, *caller, proto.Message) ([]string, error)
	// check replaces verb and roles where they do not say enough. Exactly one of the two is set, or one of the next three.
	check func(*leader, *caller, proto.Message) error
	// anonymous procedures are for callers without an identity.
	anonymous bool
	// agent procedures are for the agent of a node only; which node is checked by the handler.
	agent bool
	// door procedures are for doors in this process only, with what their callers may.
	door bool
	// filtered procedures are for everybody; they show only what the caller may view.
	filtered bool
	// shows is what callers of an anonymous or filtered procedure must have first; nil is nothing.
	shows func(*leader, *caller, proto.Message) error
	// change procedures are audited before they happen.
	change bool
	// changes says which requests of a change procedure are one; nil is all.
	changes func(proto.Message) bool
	// object names what is changed, for the audit trail.
	object func(proto.Message) string
}

// routes is the one table of who may do what. A procedure that is not here keeps the server from starting.
var routes = map[string]route{
	api.PlanServiceGetProcedure:      {verb: auth.View},
	api.PlanServiceValidateProcedure: {filtered: true, shows: viewsAny},
	api.PlanServicePreviewProcedure:  {verb: auth.View},
	api.PlanServiceApplyProcedure:    {verb: auth.Plan, roles: changedRoles, change: true, object: fixed("plan")},
	api.PlanServiceHistoryProcedure:  {verb: auth.View},
	api.PlanServiceShowProcedure:     {filtered: true},

	api.RoleServiceListProcedure:  {filtered: true},
	api.RoleServiceGetProcedure:   {verb: auth.View, roles: field((*polderv1.RoleServiceGetRequest).GetPath)},
	api.RoleServiceWasteProcedure: {verb: auth.View, roles: field((*polderv1.WasteRequest).GetRole)},

	api.RoleServiceHistoryProcedure: {verb: auth.View, roles: field((*polderv1.RoleServiceHistoryRequest).GetPath)},

	api.NodeServiceListProcedure:   {verb: auth.View},
	api.NodeServiceGetProcedure:    {verb: auth.View},
	api.NodeServiceCordonProcedure: {verb: auth.Node, change: true, object: named("node/", (*polderv1.CordonRequest).GetName)},
	api.NodeServiceDrainProcedure:  {verb: auth.Node, change: true, object: named("node/", (*polderv1.DrainRequest).GetName)},
	api.NodeServiceRemoveProcedure: {verb: auth.Node, change: true, object: named("node/", (*polderv1.NodeServiceRemoveRequest).GetName)},

	api.AskServiceSubmitProcedure:  {verb: auth.Run, roles: submittedRoles, change: true, object: fixed("asks")},
	api.AskServiceCancelProcedure:  {verb: auth.Run, roles: cancelledRoles, change: true, object: list("ask/", (*polderv1.CancelRequest).GetIds)},
	api.AskServiceListProcedure:    {filtered: true},
	api.AskServiceGetProcedure:     {verb: auth.View, roles: askRole((*polderv1.AskServiceGetRequest).GetId)},
	api.AskServiceExplainProcedure: {verb: auth.View, roles: explainedRole},

	api.ClaimServiceWatchProcedure:  {verb: auth.View},
	api.ClaimServiceCommitProcedure: {verb: auth.Run, roles: claimedRoles, change: true, object: fixed("claims")},

	api.TaskServiceListProcedure:   {filtered: true},
	api.TaskServiceGetProcedure:    {verb: auth.View, roles: taskRole((*polderv1.TaskServiceGetRequest).GetId)},
	api.TaskServiceKillProcedure:   {verb: auth.Run, roles: killedRoles, change: true, object: list("task/", (*polderv1.KillRequest).GetIds)},
	api.TaskServiceResizeProcedure: {verb: auth.Run, roles: taskRole((*polderv1.ResizeRequest).GetTask), change: true, object: named("task/", (*polderv1.ResizeRequest).GetTask)},

	api.TaskServiceSetCostsProcedure: {verb: auth.Run, roles: pricedRoles, change: true, object: fixed("costs")},

	api.TaskServiceLogsProcedure:      {verb: auth.Logs, roles: taskRole((*polderv1.LogsRequest).GetTask)},
	api.TaskServiceListFilesProcedure: {verb: auth.Logs, roles: taskRole((*polderv1.ListFilesRequest).GetTask)},
	api.TaskServiceReadFileProcedure:  {verb: auth.Logs, roles: taskRole((*polderv1.ReadFileRequest).GetTask)},
	api.TaskServiceExecProcedure:      {verb: auth.Exec, roles: execRole, change: true, object: execObject},

	api.TaskServiceAttachProcedure: {verb: auth.Exec, roles: attachRole, change: true, object: attachObject},

	api.LeaseServiceListProcedure: {filtered: true},

	api.VolumeServiceCreateProcedure: {verb: auth.Run, roles: createdRole((*polderv1.VolumeServiceCreateRequest).GetRole), change: true, object: named("volume/", (*polderv1.VolumeServiceCreateRequest).GetName)},
	api.VolumeServiceGetProcedure:    {verb: auth.View, roles: volumeRole((*polderv1.VolumeServiceGetRequest).GetName)},
	api.VolumeServiceListProcedure:   {filtered: true},
	api.VolumeServiceResizeProcedure: {verb: auth.Run, roles: volumeRole((*polderv1.VolumeServiceResizeRequest).GetName), change: true, object: named("volume/", (*polderv1.VolumeServiceResizeRequest).GetName)},
	api.VolumeServiceDeleteProcedure: {verb: auth.Run, roles: volumeRole((*polderv1.VolumeServiceDeleteRequest).GetName), change: true, object: named("volume/", (*polderv1.VolumeServiceDeleteRequest).GetName)},

	api.ReservationServiceCreateProcedure: {verb: auth.Run, roles: createdRole((*polderv1.ReservationServiceCreateRequest).GetRole), change: true, object: named("reservation/", (*polderv1.ReservationServiceCreateRequest).GetName)},
	api.ReservationServiceGetProcedure:    {verb: auth.View, roles: reservationRole((*polderv1.ReservationServiceGetRequest).GetName)},
	api.ReservationServiceListProcedure:   {filtered: true},
	api.ReservationServiceResizeProcedure: {verb: auth.Run, roles: reservationRole((*polderv1.ReservationServiceResizeRequest).GetName), change: true, object: named("reservation/", (*polderv1.ReservationServiceResizeRequest).GetName)},
	api.ReservationServiceDeleteProcedure: {verb: auth.Run, roles: reservationRole((*polderv1.ReservationServiceDeleteRequest).GetName), change: true, object: named("reservation/", (*polderv1.ReservationServiceDeleteRequest).GetName)},

	api.NoticeServiceListProcedure:   {filtered: true},
	api.NoticeServiceWatchProcedure:  {filtered: true},
	api.NoticeServiceAnswerProcedure: {verb: auth.Run, roles: taskRole((*polderv1.AnswerRequest).GetTask), change: true, object: named("task/", (*polderv1.AnswerRequest).GetTask)},

	api.EventServiceListProcedure:  {filtered: true},
	api.EventServiceWatchProcedure: {filtered: true},

	api.AccessServiceWhoAmIProcedure:           {filtered: true},
	api.AccessServiceCanIProcedure:             {filtered: true},
	api.AccessServiceCreateTokenProcedure:      {check: mayCreateToken, change: true, object: named("token/", (*polderv1.CreateTokenRequest).GetName)},
	api.AccessServiceListTokensProcedure:       {verb: auth.TokenUse},
	api.AccessServiceRevokeTokenProcedure:      {check: mayRevokeToken, change: true, object: named("token/", (*polderv1.RevokeTokenRequest).GetId)},
	api.AccessServiceIssueCertificateProcedure: {filtered: true, change: true, object: fixed("certificate")},
	api.AccessServiceGetPermissionsProcedure:   {verb: auth.Admin},
	api.AccessServiceSetPermissionsProcedure:   {verb: auth.Admin, change: true, object: fixed("permissions")},

	api.AuditServiceListProcedure: {verb: auth.Admin, roles: field((*polderv1.AuditServiceListRequest).GetRole)},

	api.DoorServiceListProcedure:       {verb: auth.View},
	api.DoorServiceReportProcedure:     {verb: auth.Run},
	api.DoorServiceFrameworksProcedure: {filtered: true},

	api.EngineServiceListProcedure:   {door: true, filtered: true, shows: viewsAny},
	api.EngineServiceCreateProcedure: {door: true, check: engineCreator, change: true, object: createObject},
	api.EngineServiceDialProcedure:   {door: true, check: engineDialler, change: true, changes: dialChanges, object: dialObject},

	api.AgentServiceJoinProcedure:    {anonymous: true, shows: holdsJoinToken, change: true, object: named("node/", (*polderv1.JoinRequest).GetNode)},
	api.AgentServiceRenewProcedure:   {agent: true, change: true, object: fixed("certificate")},
	api.AgentServiceSessionProcedure: {agent: true},
	api.AgentServiceRelayProcedure:   {agent: true},
}

// permits returns nil if the caller may do what the decoded request says, and the roles it touches.
func (r route) permits(l *leader, c *caller, m proto.Message) ([]string, error) {
	switch {
	case r.anonymous:
		return nil, r.shown(l, c, m)
	case r.agent:
		return nil, auth.CheckNode(c.id, c.id.Name)
	case c.id.Kind == auth.Agent:
		return nil, fmt.Errorf("%w: %s may not do this: an agent acts only for its own node", auth.ErrDenied, c.id)
	case r.door && c.door == "":
		return nil, fmt.Errorf("%w: only a door inside the server may use the engines of nodes", auth.ErrDenied)
	case r.filtered:
		return nil, r.shown(l, c, m)
	case r.check != nil:
		return nil, r.check(l, c, m)
	}
	roles := []string{""}
	if r.roles != nil {
		var err error
		if roles, err = r.roles(l, c, m); err != nil {
			return nil, err
		}
	}
	policy := l.book.Policy()
	for _, path := range roles {
		if err := policy.Check(c.id, r.verb, path); err != nil {
			return roles, err
		}
	}
	return roles, nil
}

func (r route) shown(l *leader, c *caller, m proto.Message) error {
	if r.shows == nil {
		return nil
	}
	return r.shows(l, c, m)
}

func fixed(name string) func(proto.Message) string { return func(proto.Message) string { return name } }

// named reads the object's name from a field of the request.
func named[M any](prefix string, get func(*M) string) func(proto.Message) string {
	return func(m proto.Message) string { return prefix + clip(get(any(m).(*M)), 200) }
}

// list is named for a field with several names; of many it shows the first.
func list[M any](prefix string, get func(*M) []string) func(proto.Message) string {
	return func(m proto.Message) string {
		ids := get(any(m).(*M))
		if len(ids) == 0 {
			return prefix
		}
		text := prefix + ids[0]
		for _, id := range ids[1:] {
			text += "," + id
		}
		return clip(text, 1000)
	}
}

func attachObject(m proto.Message) string {
	return "task/" + clip(m.(*polderv1.AttachRequest).GetStart().GetTask(), 200)
}

func execObject(m proto.Message) string {
	return "task/" + clip(m.(*polderv1.ExecRequest).GetStart().GetTask(), 200)
}
