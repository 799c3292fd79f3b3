package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tidehold/tidehold/cmd/tidehold/ctl"
	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/config"
)

//go:embed demo.yaml
var demoText string

//go:embed cloud.yaml
var cloudText string

// world is where a demo lives: its folder and its ports.
type world struct {
	State                         string
	MQTT, Cloud, Control, Metrics int
	// moved says which ports were taken.
	moved []string
}

func demoCommand() *cobra.Command {
	var state string
	var limit time.Duration
	cmd := &cobra.Command{
		Use: "demo", Short: "The main job with nothing installed: a simulated board, and a second gateway as the cloud", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if limit > 0 {
				bounded, cancel := context.WithTimeout(ctx, limit)
				defer cancel()
				ctx = bounded
			}
			return demo(ctx, cmd.OutOrStdout(), state)
		}}
	cmd.Flags().StringVar(&state, "state", "", "folder for the demo's state, removed at the end (default: one in the temporary folder)")
	cmd.Flags().DurationVar(&limit, "for", 0, "end after this time")
	return cmd
}

// demo runs both gateways until ctx ends and leaves nothing behind.
func demo(ctx context.Context, out io.Writer, state string) (err error) {
	dir, err := demoDir(state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w := findWorld(dir)
	edge, ready, err := w.gateway("demo.yaml", demoText, filepath.Join(dir, "ctl.sock"))
	if err != nil {
		return err
	}
	cloud, cloudReady, err := w.gateway("cloud.yaml", cloudText, filepath.Join(dir, "cloud", "ctl.sock"))
	if err != nil {
		return err
	}
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return cloud.Run(running) })
	group.Go(func() error {
		await(running, cloudReady)
		return edge.Run(running)
	})
	group.Go(func() error {
		if !await(running, ready) {
			return nil
		}
		return w.tell(running, out, edge)
	})
	return group.Wait()
}

// await reports whether ready came before ctx ended.
func await(ctx context.Context, ready <-chan struct{}) bool {
	select {
	case <-ready:
		return true
	case <-ctx.Done():
		return false
	}
}

// demoDir makes the folder of the demo, 0700 and our own. One that is in use
// is another demo's: the next free name is taken.
func demoDir(wanted string) (string, error) {
	if wanted != "" {
		return ownFolder(wanted)
	}
	for n := range 100 {
		dir := ctl.DemoDir()
		if n > 0 {
			dir += "-" + strconv.Itoa(n)
		}
		if inUse(filepath.Join(dir, "ctl.sock")) {
			continue
		}
		if os.RemoveAll(dir) != nil || os.Mkdir(dir, 0o700) != nil { // left by a killed demo, or somebody else's
			continue
		}
		return dir, os.Mkdir(filepath.Join(dir, "cloud"), 0o700)
	}
	return "", fmt.Errorf("demo: no free folder %s; name one with --state", ctl.DemoDir())
}

// demoMark is in every folder that a demo may remove at its end.
const demoMark = ".tidehold-demo"

// ownFolder takes a folder that somebody named. The demo removes it at its end,
// so it must be new, empty, or left by a demo that was killed.
func ownFolder(wanted string) (string, error) {
	dir, err := filepath.Abs(wanted)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("demo: look into the state folder: %w", err)
	}
	if _, marked := os.Stat(filepath.Join(dir, demoMark)); len(entries) > 0 && marked != nil {
		return "", fmt.Errorf("demo: %s is not empty, and the demo would remove it at its end; name a new folder with --state", dir)
	}
	if inUse(filepath.Join(dir, "ctl.sock")) {
		return "", fmt.Errorf("demo: another demo runs in %s", dir)
	}
	if err := os.MkdirAll(filepath.Join(dir, "cloud"), 0o700); err != nil {
		return "", fmt.Errorf("demo: make the state folder: %w", err)
	}
	return dir, os.WriteFile(filepath.Join(dir, demoMark), nil, 0o600)
}

func inUse(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// findWorld takes the usual ports, and free ones for those that are taken.
func findWorld(dir string) *world {
	w := &world{State: dir}
	for _, want := range []struct {
		what string
		port int
		into *int
	}{{"MQTT", 1883, &w.MQTT}, {"MQTT of the cloud", 1884, &w.Cloud}, {"control", 8444, &w.Control}, {"metrics", 9464, &w.Metrics}} {
		*want.into = freePort(want.port)
		if *want.into != want.port {
			w.moved = append(w.moved, fmt.Sprintf("port %d is taken: %s is on %d", want.port, want.what, *want.into))
		}
	}
	return w
}

func freePort(want int) int {
	for _, port := range []int{want, 0} {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).Port
	}
	return want
}

// gateway builds one of the two from its embedded file.
func (w *world) gateway(name, text, socket string) (*gateway.Gateway, <-chan struct{}, error) {
	cfg, problems := config.LoadBytes(name, []byte(w.fill(text)), options())
	if worst(problems, false) {
		return nil, nil, fmt.Errorf("demo: %v", problems)
	}
	log := logger(os.Stderr, config.Log{Level: "warn"}).With("gateway", cfg.Gateway.ID)
	env := realWorld(log)
	env.Socket = socket
	ready := make(chan struct{})
	env.Ready = func([]gateway.Address) { close(ready) }
	g, err := gateway.New(cfg, env)
	return g, ready, err
}

// fill puts folder and ports into an embedded file.
func (w *world) fill(text string) string {
	return strings.NewReplacer("@STATE@", w.State, "@MQTT@", strconv.Itoa(w.MQTT), "@CLOUD@", strconv.Itoa(w.Cloud),
		"@CONTROL@", strconv.Itoa(w.Control), "@METRICS@", strconv.Itoa(w.Metrics)).Replace(text)
}

// tell prints what there is and what to try; every line works as printed.
func (w *world) tell(ctx context.Context, out io.Writer, edge *gateway.Gateway) error {
	key, err := edge.CreateAccessKey(ctx, "")
	if err != nil {
		return err
	}
	me := invocation()
	cloud := me + " --socket " + filepath.Join(w.State, "cloud", "ctl.sock")
	if w.State != ctl.DemoDir() {
		me += " --socket " + filepath.Join(w.State, "ctl.sock")
	}
	for _, line := range w.moved {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintf(out, `Tidehold demo: a gateway with a simulated board, and a second gateway that plays the cloud.

  gateway "demo"    MQTT 127.0.0.1:%d, socket %s
  gateway "cloud"   MQTT 127.0.0.1:%d, socket %s
  console           http://127.0.0.1:%d/
  metrics           http://127.0.0.1:%d/metrics
  access key        AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s

1. Watch the sensor, the button and the rules; publish something yourself:
     mosquitto_sub -p %d -v -t 'dt/#' -t 'events/#'
     mosquitto_pub -p %d -q 1 -t dt/door-1/button -m '{"on":true}'

2. Switch the fan through its shadow, and look at the pin:
     %s shadow set fan-1 '{"desired":{"on":true}}'
     %s shadow get fan-1
     %s sim get fan

3. Cut the cable, wish for something in the cloud meanwhile, and restore it:
     %s uplink cut
     %s shadow set fan-1 '{"desired":{"on":false}}'
     %s spool stats
     %s uplink restore
     %s shadow get fan-1

Make it hot (a rule turns the fan on), or break the sensor:
     %s sim set climate temperature 31.5
     %s sim fault climate nack
     %s status

Ctrl-C ends the demo and leaves nothing behind.
`, w.MQTT, filepath.Join(w.State, "ctl.sock"), w.Cloud, filepath.Join(w.State, "cloud", "ctl.sock"), w.Control, w.Metrics,
		key.ID, key.Secret, w.MQTT, w.MQTT, me, me, me, me, cloud, me, me, me, me, me, me)
	return nil
}

// invocation is how the reader called this program: `go run` builds into a
// temporary folder whose path would not work again.
func invocation() string {
	self, err := os.Executable()
	if err != nil || strings.Contains(self, "go-build") {
		return "go run ./cmd/tidehold"
	}
	return os.Args[0]
}
