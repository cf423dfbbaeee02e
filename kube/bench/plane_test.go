//go:build bench

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kuberuntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"polder.dev/polder/kube/claim"
	"polder.dev/polder/kube/controlplane"
	"polder.dev/polder/kube/pool"
	"polder.dev/polder/kube/port"
	"polder.dev/polder/kube/reclaim"
)

const namespace = "online"

// oneRole has every namespace pay from one role.
type oneRole struct{}

// RoleOf implements [claim.Roles].
func (oneRole) RoleOf(string) (string, error) { return namespace, nil }

// bench is a control plane under measurement.
type bench struct {
	t     *testing.T
	log   *slog.Logger
	book  *claim.Book
	queue atomic.Pointer[fwk.Handle]
	over  chan figures
}

// Activate implements [claim.Activator].
func (b *bench) Activate(log klog.Logger, pods map[string]*v1.Pod) {
	if h := b.queue.Load(); h != nil {
		(*h).Activate(log, pods)
	}
}

// runPlane runs a control plane until all pods are bound, and says what it took.
func runPlane(t *testing.T, polder bool) {
	b := &bench{t: t, log: slog.New(slog.NewTextHandler(os.Stderr, nil)), over: make(chan figures, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := controlplane.Config{Dir: filepath.Join(t.TempDir(), "k"), Listen: freeAddress(t), ServiceCIDR: "10.97.0.0/16", UnsafeNoSync: true, Wire: !polder}
	if err := os.Mkdir(c.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var nodes *pool.Nodes
	var client *pool.Client
	if polder {
		var err error
		if client, err = pool.Dial(pool.Address{Server: read(t, addressFile), CA: read(t, rootFile), TokenFile: tokenFile}); err != nil {
			t.Fatal(err)
		}
		nodes = pool.WatchNodes(client, b.log)
		go nodes.Run(ctx)
		<-nodes.Ready()
		b.book = claim.NewBook(client, nodes, oneRole{}, nil, b.log)
		c.Plugins = []controlplane.Plugin{{Name: claim.Name, Binds: true, Factory: func(ctx context.Context, args kuberuntime.Object, h fwk.Handle) (fwk.Plugin, error) {
			b.queue.Store(&h)
			return claim.Factory(b.book)(ctx, args, h)
		}}}
	}
	ended := make(chan error, 1)
	go func() {
		ended <- controlplane.Run(ctx, c, func(ctx context.Context, config *rest.Config) error { return b.ready(ctx, config, client) })
	}()
	select {
	case err := <-ended:
		t.Fatalf("the control plane ended: %v", err)
	case f := <-b.over:
		out, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(string(out))
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
		time.Sleep(time.Minute)
	}
}

// ready makes the objects before the scheduler starts, and watches the pods.
func (b *bench) ready(ctx context.Context, config *rest.Config, client *pool.Client) error {
	config.QPS, config.Burst = 5000, 5000
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if _, err := kube.CoreV1().Namespaces().Create(ctx, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	account := &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
	if _, err := kube.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := errors.Join(each(ctx, *nodeCount, func(i int) error { return makeNode(ctx, kube, i) }), each(ctx, *podCount, func(i int) error { return makePod(ctx, kube, i) })); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(kube, 0)
	pods, budgets := factory.Core().V1().Pods(), factory.Policy().V1().PodDisruptionBudgets()
	lister, budgetLister := pods.Lister(), budgets.Lister()
	if _, err := pods.Informer().AddEventHandler(b.counter(ctx, kube)); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	if b.book != nil { // all that goes with the plugin
		broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: kube.EventsV1()})
		if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
			return err
		}
		recorder := broadcaster.NewRecorder(scheme.Scheme, "polder")
		go b.book.Run(ctx, claim.Cluster{Client: kube, Pods: lister, Events: recorder, Queue: b})
		go reclaim.Run(ctx, reclaim.Cluster{Pool: client, Book: b.book, Client: kube, Pods: lister, Budgets: budgetLister, Events: recorder, Logger: b.log})
	}
	return nil
}

// counter measures from the first pod that is bound to the last, and processor time until the last of their events is written.
func (b *bench) counter(ctx context.Context, kube kubernetes.Interface) cache.ResourceEventHandler {
	var began time.Time
	var used time.Duration
	bound := 0
	return cache.ResourceEventHandlerFuncs{UpdateFunc: func(was, is any) {
		if was.(*v1.Pod).Spec.NodeName != "" || is.(*v1.Pod).Spec.NodeName == "" {
			return
		}
		if bound++; bound == 1 {
			began, used = time.Now(), processorTime(b.t, os.Getpid())
			b.profile(b.t)
		}
		if bound == *podCount {
			took := time.Since(began).Seconds()
			written := allWritten(ctx, b.t, kube)
			pprof.StopCPUProfile()
			b.over <- figures{Bound: bound, Rate: float64(bound-1) / took, Seconds: took, Events: written, CPU: (processorTime(b.t, os.Getpid()) - used).Seconds(), Memory: resident(b.t)}
		}
	}}
}

// allWritten waits until there are as many events as pods, or no more come; it returns how many there are.
func allWritten(ctx context.Context, t *testing.T, kube kubernetes.Interface) (n int) {
	for last := -1; n < *podCount && n > last; {
		time.Sleep(time.Second)
		list, err := kube.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			t.Error(err)
			return n
		}
		last, n = n, len(list.Items)
		if list.RemainingItemCount != nil {
			n += int(*list.RemainingItemCount)
		}
	}
	return n
}

// profile writes down where the processor time goes from now on, if that is asked for.
func (b *bench) profile(t *testing.T) {
	if *profiles == "" {
		return
	}
	out, err := os.CreateTemp(*profiles, os.Getenv(role)+"-*.pprof")
	if err == nil {
		err = pprof.StartCPUProfile(out)
	}
	if err != nil {
		t.Error(err)
	}
}

// each does something so many times, eight at a time.
func each(ctx context.Context, n int, do func(i int) error) error {
	g, _ := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range n {
		g.Go(func() error { return do(i) })
	}
	return g.Wait()
}

func nodeName(i int) string { return fmt.Sprintf("node-%05d", i) }

func makeNode(ctx context.Context, kube kubernetes.Interface, i int) error {
	has := v1.ResourceList{v1.ResourceCPU: resource.MustParse(nodeCPU), v1.ResourceMemory: resource.MustParse(nodeMemory), v1.ResourcePods: resource.MustParse("110")}
	n := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName(i), Labels: map[string]string{v1.LabelHostname: nodeName(i), v1.LabelTopologyZone: "zone-" + string(rune('a'+i%3))}},
		Status: v1.NodeStatus{Capacity: has, Allocatable: has, Conditions: []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}}}
	_, err := kube.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{})
	return err
}

func makePod(ctx context.Context, kube kubernetes.Interface, i int) error {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("pod-%05d", i), Labels: map[string]string{"app": "bench"}}, Spec: v1.PodSpec{
		Containers: []v1.Container{{Name: "main", Image: "pause", Resources: v1.ResourceRequirements{Requests: v1.ResourceList{
			v1.ResourceCPU: resource.MustParse("100m"), v1.ResourceMemory: resource.MustParse("100Mi")}}}},
		Tolerations: []v1.Toleration{{Key: "node.kubernetes.io/not-ready", Operator: v1.TolerationOpExists}},
	}}
	_, err := kube.CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{})
	return err
}

func freeAddress(t *testing.T) string {
	t.Helper()
	n, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", n)
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}
