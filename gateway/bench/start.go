package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/config"
)

// The names in the output.
const (
	subjectName = "tidehold"
	peerName    = "mosquitto"
)

// setup is what a scenario adds to the gateway that it measures.
type setup struct {
	yaml     string // more configuration
	listener string // more of the one listener, such as `, tls: true`
	auth     string // of the listener; empty is loopback
	dir      string // storage; empty is a fresh folder
}

// head is the configuration of every gateway here: one listener, no limits.
const head = `version: 1
gateway: {id: bench}
storage: {dir: %q}
mqtt:
  limits: {preset: none, max_connections: 0}
  queue: {max_messages: 1000000, max_bytes: 1GiB}
  listeners: [{name: local, bind: %q, auth: %s%s}]
http: {data_plane: {bind: off}, control: {bind: off}, metrics: {bind: off}}
log: {level: warn}
%s`

// pair starts the subject and, when there is one, the peer. Both are stopped
// by the function it gives.
func (b *bench) pair(ctx context.Context, s setup) ([]*target, func() error, error) {
	subject, err := b.subject(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	if b.mosquitto == "" {
		return []*target{subject}, func() error { return subject.stop(false) }, nil
	}
	peer, err := b.peer(ctx, "")
	if err != nil {
		return nil, nil, errors.Join(err, subject.stop(true))
	}
	return []*target{subject, peer}, func() error { return errors.Join(subject.stop(false), peer.stop(false)) }, nil
}

// fresh measures one cell with processes that are new in each round: memory
// that was once in use does not come back.
func (b *bench) fresh(ctx context.Context, cell string, bars []bar, measure func(*target) (Figures, error)) (map[string]Figures, error) {
	which := []*target{{name: subjectName}}
	if b.cfg.Against != "" {
		which[0].name = b.cfg.Against
	}
	if b.mosquitto != "" {
		which = append(which, &target{name: peerName})
	}
	return b.compare(ctx, cell, which, bars, func(w *target) (f Figures, err error) {
		var t *target
		if w.name == peerName {
			t, err = b.peer(ctx, "")
		} else {
			t, err = b.subject(ctx, setup{})
		}
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, t.stop(false)) }()
		return measure(t)
	})
}

// subject starts the gateway, or takes the broker of --against.
func (b *bench) subject(ctx context.Context, s setup) (*target, error) {
	if b.cfg.Against != "" {
		return &target{name: b.cfg.Against, address: b.cfg.Against}, nil
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if s.dir == "" {
		s.dir = filepath.Join(b.dir, b.next("gateway"))
	}
	if s.auth == "" {
		s.auth = "loopback"
	}
	text := fmt.Sprintf(head, s.dir, address, s.auth, s.listener, s.yaml)
	if b.cfg.Self == "" {
		return b.inside(ctx, text, address)
	}
	file := filepath.Join(b.dir, b.next("subject")+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	socket := file + ".sock"
	args := []string{"run", "--config", file, "--socket", socket}
	if b.cfg.Profile != "" {
		profile := filepath.Join(b.cfg.Profile, b.scenario+"-"+b.next("cpu")+".pprof")
		args = []string{"bench", "subject", "--config", file, "--cpuprofile", profile, "--socket", socket}
	}
	t, err := spawn(ctx, subjectName, address, b.cfg.Self, args...)
	if err == nil {
		t.socket = socket
	}
	return t, err
}

// inside runs the gateway in this process.
func (b *bench) inside(ctx context.Context, text, address string) (*target, error) {
	g, err := Gateway([]byte(text), b.cfg.Parts, "")
	if err != nil {
		return nil, err
	}
	return within(ctx, address, g.Run)
}

// within runs something that will listen on address in this process.
func within(ctx context.Context, address string, run func(context.Context) error) (*target, error) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- run(running) }()
	t := &target{name: subjectName, address: address}
	t.stopped = func(bool) error {
		cancel()
		return <-ended
	}
	if err := awaitListening(ctx, address, ended); err != nil {
		return nil, errors.Join(err, t.stop(false))
	}
	return t, nil
}

// Gateway builds a gateway from the text of a configuration, for `bench
// subject` and for measuring inside this process. socket is where the command
// line finds it; empty is nowhere.
func Gateway(text []byte, parts Parts, socket string) (*gateway.Gateway, error) {
	cfg, problems := config.LoadBytes("bench.yaml", text, gateway.CheckOptions(parts))
	if config.HasErrors(problems) {
		return nil, fmt.Errorf("configuration of the subject: %v", problems)
	}
	return gateway.New(cfg, gateway.Env{
		Clock: clock.NewSystem(), Random: rand.Reader, Parts: parts, Socket: socket,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
}

// findPeer gives the path of the Mosquitto to use; empty is none.
func findPeer(wanted string) (string, error) {
	switch wanted {
	case PeerNone:
		return "", nil
	case "", PeerAuto:
		for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto"} {
			if path, err := exec.LookPath(name); err == nil {
				return path, nil
			}
		}
		return "", nil
	}
	path, err := exec.LookPath(wanted)
	if err != nil {
		return "", fmt.Errorf("bench: peer: %w (Debian package mosquitto, or --peer none)", err)
	}
	return path, nil
}

// peerText is a Mosquitto in memory, without the bounds that would make it
// drop what the load keeps on its way.
const peerText = `listener %s 127.0.0.1
allow_anonymous true
persistence false
max_inflight_messages 0
max_queued_messages 0
log_type error
user root
%s`

// peerPrompt turns Nagle's algorithm off.
const peerPrompt = "set_tcp_nodelay true\n"

// peer starts a Mosquitto on a free port.
func (b *bench) peer(ctx context.Context, more string) (*target, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, b.next("peer")+".conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, peerText, port, more), 0o600); err != nil {
		return nil, err
	}
	return spawn(ctx, peerName, address, b.mosquitto, "-c", file)
}

// settle gives the machine a moment between two measurements.
func settle(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
