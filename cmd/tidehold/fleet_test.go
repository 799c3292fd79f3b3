package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// patiently waits for what a cluster may need long for: its own time-outs are
// 5 s each.
func patiently(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// natsNode is one server of a cluster.
type natsNode struct {
	mqtt, http int
	start      []string // its command line
	process    *gwtest.Process
}

func (n *natsNode) at() string { return fmt.Sprintf("127.0.0.1:%d", n.mqtt) }

// natsCluster are three servers with the configuration that we ship.
type natsCluster struct {
	t     *testing.T
	nodes []*natsNode
}

func startNATS(t *testing.T) *natsCluster {
	gwtest.Need(t, "nats-server")
	c := &natsCluster{t: t}
	dir := t.TempDir()
	here := func() string { return fmt.Sprintf("127.0.0.1:%d", gwtest.FreePort(t)) }
	peers := []string{here(), here(), here()}
	for i, peer := range peers {
		n := &natsNode{mqtt: gwtest.FreePort(t), http: gwtest.FreePort(t)}
		n.start = []string{fmt.Sprintf("NODE=n%d", i), "CLIENTS=" + here(), "PEERS=" + peer, "MQTT=" + n.at(), "STORE=" + filepath.Join(dir, fmt.Sprint(i))}
		for j, p := range peers {
			n.start = append(n.start, fmt.Sprintf("PEER%d=nats://%s", j+1, p))
		}
		n.start = append(n.start, "nats-server", "-c", "../../configs/nats-server.conf", "-m", fmt.Sprint(n.http))
		c.nodes = append(c.nodes, n)
		c.start(n)
	}
	c.ready()
	return c
}

func (c *natsCluster) start(n *natsNode) { n.process = gwtest.Start(c.t, "env", n.start...) }

// ready waits until the nodes have found each other and acknowledge. One that is
// asked too early answers only after its own time-outs.
func (c *natsCluster) ready() {
	for _, n := range c.nodes {
		patiently(c.t, "a node is healthy", func() bool {
			answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", n.http))
			if err != nil {
				return false
			}
			answer.Body.Close()
			return answer.StatusCode == http.StatusOK
		})
	}
	for _, n := range c.nodes {
		patiently(c.t, "a node acknowledges", func() bool {
			client, err := gwtest.Dial(c.t, n.at(), fmt.Sprintf("ready-%d", n.mqtt), gwtest.ClientOptions{})
			if err != nil {
				return false
			}
			defer client.Close()
			return client.TryPublishRetain("ready", []byte("{}"), 1, false) == nil
		})
	}
}

// node finds one by what `uplink status` calls it.
func (c *natsCluster) node(status string) *natsNode {
	for _, n := range c.nodes {
		if strings.HasSuffix(status, n.at()) {
			return n
		}
	}
	c.t.Fatalf("%q is no node of the cluster", status)
	return nil
}

// other is a node that none of these is.
func (c *natsCluster) other(not ...*natsNode) *natsNode {
	return c.nodes[slices.IndexFunc(c.nodes, func(n *natsNode) bool { return !slices.Contains(not, n) })]
}

// fleetSite is a gateway with the cluster as its upstream.
type fleetSite struct {
	*site
	c *natsCluster
}

func newFleetSite(t *testing.T, c *natsCluster) *fleetSite {
	var nodes []string
	for _, n := range c.nodes {
		nodes = append(nodes, fmt.Sprintf("%q", "tcp://"+n.at()))
	}
	s := &fleetSite{newSite(t, "gw", fmt.Sprintf(`uplinks:
  - name: fleet
    profile: nats
    endpoint: [%s]
    drain: {start_jitter: 0s}
    telemetry: [{name: all, from: "dt/#", form: inject}]
`, strings.Join(nodes, ", "))), c}
	s.start()
	patiently(t, "the uplink is online", func() bool { return s.uplink().State == "online" })
	return s
}

// link is `tidehold uplink status -o json`.
type link struct {
	State, Error, Node string
	Attempts           int
}

func (s *fleetSite) uplink() link {
	return ask[[]link](s.t, "uplink", "status", "--socket", s.socket)[0]
}

// flow is a device that publishes 50 messages a second, and a consumer at a node
// that stays.
type flow struct {
	*publisher
	arrivals chan arrival
	// stop ends the device, done the consumer.
	stop, done       chan struct{}
	device, consumer sync.WaitGroup
}

func (s *fleetSite) flow(t *testing.T, at *natsNode) *flow {
	f := &flow{
		publisher: &publisher{t: t, at: s.at(), name: "meter", acked: make(map[int]bool), every: 20 * time.Millisecond},
		arrivals:  make(chan arrival, 1<<16), stop: make(chan struct{}), done: make(chan struct{}),
	}
	subscribed := make(chan struct{})
	f.consumer.Go(func() {
		consume(t, at.at(), f.arrivals, nil, f.done, sync.OnceFunc(func() { close(subscribed) }))
	})
	<-subscribed
	f.device.Go(func() { f.run(f.stop) })
	return f
}

// settle ends the flow, waits until the spool is empty and judges what came.
// Duplicates are those that were under way when a node died.
func (f *flow) settle(t *testing.T, s *fleetSite, least, inflight int) {
	close(f.stop)
	f.device.Wait()
	// The pause of the back-off may have grown long meanwhile.
	must(t, "uplink", "restore", "--socket", s.socket)
	patiently(t, "the spool is empty", func() bool {
		return ask[spoolStats](t, "spool", "stats", "--socket", s.socket).Uplinks[0].Pending == 0
	})
	_, doubles := judged(t, []*publisher{f.publisher}, f.arrivals, 1, least, nil)
	if doubles > inflight {
		t.Errorf("%d duplicates, the window holds %d", doubles, inflight)
	}
	close(f.done)
	f.consumer.Wait()
}

// The window of the profile nats (upstream.md section 2).
const natsInflight = 100

// TestFleet_ANodeOfTheClusterIsKilled: upstream.md section 6. The node that the
// gateway speaks to dies by kill -9 under 50 messages a second; nothing is lost,
// what comes twice was under way, and another node has the gateway soon.
func TestFleet_ANodeOfTheClusterIsKilled(t *testing.T) {
	gwtest.Slow(t, "starts a cluster")
	c := startNATS(t)
	s := newFleetSite(t, c)
	first := c.node(s.uplink().Node)
	f := s.flow(t, c.other(first))
	time.Sleep(2 * time.Second)
	first.process.Kill()
	killed := time.Now()
	patiently(t, "the uplink is online at another node", func() bool {
		u := s.uplink()
		return u.State == "online" && c.node(u.Node) != first
	})
	took := time.Since(killed)
	t.Logf("online at another node after %v", took.Round(10*time.Millisecond))
	// The bar is 10 s. NATS itself takes 5 s to see that its node is gone, so that
	// a busy machine gets more; long mode wants it.
	if bar := time.Duration(gwtest.Rounds(60, 10)) * time.Second; took > bar {
		t.Errorf("online again after %v, want %v", took, bar)
	}
	time.Sleep(2 * time.Second)
	c.start(first)
	c.ready()
	f.settle(t, s, 150, natsInflight)
	s.stop()
}

// TestFleet_TwoOfThreeNodesAreDown: upstream.md section 6. Without a quorum
// nothing is acknowledged and nothing is lost, and the gateway knocks at most
// once a second. An outage of 60 s in long mode.
func TestFleet_TwoOfThreeNodesAreDown(t *testing.T) {
	gwtest.Slow(t, "starts a cluster")
	outage := time.Duration(gwtest.Rounds(15, 60)) * time.Second
	c := startNATS(t)
	s := newFleetSite(t, c)
	first := c.node(s.uplink().Node)
	stays := c.other(first)
	second := c.other(first, stays)
	f := s.flow(t, stays)
	time.Sleep(2 * time.Second)
	before := s.uplink().Attempts
	first.process.Kill()
	second.process.Kill()
	time.Sleep(outage)
	if knocked := s.uplink().Attempts - before; knocked > int(outage.Seconds()) || knocked == 0 {
		t.Errorf("%d attempts in %v", knocked, outage)
	} else {
		t.Logf("%d attempts in %v", knocked, outage)
	}
	c.start(first)
	c.start(second)
	c.ready()
	f.settle(t, s, int(outage.Seconds())*30, natsInflight)
	s.stop()
}
