package server

import (
	"context"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
)

// doors serves DoorService.
type doors struct{ *leader }

func (s doors) List(context.Context, *connect.Request[polderv1.DoorServiceListRequest]) (*connect.Response[polderv1.DoorServiceListResponse], error) {
	return connect.NewResponse(&polderv1.DoorServiceListResponse{Doors: s.allDoors()}), nil
}

// allDoors are the native API and the others.
func (l *leader) allDoors() []*polderv1.Door {
	return append([]*polderv1.Door{l.meters.native.Report()}, l.cfg.Doors.Doors(l.cfg.Now())...)
}

// Report is not in the audit trail: it changes nothing but what List shows, and comes every few seconds.
func (s doors) Report(_ context.Context, req *connect.Request[polderv1.DoorServiceReportRequest]) (*connect.Response[polderv1.DoorServiceReportResponse], error) {
	if err := s.cfg.Doors.Heard(req.Msg.GetDoor(), s.cfg.Now()); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	return connect.NewResponse(&polderv1.DoorServiceReportResponse{}), nil
}

func (s doors) Frameworks(ctx context.Context, _ *connect.Request[polderv1.DoorServiceFrameworksRequest]) (*connect.Response[polderv1.DoorServiceFrameworksResponse], error) {
	out := &polderv1.DoorServiceFrameworksResponse{}
	out.Frameworks, out.Offers = s.cfg.Doors.Frameworks(s.viewer(callerOf(ctx)).mayView)
	return connect.NewResponse(out), nil
}
