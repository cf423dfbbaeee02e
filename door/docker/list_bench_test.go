package docker

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	runtime "polder.dev/polder/agent/runtime/docker"
	polderv1 "polder.dev/polder/api/polder/v1"
	api "polder.dev/polder/api/polder/v1/polderv1connect"
	"polder.dev/polder/door"
)

// crowd is a pool with engines that answer at once, each with as many running containers.
type crowd struct {
	api.UnimplementedEngineServiceHandler
	api.UnimplementedAccessServiceHandler
	lists map[string][]byte // what an engine says to docker ps, by node
	tasks []*polderv1.Task
	asks  []*polderv1.Ask
}

// newCrowd makes n containers on three engines, described as docker run would describe them.
func newCrowd(n int) *crowd {
	c := &crowd{lists: map[string][]byte{}}
	for e := range 3 {
		node := fmt.Sprint("n", e)
		var list []thing
		for i := e; i < n; i += 3 {
			id, role := fmt.Sprintf("%064x", i), "corp/team"
			create := encode(thing{"Image": "app", "Cmd": []string{"serve"}, "Env": []string{"A=b", "PATH=/bin"}, "HostConfig": thing{"Memory": 64 << 20, "NanoCpus": 100_000_000,
				"PortBindings": thing{}, "RestartPolicy": thing{"Name": "no"}, "AutoRemove": false}, "NetworkingConfig": thing{"EndpointsConfig": thing{}}})
			list = append(list, thing{
				"Id": fmt.Sprintf("%064x", i+1<<40), "Names": []string{fmt.Sprint("/c", i)}, "Image": "app", "ImageID": "sha256:" + id, "Command": "serve", "Created": 1_700_000_000 + i,
				"Ports": []thing{}, "State": "running", "Status": "Up 2 hours", "HostConfig": thing{"NetworkMode": "default"},
				"NetworkSettings": thing{"Networks": thing{"bridge": thing{"IPAddress": "172.17.0.2", "EndpointID": id, "NetworkID": id, "Gateway": "172.17.0.1", "MacAddress": "02:42:ac:11:00:02"}}},
				"Mounts":          []thing{{"Type": "bind", "Source": "/x", "Destination": runtime.SandboxPath, "Mode": "", "RW": true}},
				"Labels": thing{runtime.LabelContainer: id, runtime.LabelRole: role, runtime.LabelAgent: node, "app": "shop",
					labelSpec: encode(thing{"runtime": "docker", "image": "app", "container": thing{"id": id, "role": role, "create": create}})},
			})
			c.tasks = append(c.tasks, &polderv1.Task{Id: fmt.Sprintf("a%d.0", i), Container: id, Node: node, Role: role, Funding: role, Resources: map[string]string{"cpu": "0.1", "memory": "64Mi"}})
			c.asks = append(c.asks, &polderv1.Ask{Id: fmt.Sprint("a", i), State: "open", Spec: &polderv1.AskSpec{Role: role, Task: &polderv1.TaskSpec{
				Image: "app", Container: &polderv1.Container{Id: id, Role: role, Create: []byte(create)}}}})
		}
		c.lists[node] = []byte(encode(list))
	}
	return c
}

func (c *crowd) door() *Door {
	mux := http.NewServeMux()
	mux.Handle(api.NewEngineServiceHandler(c))
	mux.Handle(api.NewAccessServiceHandler(c))
	mux.Handle(api.NewTaskServiceHandler(crowdTasks{crowd: c}))
	mux.Handle(api.NewAskServiceHandler(crowdAsks{crowd: c}))
	return New(door.Open(mux, "docker"), Options{Version: "test"})
}

func (c *crowd) List(context.Context, *connect.Request[polderv1.EngineServiceListRequest]) (*connect.Response[polderv1.EngineServiceListResponse], error) {
	out := &polderv1.EngineServiceListResponse{}
	for e := range 3 {
		out.Nodes = append(out.Nodes, &polderv1.EngineNode{Name: fmt.Sprint("n", e), State: "ready", Fits: true})
	}
	return connect.NewResponse(out), nil
}

func (c *crowd) WhoAmI(context.Context, *connect.Request[polderv1.WhoAmIRequest]) (*connect.Response[polderv1.WhoAmIResponse], error) {
	return connect.NewResponse(&polderv1.WhoAmIResponse{Kind: "user", Name: "ann"}), nil
}

func (c *crowd) CanI(context.Context, *connect.Request[polderv1.CanIRequest]) (*connect.Response[polderv1.CanIResponse], error) {
	return connect.NewResponse(&polderv1.CanIResponse{Allowed: true}), nil
}

// Dial answers one request as an engine does.
func (c *crowd) Dial(_ context.Context, stream *connect.BidiStream[polderv1.EngineServiceDialRequest, polderv1.EngineServiceDialResponse]) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	var sent bytes.Buffer
	for !bytes.Contains(sent.Bytes(), []byte("\r\n\r\n")) {
		m, err := stream.Receive()
		if err != nil {
			return err
		}
		sent.Write(m.Data)
	}
	r, err := http.ReadRequest(bufio.NewReader(&sent))
	if err != nil {
		return err
	}
	body := []byte(`{"ID":"` + first.Start.Node + `","ApiVersion":"1.41"}`)
	if strings.HasSuffix(r.URL.Path, "/containers/json") {
		body = c.lists[first.Start.Node]
	}
	var answer bytes.Buffer
	res := &http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)), Header: http.Header{}}
	if err := res.Write(&answer); err != nil {
		return err
	}
	for answer.Len() > 0 {
		if err := stream.Send(&polderv1.EngineServiceDialResponse{Data: answer.Next(chunk)}); err != nil {
			return err
		}
	}
	return nil
}

type crowdTasks struct {
	api.UnimplementedTaskServiceHandler
	*crowd
}

// List gives everything, a thousand to a page as the server does.
func (c crowdTasks) List(_ context.Context, r *connect.Request[polderv1.TaskServiceListRequest]) (*connect.Response[polderv1.TaskServiceListResponse], error) {
	page, next := pageOf(c.tasks, r.Msg.PageToken)
	return connect.NewResponse(&polderv1.TaskServiceListResponse{Tasks: page, NextPageToken: next}), nil
}

type crowdAsks struct {
	api.UnimplementedAskServiceHandler
	*crowd
}

func (c crowdAsks) List(_ context.Context, r *connect.Request[polderv1.AskServiceListRequest]) (*connect.Response[polderv1.AskServiceListResponse], error) {
	if r.Msg.Waiting { // none does
		return connect.NewResponse(&polderv1.AskServiceListResponse{}), nil
	}
	page, next := pageOf(c.asks, r.Msg.PageToken)
	return connect.NewResponse(&polderv1.AskServiceListResponse{Asks: page, NextPageToken: next}), nil
}

func pageOf[T any](all []T, token string) (page []T, next string) {
	at := 0
	_, _ = fmt.Sscan(token, &at) // none is the first page
	end := min(len(all), at+1000)
	if end < len(all) {
		next = fmt.Sprint(end)
	}
	return all[at:end], next
}

// BenchmarkList10000 is docker ps of 10,000 containers on three engines that answer at once: what the door and its calls to the pool
// cost. The engines' own time comes on top.
func BenchmarkList10000(b *testing.B) {
	c := newCrowd(10_000)
	d := c.door()
	var spent time.Duration
	for b.Loop() {
		before := cpuTime(b)
		w := httptest.NewRecorder()
		began := time.Now()
		d.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1.41/containers/json", nil))
		if n := strings.Count(w.Body.String(), `"polder.task"`); w.Code != http.StatusOK || n != 10_000 {
			b.Fatalf("after %v: %d with %d containers: %.200s", time.Since(began), w.Code, n, w.Body)
		}
		spent += cpuTime(b) - before
	}
	b.ReportMetric(spent.Seconds()*1000/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(len(c.lists["n0"])*3)/1e6, "MB-from-engines")
}

// cpuTime is what this process has used so far, the collector included.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
