package server

import (
	"context"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// doors serves DoorService.
type doors struct{ *leader }

func (s doors) List(context.Context, *connect.Request[polderv1.DoorServiceListRequest]) (*connect.Response[polderv1.DoorServiceListResponse], error) {
	return connect.NewResponse(&polderv1.DoorServiceListResponse{Doors: append([]*polderv1.Door{s.meters.native.Report()}, s.cfg.Doors.Doors()...)}), nil
}

func (s doors) Frameworks(ctx context.Context, _ *connect.Request[polderv1.DoorServiceFrameworksRequest]) (*connect.Response[polderv1.DoorServiceFrameworksResponse], error) {
	out := &polderv1.DoorServiceFrameworksResponse{}
	out.Frameworks, out.Offers = s.cfg.Doors.Frameworks(s.viewer(callerOf(ctx)).mayView)
	return connect.NewResponse(out), nil
}
