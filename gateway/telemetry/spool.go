// Package telemetry is the spool: it never loses what must go up.
//
// # What it promises
//
// Durability: Append's done(nil) comes after the commit of the message, or after
// every required uplink acknowledged it, whichever is first (profiles strict and
// balanced; profile saver says done on receipt and may lose what came within its
// window). While its uplinks are online and acknowledge in time, a message is sent
// at once and never written (telemetry.md 7.2). A message leaves the spool only
// when its uplink acknowledged it, or by a loss that is recorded and itself sent.
//
// Order: done functions are called in the order of Append. In one lane of one
// connection messages go out in rising number; after a reconnect what was not
// acknowledged goes first, unchanged. Lanes: class 0, then live and backlog in
// turns (order live-first), or one lane by number (order fifo).
//
// Blocking: Append, Wants and Stats never wait for an uplink; Append never
// blocks and refuses when too much waits for the disk. Drain blocks until its
// ctx ends.
//
// Limits: the file by bytes (package messages), the window of unacknowledged
// messages and the rate by uplink, bytes on their way by openBytesMax.
//
// Expiry: a message that is too old when its turn comes is lost with a record;
// one that was sent before goes again whatever its age.
//
// When room is short, the oldest become aggregates before any of their class is
// dropped (telemetry.md 8.4, level 1). Not here
// yet: class 3 (latest).
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/messages"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/gateway/topic/template"
)

// The profiles of commit (telemetry.md 7.1).
const (
	Strict   = "strict"
	Balanced = "balanced"
	Saver    = "saver"
)

// The orders of draining (telemetry.md 9.2).
const (
	LiveFirst = "live-first"
	FIFO      = "fifo"
	// NewestFirst is live-first with the newest of the backlog before the oldest.
	NewestFirst = "newest-first"
)

const (
	balancedGap = 100 * time.Millisecond
	streamGap   = time.Second // of a stream: below a kilobyte of flash each at 100 per second
	saverGap    = 10 * time.Second
	clockEvery  = 5 * time.Second        // looks at the clock's trust
	noteEvery   = time.Hour              // stores the true time, though nothing stepped
	stepOver    = 500 * time.Millisecond // a change of offset that is a step

	defaultTo = "gw/{gateway}/t/{topic}"
	sysTo     = "gw/{gateway}/sys/"
)

var orders = map[string]messages.Order{LiveFirst: messages.LiveFirst, FIFO: messages.FIFO, NewestFirst: messages.NewestFirst}

// Config says what goes up. Empty texts mean the defaults.
type Config struct {
	// Gateway is the gateway's id.
	Gateway string
	// Profile is strict, balanced (default) or saver.
	Profile string
	// Order is live-first (default), fifo or newest-first.
	Order string
	// DropQoS0 keeps publishes of devices with QoS 0 out of the spool.
	DropQoS0 bool
	// AllowSim lets readings of simulated parts go up.
	AllowSim bool
	// Classes: the first that fits a topic gives its class; none: QoS >= 1 and
	// drivers class 1, QoS 0 class 2.
	Classes []Class
	Uplinks []Uplink
	// Salvaged says that the message file was damaged and replaced.
	Salvaged bool
}

// Class gives the topics of some filters a class.
type Class struct {
	Name  string
	Match []topic.Filter
	Class uint8
	// TTL is how old a message may become before it is sent; 0 is no bound.
	TTL time.Duration
	// Fold lets aggregates take the place of the oldest when room is short;
	// without any classes all but class 0 are folded.
	Fold bool
}

// Uplink is one far side and what goes there.
type Uplink struct {
	Name string
	// Required keeps a message until this uplink has it.
	Required bool
	// Enabled is false when nothing new shall be stored for it.
	Enabled bool
	// Routes: the first whose From fits takes a message.
	Routes []Route
	// Rate in messages and Bytes in bytes per second; 0 is no limit.
	Rate, Bytes float64
	// Inflight is the window; 0 adapts it.
	Inflight int
	// StartJitter is the most by which the backlog waits after a connect.
	StartJitter time.Duration
	// MaxPayload, MaxTopicBytes and MaxTopicLevels are the far side's; 0 is no
	// limit. What does not fit goes to the quarantine.
	MaxPayload, MaxTopicBytes, MaxTopicLevels int
}

// The wire forms (telemetry.md 3.2).
const (
	FormAuto   = "auto"
	FormRaw    = "raw"
	FormInject = "inject"
	FormNative = "native"
)

// Route is an entry of uplinks[].telemetry[].
type Route struct {
	Name string
	From topic.Filter
	// To is a topic template, gw/{gateway}/t/{topic} when empty.
	To     string
	QoS    byte
	Retain bool
	// Form is auto (default), raw, inject or native.
	Form string
	// BatchMax puts up to so many native messages into one; BatchEvery is how
	// long the first may wait for others.
	BatchMax   int
	BatchEvery time.Duration

	to template.Template
}

// uplink is an Uplink with its state.
type uplink struct {
	Uplink
	mu         sync.Mutex
	announcing bool
	lastMark   time.Time
	markedSeq  uint64
	markDue    bool
	trouble    trouble
	speed      speed
	pace       pace
	ackTimes   ackTimes
	paused     bool
	rateNow    *float64 // replaces Rate
}

// Spool is the durable queue of what goes up. All methods are safe for
// concurrent use.
type Spool struct {
	cfg     Config
	log     *messages.Log
	clk     clock.Clock
	src     *ids.Source
	slog    *slog.Logger
	fig     *figures
	uplinks []*uplink
	synced  atomic.Bool

	mu      sync.Mutex
	drains  int                      // uplinks that drain now
	offsets map[string]time.Duration // true time minus time since boot, by boot
	spans   map[string]messages.Span // between which true times boots began
	noted   time.Duration            // time since boot of the last offset stored
}

// New checks cfg, declares the uplinks to the log and stages the start record.
func New(cfg Config, log *messages.Log, clk clock.Clock, src *ids.Source, m *metrics.Registry, l *slog.Logger) (*Spool, error) {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	if m == nil {
		m = metrics.New()
	}
	s := &Spool{cfg: cfg, log: log, clk: clk, src: src, slog: l, fig: newFigures(m)}
	if err := s.prepare(); err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	var declared []messages.CursorConfig
	for _, u := range s.uplinks {
		if u.Enabled {
			declared = append(declared, messages.CursorConfig{Name: u.Name, Required: u.Required})
		}
	}
	ctx := context.Background()
	if err := log.Declare(ctx, declared); err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	if err := s.readClocks(ctx); err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	log.SetFold(s.fold)
	s.synced.Store(clk.Synced())
	s.sayStart()
	return s, nil
}

// prepare checks the configuration and fills in defaults.
func (s *Spool) prepare() error {
	switch s.cfg.Profile {
	case "", Balanced:
		s.cfg.Profile = Balanced
		s.log.SetPace(balancedGap, streamGap)
	case Strict:
		s.log.SetPace(0, 0)
	case Saver:
		s.log.SetPace(saverGap, 0)
		s.log.SetElideBytes(saverBytes)
	default:
		return fmt.Errorf("profile %q: want strict, balanced or saver", s.cfg.Profile)
	}
	if s.cfg.Order == "" {
		s.cfg.Order = LiveFirst
	}
	if _, known := orders[s.cfg.Order]; !known {
		return fmt.Errorf("order %q: want live-first, fifo or newest-first", s.cfg.Order)
	}
	for _, u := range s.cfg.Uplinks {
		if s.uplink(u.Name) != nil || u.Name == "" {
			return fmt.Errorf("uplink %q: given twice or without a name", u.Name)
		}
		u.Routes = slices.Clone(u.Routes)
		for i := range u.Routes {
			if err := u.Routes[i].prepare(); err != nil {
				return fmt.Errorf("uplink %q: %w", u.Name, err)
			}
		}
		s.uplinks = append(s.uplinks, &uplink{Uplink: u})
	}
	return nil
}

func (r *Route) prepare() error {
	if r.To == "" {
		r.To = defaultTo
	}
	if r.Form == "" {
		r.Form = FormAuto
	}
	if !slices.Contains([]string{FormAuto, FormRaw, FormInject, FormNative}, r.Form) {
		return fmt.Errorf("entry %q: form %q: want auto, raw, inject or native", r.Name, r.Form)
	}
	var err error
	if r.to, err = template.ParseTopic(r.To, r.From); err != nil {
		return fmt.Errorf("entry %q: %w", r.Name, err)
	}
	return nil
}

// draining notes that an uplink came online or went. Profile balanced spares
// the disk while one is away; while all are there a publisher waits for its
// commit alone (telemetry.md 7.1).
func (s *Spool) draining(d int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drains += d
	if s.cfg.Profile != Balanced {
		return
	}
	least, most := balancedGap, streamGap
	if s.drains >= s.enabled() {
		least, most = 0, 0
	}
	s.log.SetPace(least, most)
}

func (s *Spool) enabled() (n int) {
	for _, u := range s.uplinks {
		if u.Enabled {
			n++
		}
	}
	return n
}

func (s *Spool) uplink(name string) *uplink {
	for _, u := range s.uplinks {
		if u.Name == name {
			return u
		}
	}
	return nil
}

// route is the first entry that fits a topic, nil when none does.
func (u *uplink) route(name string) *Route {
	for i := range u.Routes {
		if topic.Match(u.Routes[i].From, topic.Name(name)) {
			return &u.Routes[i]
		}
	}
	return nil
}

// Wants reports whether a message to a topic would be stored for any uplink.
func (s *Spool) Wants(name string) bool {
	if topic.IsReserved(name) {
		return false
	}
	for _, u := range s.uplinks {
		if u.Enabled && u.route(name) != nil {
			return true
		}
	}
	return false
}

// wanted gives the uplinks that shall get m. Topics that start with $ never go
// up, and nothing goes back to where it came from.
func (s *Spool) wanted(m iot.Message) (to []string) {
	if topic.IsReserved(m.Topic) || m.Origin.Sim && !s.cfg.AllowSim {
		return nil
	}
	if m.QoS == 0 && s.cfg.DropQoS0 && !isHouse(m.Origin.Source) {
		return nil
	}
	for _, u := range s.uplinks {
		if u.Enabled && u.Name != m.Origin.Uplink && u.route(m.Topic) != nil {
			to = append(to, u.Name)
		}
	}
	return to
}

// isHouse reports whether a source is a driver, a rule, or the gateway itself:
// what it says is a measurement, not a device's own payload.
func isHouse(source string) bool {
	return strings.HasPrefix(source, "drv/") || strings.HasPrefix(source, "rule/") || strings.HasPrefix(source, "sys/")
}

// class is the first entry of the classes that fits a topic, nil when none does.
func (s *Spool) class(name string) *Class {
	for i := range s.cfg.Classes {
		for _, f := range s.cfg.Classes[i].Match {
			if topic.Match(f, topic.Name(name)) {
				return &s.cfg.Classes[i]
			}
		}
	}
	return nil
}

// classOf is the class of a message (telemetry.md 8.1 and section 15).
func (s *Spool) classOf(m iot.Message) uint8 {
	if c := s.class(m.Topic); c != nil {
		return normalFor(c.Class)
	}
	if m.QoS > 0 || strings.HasPrefix(m.Origin.Source, "drv/") {
		return messages.Normal
	}
	return messages.Bulk
}

// normalFor keeps class 3 (latest value) like normal messages: every value goes
// up.
func normalFor(class uint8) uint8 {
	if class > messages.Bulk {
		return messages.Normal
	}
	return class
}

// Append stores m for every uplink that wants it. done is called once: after
// the commit, at once when nobody wants m, or with an iot.Unavailable error
// when it cannot be stored now.
func (s *Spool) Append(m iot.Message, done func(error)) {
	to := s.wanted(m)
	if len(to) == 0 {
		done(nil)
		return
	}
	r := s.record(m, to)
	urgent := r.Class == messages.Critical || s.cfg.Profile == Strict
	b := messages.Batch{Records: []messages.Record{r}, Urgent: urgent}
	if s.cfg.Profile == Saver && !urgent {
		s.appendUnsafe(b, done)
		return
	}
	s.log.Append(b, func(err error) { done(unavailable(err)) })
}

// record is m as it is stored for some uplinks.
func (s *Spool) record(m iot.Message, to []string) messages.Record {
	r := messages.Record{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Source: m.Origin.Source,
		ClientID: string(m.Origin.ClientID), Class: s.classOf(m), Boot: s.clk.Boot(), Up: s.clk.Up(), Wall: m.Arrived,
		Synced: s.synced.Load(), Sim: m.Origin.Sim, Properties: m.Properties, To: to}
	if r.Wall.IsZero() {
		r.Wall = s.clk.Now()
	}
	return r
}

// appendUnsafe says done on receipt (profile saver).
func (s *Spool) appendUnsafe(b messages.Batch, done func(error)) {
	var said atomic.Bool
	s.log.Append(b, func(err error) {
		if said.CompareAndSwap(false, true) {
			done(unavailable(err))
		}
	})
	if said.CompareAndSwap(false, true) {
		done(nil)
	}
}

// unavailable gives an error of the log its code; the publisher may try again.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return &iot.Error{Code: iot.Unavailable, Message: "the message cannot be stored now", Err: err}
}

// Run commits what is appended, writes progress down and watches the clock
// until ctx ends; then it commits the rest. It must end after everything that
// appends, and after every Drain.
func (s *Spool) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.log.Run(ctx) }()
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	s.watchClock(ctx)
	var level filling
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			s.watchClock(ctx)
			s.watchLevel(&level)
		}
	}
}

// readClocks notes that this boot began and reads what is known of all.
func (s *Spool) readClocks(ctx context.Context) error {
	if err := s.log.BeginBoot(ctx, s.clk.Boot()); err != nil {
		return err
	}
	offsets, spans, err := s.log.Clocks(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offsets, s.spans = offsets, spans
	return nil
}

// watchClock learns whether the wall clock is to be trusted, and how far it is
// ahead of the time since boot, so that what was captured before gets its time
// (telemetry.md section 5).
func (s *Spool) watchClock(ctx context.Context) {
	synced := s.clk.Synced()
	s.synced.Store(synced)
	if !synced {
		return
	}
	now, up, boot := s.clk.Now(), s.clk.Up(), s.clk.Boot()
	offset := time.Duration(now.UnixNano()) - up
	s.mu.Lock()
	old, known := s.offsets[boot]
	moved := !known || (offset-old).Abs() > stepOver
	due := moved || up-s.noted >= noteEvery
	if moved {
		s.offsets[boot] = offset
	}
	if due {
		s.noted = up
	}
	s.mu.Unlock()
	if known && moved {
		s.fig.clockSteps.Inc()
		s.slog.Warn("clock stepped", "dur", offset-old)
	}
	if due {
		s.noteClock(ctx, boot, offset, now)
	}
}

// noteClock stores an offset, and with that the newest true time: boots that
// never learn theirs began after it.
func (s *Spool) noteClock(ctx context.Context, boot string, offset time.Duration, now time.Time) {
	err := s.log.SetOffset(ctx, boot, offset, now)
	if err == nil {
		err = s.readClocks(ctx)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		s.slog.Warn("clock offset not stored", "err", err)
	}
}
