// Package bench is `tidehold bench`: scenarios that measure a whole gateway
// beside a peer, in the same run, round by round in turns, because on a shared
// machine only ratios mean something (broker-storage.md sections 4 to 6).
//
// Subjects and peers are processes of their own, so that their CPU time and
// memory are theirs alone; without Config.Self the gateway runs inside this
// process and those figures are left out. Everything listens on 127.0.0.1 and
// lives in one temporary folder, removed at the end.
//
// Limits: each cell ends by Config.Duration, or by a count named beside it;
// what does not arrive within a few seconds counts as lost. Lost, repeated and
// reordered messages are figures, not errors: an error means that a cell could
// not be measured. Blocking: Run blocks until all is measured or ctx ends.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/config"
)

// Parts is the table of drivers that a gateway in this process gets.
type Parts interface {
	gateway.Parts
	config.Parts
}

// The values of Config.Peer that are no path.
const (
	PeerAuto = "auto" // a Mosquitto, when there is one
	PeerNone = "none"
)

// Config says what is measured and how long.
type Config struct {
	// Against is the HOST:PORT of a broker in place of a gateway of our own.
	Against string
	// Peer is PeerAuto (also when empty), PeerNone, or a Mosquitto binary.
	Peer string
	// Rounds of each cell, of which the medians count; 5.
	Rounds int
	// Duration of one round of one cell; 1 s.
	Duration time.Duration
	// CommitDelay slows every commit of the durable scenarios that set none of
	// their own: a medium with slow flushes.
	CommitDelay time.Duration
	// Only picks cells by SCENARIO/CELL; nil is all.
	Only *regexp.Regexp
	// Self is the program that understands `run` and `bench subject`; empty
	// keeps everything in this process.
	Self string
	// Profile is a folder for CPU profiles of the subjects; empty is none.
	Profile string
	// Parts is the table of drivers.
	Parts Parts
	// Report gets each cell as soon as it is measured.
	Report func(Cell)
	// Small divides the counts of scenarios that count: tests.
	Small bool
}

// scenario is one entry of the table.
type scenario struct {
	name, about string
	run         func(*bench, context.Context) error
}

// scenarios is everything there is, in the order of `all`.
func scenarios() []scenario {
	return []scenario{
		{"broker", "closed and open loop, 1 and 50 clients on each side, QoS 0 to 2", (*bench).broker},
		{"stuck", "one subscriber stops reading, the others are measured", (*bench).stuck},
		{"offline", "a session is away, 100,000 messages wait for it", (*bench).offline},
		{"uplink", "a backlog drained over a round trip of 50 ms, beside live messages", (*bench).uplink},
		{"ingest", "durable before the acknowledgement, with slow commits too", (*bench).ingest},
		{"store", "appends, deletes and upserts of the storage alone", (*bench).store},
		{"conns", "1,000 and 10,000 idle connections", (*bench).conns},
		{"tls", "full and resumed handshakes", (*bench).tls},
		{"e2e", "publish to rule to republish, desired to delta", (*bench).endToEnd},
		{"rules", "a rule whose filter fails, against the same gateway without it", (*bench).rules},
		{"shadow", "durable shadow updates", (*bench).shadow},
	}
}

// Names lists the scenarios, with what they measure.
func Names() (names, about []string) {
	for _, s := range scenarios() {
		names, about = append(names, s.name), append(about, s.about)
	}
	return names, about
}

// bench is one run of `tidehold bench`.
type bench struct {
	cfg       Config
	dir       string
	scenario  string
	mosquitto string // path of the peer's binary; empty is none
	serial    int
}

// Run measures one scenario, or all of them.
func Run(ctx context.Context, cfg Config, name string) (err error) {
	todo := scenarios()
	if name != "all" {
		todo = slices.DeleteFunc(todo, func(s scenario) bool { return s.name != name })
	}
	if len(todo) == 0 {
		names, _ := Names()
		return fmt.Errorf("bench: no scenario %q: want all or one of %s", name, strings.Join(names, ", "))
	}
	b, err := prepare(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	for _, s := range todo {
		b.scenario = s.name
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("bench %s: %w", s.name, err)
		}
	}
	return nil
}

func prepare(cfg Config) (*bench, error) {
	if cfg.Rounds <= 0 {
		cfg.Rounds = 5
	}
	if cfg.Duration <= 0 {
		cfg.Duration = time.Second
	}
	if cfg.Report == nil || cfg.Parts == nil {
		return nil, errors.New("bench: a table of parts and somebody to report to are needed")
	}
	peer, err := findPeer(cfg.Peer)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tidehold-bench-")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return &bench{cfg: cfg, dir: dir, mosquitto: peer}, nil
}

// wanted reports whether a cell was asked for.
func (b *bench) wanted(cell string) bool {
	return b.cfg.Only == nil || b.cfg.Only.MatchString(b.scenario+"/"+cell)
}

// count is n, or little of it in tests.
func (b *bench) count(n int) int {
	if b.cfg.Small {
		return max(n/100, 2)
	}
	return n
}

// next numbers the client ids, topics and folders of this run.
func (b *bench) next(what string) string {
	b.serial++
	return fmt.Sprintf("%s%d", what, b.serial)
}

// compare measures one cell at every target, in turns, and reports it.
func (b *bench) compare(ctx context.Context, cell string, targets []*target, bars []bar, measure func(*target) (Figures, error)) (map[string]Figures, error) {
	if !b.wanted(cell) {
		return nil, nil
	}
	rounds := make(map[string][]Figures)
	for round := range b.cfg.Rounds {
		for i := range targets {
			t := targets[(i+round)%len(targets)] // nobody is always first
			f, err := measure(t)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", cell, t.name, errors.Join(err, t.trouble()))
			}
			rounds[t.name] = append(rounds[t.name], f)
		}
	}
	medians := make(map[string]Figures)
	for name, all := range rounds {
		medians[name] = medianOf(all)
	}
	out := Cell{Scenario: b.scenario, Cell: cell, Rounds: b.cfg.Rounds, Name: targets[0].name, Subject: medians[targets[0].name]}
	if len(targets) > 1 {
		peer := medians[targets[1].name]
		out.Peer, out.PeerName = peer, targets[1].name
		out.Ratio = ratios(rounds[targets[0].name], rounds[targets[1].name])
	}
	out.judge(bars)
	b.cfg.Report(out)
	return medians, nil
}

// alone measures a cell that has no peer.
func (b *bench) alone(ctx context.Context, cell string, t *target, bars []bar, measure func(*target) (Figures, error)) (Figures, error) {
	medians, err := b.compare(ctx, cell, []*target{t}, bars, measure)
	return medians[t.name], err
}
