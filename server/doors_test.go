package server

import (
	"slices"
	"testing"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/server/traffic"
)

// TestDoorsAreShown: the native API counts its own calls and refusals; frameworks are asked for with what the caller may view.
func TestDoorsAreShown(t *testing.T) {
	book := &traffic.Book{}
	w := newWorld(t, func(c *Config) { c.Doors = book })
	book.Add(traffic.New("mesos", "127.0.0.1:5050", nil))
	book.Offers(func(may func(string) bool) (out []*polderv1.Framework, _ []*polderv1.Offer) {
		for _, role := range []string{"own", "other"} {
			if may(role) {
				out = append(out, &polderv1.Framework{Id: role})
			}
		}
		return out, nil
	})
	admin := w.as(w.admin)
	call(t, admin.access.SetPermissions, &polderv1.SetPermissionsRequest{Permissions: []*polderv1.Permission{{Subject: "user:bob", Verbs: []string{"view"}, Role: "own"}}})
	bob := w.as(call(t, admin.access.CreateToken, &polderv1.CreateTokenRequest{Kind: "user", Name: "bob"}).Secret)
	refusal(t, connect.CodeNotFound, admin.node.Get, &polderv1.NodeServiceGetRequest{Name: "nowhere"})

	doors := call(t, api.NewDoorServiceClient(admin.http, baseURL).List, &polderv1.DoorServiceListRequest{}).Doors
	if len(doors) != 2 || doors[0].Name != "native" || doors[1].Address != "127.0.0.1:5050" {
		t.Fatal(doors)
	}
	i := slices.IndexFunc(doors[0].Refusals, func(r *polderv1.RefusedCall) bool { return r.Call == "polder.v1.NodeService/Get" })
	if i < 0 || doors[0].Refusals[i].Status != "not_found" || doors[0].Requests < 3 {
		t.Error(doors[0])
	}
	refusal(t, connect.CodePermissionDenied, api.NewDoorServiceClient(bob.http, baseURL).List, &polderv1.DoorServiceListRequest{})
	kube := &polderv1.DoorServiceReportRequest{Door: &polderv1.Door{Name: "kubernetes", Address: "10.0.0.1:6443"}}
	refusal(t, connect.CodePermissionDenied, api.NewDoorServiceClient(bob.http, baseURL).Report, kube)
	call(t, api.NewDoorServiceClient(admin.http, baseURL).Report, kube)
	if doors = call(t, api.NewDoorServiceClient(admin.http, baseURL).List, &polderv1.DoorServiceListRequest{}).Doors; len(doors) != 3 || doors[2].State != "on" {
		t.Error(doors)
	}
	refusal(t, connect.CodeInvalidArgument, api.NewDoorServiceClient(admin.http, baseURL).Report, &polderv1.DoorServiceReportRequest{Door: &polderv1.Door{Name: "mesos"}})
	seen := call(t, api.NewDoorServiceClient(bob.http, baseURL).Frameworks, &polderv1.DoorServiceFrameworksRequest{}).Frameworks
	if len(seen) != 1 || seen[0].Id != "own" {
		t.Error(seen)
	}
}
