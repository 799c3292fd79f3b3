package shadowsync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync/home"
	"github.com/tidehold/tidehold/shadowsync/status"
)

// Defaults of Config.
const (
	shadowsMaxDefault = 10_000
	inboxMaxDefault   = 1024
	perSecondDefault  = 10
)

// workers is how many local reads and commits run at a time: enough for the
// store to put them into one group.
const workers = 8

// turnsMin is how many shadows may be in a sync at a time, at the least.
const turnsMin = 4

// Config is what a Syncer depends on.
type Config struct {
	// Uplink is the name under which records are kept.
	Uplink string
	// Gateway is this gateway's id, Upstream the identity of the far side; they
	// go into every policy.
	Gateway, Upstream string
	// For is the policy of a shadow, and whether it is synced at all. It must
	// always give the same answer.
	For func(iot.ShadowKey) (Policy, bool)
	// Exact are shadows that are synced although nobody here has heard of them.
	Exact []iot.ShadowKey
	// MaxPerSecond bounds the requests to upstream; 0 is the default of 10.
	MaxPerSecond float64
	// ShadowsMax bounds the synced shadows (default 10 000): those above are
	// counted and not synced. InboxMax bounds the upstream messages that wait
	// (default 1024): at the limit they are dropped and all shadows compared
	// again.
	ShadowsMax, InboxMax int
	// Wide subscribes to the shadows of all things with one filter; else there
	// is one filter for each thing.
	Wide bool
	// Journal is told of every conflict that is decided. It must not block.
	Journal func(key iot.ShadowKey, c Conflict)
}

// Link is the connection to upstream as sync needs it.
type Link interface {
	// Publish sends at QoS 1; done is called once, with an error when it is not
	// known to have arrived. An error of code TooLarge or InvalidRequest means
	// that it never will.
	Publish(topic string, payload []byte, done func(error))
	// Subscribe makes take receive what comes under filter; upstream gets its
	// acknowledgement after ack. standing is called when the filter stands on the
	// present connection; without one it goes out with the next.
	Subscribe(filter topic.Filter, take func(m iot.Message, ack func()), standing func())
}

// Syncer keeps the shadows of one uplink in sync. Safe for concurrent use.
type Syncer struct {
	cfg     Config
	local   home.Shadows
	link    Link
	clk     clock.Clock
	src     *ids.Source
	figures *Figures
	log     *slog.Logger

	mail   mailbox
	status *status.Board

	mu       sync.Mutex
	prepared []start
	filters  map[topic.Filter]bool
	running  bool
}

// start is a shadow known when Run begins.
type start struct {
	key     iot.ShadowKey
	changed time.Time
}

// New makes a Syncer. It starts nothing; call Prepare before the link runs,
// connect Online, Offline and Hint, then Run.
func New(cfg Config, local home.Shadows, link Link, clk clock.Clock, src *ids.Source, f *Figures, log *slog.Logger) (*Syncer, error) {
	if cfg.Uplink == "" || cfg.Gateway == "" || cfg.For == nil {
		return nil, errors.New("shadow sync: the names of uplink and gateway and a policy are needed")
	}
	if cfg.MaxPerSecond <= 0 {
		cfg.MaxPerSecond = perSecondDefault
	}
	if cfg.ShadowsMax <= 0 {
		cfg.ShadowsMax = shadowsMaxDefault
	}
	if cfg.InboxMax <= 0 {
		cfg.InboxMax = inboxMaxDefault
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.Journal == nil {
		cfg.Journal = func(iot.ShadowKey, Conflict) {}
	}
	s := &Syncer{
		cfg: cfg, local: local, link: link, clk: clk, src: src, figures: f, log: log.With("uplink", cfg.Uplink),
		filters: make(map[topic.Filter]bool),
		status:  status.NewBoard(f.shadows, f.health, cfg.Uplink),
	}
	s.mail.init(cfg.InboxMax)
	return s, nil
}

// Prepare reads which shadows there are and subscribes to what concerns them.
// Call it before the link runs; Run does it when nobody has.
func (s *Syncer) Prepare(ctx context.Context) error {
	found := make(map[iot.ShadowKey]time.Time)
	for _, key := range s.cfg.Exact {
		found[key] = time.Time{}
	}
	err := s.local.Each(ctx, s.cfg.Uplink, func(key iot.ShadowKey, changed time.Time) error {
		if _, ok := s.cfg.For(key); !ok {
			return nil
		}
		if at, known := found[key]; !known || at.Before(changed) {
			found[key] = changed
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("shadow sync with uplink %q: %w", s.cfg.Uplink, err)
	}
	s.mu.Lock()
	s.prepared = []start{}
	for key, changed := range found {
		s.prepared = append(s.prepared, start{key, changed})
	}
	all := s.prepared
	s.mu.Unlock()
	if s.cfg.Wide {
		s.subscribe(iot.ShadowKey{}) // one filter for all, also while there is no shadow yet
	}
	for _, one := range all {
		s.subscribe(one.key)
	}
	return nil
}

// filterOf is the filter that brings the answers for the shadows of a thing.
func (s *Syncer) filterOf(thing iot.ThingName) topic.Filter {
	if s.cfg.Wide {
		thing = "+"
	}
	return topic.Filter(topic.ShadowPrefix(iot.ShadowKey{Thing: thing}) + "/#")
}

// subscribe reports whether the filter of a shadow is a new one; the shadow is
// told when it stands.
func (s *Syncer) subscribe(key iot.ShadowKey) bool {
	filter := s.filterOf(key.Thing)
	s.mu.Lock()
	known := s.filters[filter]
	s.filters[filter] = true
	s.mu.Unlock()
	if !known {
		s.link.Subscribe(filter, s.take, func() { s.mail.post(letter{key: key, event: standing{}}) })
	}
	return !known
}

// take receives a message of upstream. It never blocks.
func (s *Syncer) take(m iot.Message, ack func()) {
	r, ok := topic.ParseReserved(m.Topic)
	if !ok || r.Kind != topic.ShadowAnswer || r.Answer == topic.Delta {
		ack() // requests of others, and what sync does not use
		return
	}
	if _, ok := s.cfg.For(r.Key); !ok {
		ack()
		return
	}
	if !s.mail.deliver(letter{key: r.Key, reserved: r, payload: m.Payload, ack: ack}) {
		s.figures.dropped.Inc(s.cfg.Uplink)
		ack()
	}
}

// Online tells that the link stands. It never blocks.
func (s *Syncer) Online() { s.mail.post(letter{event: Online{}}) }

// Offline tells that the link is gone. It never blocks.
func (s *Syncer) Offline() { s.mail.post(letter{event: Offline{}}) }

// Hint tells that a local shadow now has version (0: not known), by somebody
// other than this uplink. A lost hint costs time, not truth. It never blocks.
func (s *Syncer) Hint(key iot.ShadowKey, version int64) {
	if _, ok := s.cfg.For(key); ok {
		s.mail.hint(key, version)
	}
}

func statusOf(key iot.ShadowKey, s State) status.Shadow {
	out := status.Shadow{Thing: key.Thing, Shadow: key.Shadow, State: status.Pending, Conflicts: s.Conflicts, Since: s.SyncedAt, Unresolved: s.Record.Push != nil}
	if s.Conflicts > 0 {
		out.Winner = s.Last.String()
	}
	switch {
	case s.Up.Reason != "":
		out.State, out.Reason = status.Blocked, s.Up.Reason
	case s.Down.Reason != "":
		out.State, out.Reason = status.Blocked, s.Down.Reason
	case s.InSync():
		out.State = status.Synced
	case s.disputed:
		out.State = status.Conflict
	}
	return out
}

// Status tells how every shadow does, in the order of their names.
func (s *Syncer) Status() []status.Shadow { return s.status.All(s.clk.Now()) }
