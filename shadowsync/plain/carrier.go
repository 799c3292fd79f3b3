package plain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync"
	"github.com/tidehold/tidehold/shadowsync/home"
	"github.com/tidehold/tidehold/shadowsync/status"
)

// Defaults of Config.
const (
	inboxMaxDefault   = 1024
	shadowsMaxDefault = 10_000
	perSecondDefault  = 10
)

const (
	// tombstoneAge is how long a deleted document is told of.
	tombstoneAge = 48 * time.Hour
	// savedEvery is the least time between two writes of what was sent: it is
	// repeated after a crash, which harms nobody.
	savedEvery = time.Minute
	// retryEvery is when something that failed is tried again.
	retryEvery = 5 * time.Second
	// attemptsMax is how often a request is decided again because the document
	// moved meanwhile.
	attemptsMax = 16
)

// Config is what a Carrier depends on.
type Config struct {
	// Uplink is the name under which records are kept; Root begins all topics.
	Uplink, Root string
	// For is the policy of a shadow, and whether upstream sees it at all.
	For func(iot.ShadowKey) (shadowsync.Policy, bool)
	// Limits are those of the local shadow service.
	Limits doc.Limits
	// MaxPerSecond bounds the documents sent (default 10); ShadowsMax the
	// shadows (10 000), InboxMax the requests that wait (1024).
	MaxPerSecond float64
	// Journal is told of every conflict that is decided. It must not block; nil
	// is nobody.
	Journal              func(key iot.ShadowKey, c shadowsync.Conflict)
	ShadowsMax, InboxMax int
}

// Link is the connection to upstream as a Carrier needs it.
type Link interface {
	// Publish sends at QoS 1; done is called once, with an error when it is not
	// known to have arrived.
	Publish(topic string, payload []byte, retain bool, done func(error))
	// Subscribe makes take receive what comes under filter.
	Subscribe(filter topic.Filter, take func(m iot.Message, ack func()))
}

// Figures are the metrics of all carriers of a gateway.
type Figures struct {
	requests, documents, skipped, dropped, disk *metrics.Counter
	shadows                                     *metrics.Gauge
	health                                      *metrics.Health
}

// NewFigures registers the metrics; once for each registry.
func NewFigures(m *metrics.Registry) *Figures {
	return &Figures{
		requests:  m.Counter("sync_requests_total", "Shadow requests from upstream, by operation and result.", "uplink", "op", "result"),
		documents: m.Counter("sync_documents_total", "Retained documents sent upstream.", "uplink"),
		skipped:   m.Counter("sync_skipped_total", "Places of requests left alone because they had changed.", "uplink"),
		dropped:   m.Counter("sync_requests_dropped_total", "Requests refused because too many waited.", "uplink"),
		shadows:   m.Gauge("sync_plain_shadows", "Shadows with a copy upstream, by state.", "uplink", "state"),
		health:    &m.Health,
		disk:      m.Counter("sync_plain_store_failures_total", "Local reads and commits that failed.", "uplink"),
	}
}

// Carrier serves the shadow requests of one plain upstream and keeps its copies
// fresh. Safe for concurrent use.
type Carrier struct {
	cfg     Config
	local   home.Shadows
	link    Link
	clk     clock.Clock
	figures *Figures
	log     *slog.Logger
	wake    chan struct{}
	board   *status.Board

	mu      sync.Mutex
	letters []letter
	waiting int // requests among them
	hints   map[iot.ShadowKey]bool
}

// letter is a request, or news of the link or of a document sent.
type letter struct {
	request *Request
	ack     func()
	online  *connection
	sent    *delivery
}

type connection struct {
	up    bool
	epoch uint64
}

type delivery struct {
	key  iot.ShadowKey
	sent Sent
	err  error
}

// New makes a Carrier and subscribes; it starts nothing. Call it before the
// link runs, connect Online, Offline and Hint, then Run.
func New(cfg Config, local home.Shadows, link Link, clk clock.Clock, f *Figures, log *slog.Logger) (*Carrier, error) {
	if cfg.Uplink == "" || cfg.Root == "" || cfg.For == nil {
		return nil, errors.New("plain shadow sync: the name of the uplink, the root of its topics and a policy are needed")
	}
	if cfg.MaxPerSecond <= 0 {
		cfg.MaxPerSecond = perSecondDefault
	}
	if cfg.InboxMax <= 0 {
		cfg.InboxMax = inboxMaxDefault
	}
	if cfg.ShadowsMax <= 0 {
		cfg.ShadowsMax = shadowsMaxDefault
	}
	if cfg.Journal == nil {
		cfg.Journal = func(iot.ShadowKey, shadowsync.Conflict) {}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Carrier{cfg: cfg, local: local, link: link, clk: clk, figures: f, log: log.With("uplink", cfg.Uplink),
		board: status.NewBoard(f.shadows, f.health, cfg.Uplink),
		wake:  make(chan struct{}, 1), hints: make(map[iot.ShadowKey]bool)}
	for _, filter := range filters(cfg.Root) {
		link.Subscribe(filter, c.take)
	}
	return c, nil
}

// Status tells how every shadow does, in the order of their names.
func (c *Carrier) Status() []status.Shadow { return c.board.All(c.clk.Now()) }

// take receives a request. It never blocks.
func (c *Carrier) take(m iot.Message, ack func()) {
	key, op, app, ok := parse(c.cfg.Root, m.Topic)
	if ok {
		_, ok = c.cfg.For(key)
	}
	if !ok {
		ack()
		return
	}
	c.mu.Lock()
	full := c.waiting >= c.cfg.InboxMax
	if !full {
		c.waiting++
		c.letters = append(c.letters, letter{request: &Request{Key: key, Op: op, App: app, Payload: m.Payload}, ack: ack})
	}
	c.mu.Unlock()
	c.signal()
	if full {
		c.figures.dropped.Inc(c.cfg.Uplink)
		if op == want {
			op = topic.Update
		}
		body := doc.Rejected(iot.Errorf(iot.Throttled, "Too Many Requests"), doc.ParseToken(m.Payload))
		c.publish(key, Reply{Name: string(op) + "/" + topic.Rejected, Payload: body})
		ack()
	}
}

func (c *Carrier) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Carrier) post(l letter) {
	c.mu.Lock()
	c.letters = append(c.letters, l)
	c.mu.Unlock()
	c.signal()
}

// Online tells that the link stands, and the epoch: with every session that
// upstream lost it grows by one, and all documents are sent again. It never
// blocks.
func (c *Carrier) Online(epoch uint64) { c.post(letter{online: &connection{up: true, epoch: epoch}}) }

// Offline tells that the link is gone. It never blocks.
func (c *Carrier) Offline() { c.post(letter{online: &connection{}}) }

// Hint tells that a local shadow changed, by anybody. It never blocks.
func (c *Carrier) Hint(key iot.ShadowKey) {
	if _, ok := c.cfg.For(key); !ok {
		return
	}
	c.mu.Lock()
	c.hints[key] = true
	c.mu.Unlock()
	c.signal()
}

func (c *Carrier) publish(key iot.ShadowKey, r Reply) {
	c.link.Publish(prefix(c.cfg.Root, key)+r.Name, r.Payload, false, func(error) {})
}

// copyOf is what upstream has, or is to have, of one shadow.
type copyOf struct {
	record  Record
	loaded  bool
	due     time.Time // of the next document; zero when none is
	last    time.Time // when one was sent
	sending bool
	stale   bool // what was sent is not on disk
	saved   time.Time
	shown   status.Shadow
}

// Run serves until ctx ends, then returns nil.
func (c *Carrier) Run(ctx context.Context) error {
	s := c.Serve(ctx)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(s.Turn())
		select {
		case <-c.wake:
		case <-timer.C:
		case <-ctx.Done():
			s.saveAll()
			return nil
		}
	}
}

// Server serves one Carrier on the goroutine of whoever turns it: that of Run,
// or a simulator that has none. It has what upstream is known to have.
type Server struct {
	*Carrier
	ctx    context.Context
	copies map[iot.ShadowKey]*copyOf
	line   connection
	slot   time.Time // when the next document may go out
}

// Serve begins to serve with nothing in memory. It starts no goroutine; what has
// come waits for Turn.
func (c *Carrier) Serve(ctx context.Context) *Server {
	return &Server{Carrier: c, ctx: ctx, copies: make(map[iot.ShadowKey]*copyOf)}
}

// Turn does all that has come and all that is due, in this order, and tells how
// long nothing else is. It blocks for the local commits that takes.
func (s *Server) Turn() time.Duration {
	s.open()
	return s.advance()
}

// open reads what has come.
func (s *Server) open() {
	s.mu.Lock()
	letters, hints := s.letters, s.hints
	s.letters, s.hints = nil, make(map[iot.ShadowKey]bool)
	s.waiting = 0
	s.mu.Unlock()
	for _, l := range letters {
		switch {
		case l.request != nil:
			s.serve(*l.request)
			l.ack()
		case l.online != nil:
			s.connected(*l.online)
		case l.sent != nil:
			s.delivered(*l.sent)
		}
	}
	for key := range hints {
		s.changed(key)
	}
}

// copyFor gives the copy of a shadow; nil when there are too many.
func (s *Server) copyFor(key iot.ShadowKey) *copyOf {
	if c := s.copies[key]; c != nil {
		return c
	}
	if len(s.copies) >= s.cfg.ShadowsMax {
		return nil
	}
	c := &copyOf{}
	s.copies[key] = c
	return c
}

// changed makes a document due, unless it is so already: what waits for the end
// of a tombstone comes later than a document that is there again.
func (s *Server) changed(key iot.ShadowKey) {
	policy, _ := s.cfg.For(key)
	c := s.copyFor(key)
	if c == nil {
		return
	}
	if at := later(s.steady(), c.last.Add(policy.MinInterval)); c.due.IsZero() || at.Before(c.due) {
		c.due = at
	}
	s.show(key, c, status.Pending)
}

// show tells how a shadow does.
func (s *Server) show(key iot.ShadowKey, c *copyOf, state string) {
	now := s.clk.Now()
	c.shown.Thing, c.shown.Shadow, c.shown.State = key.Thing, key.Shadow, state
	if state == status.Synced {
		c.shown.Since = now
	}
	s.board.Put(key, c.shown, now)
}

// steady is a time that no step of the wall clock moves: what waits goes by it.
func (s *Server) steady() time.Time { return time.Unix(0, 0).Add(s.clk.Up()) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// connected compares all documents with what upstream has.
func (s *Server) connected(line connection) {
	s.line = line
	if !line.up {
		return
	}
	err := s.local.Each(s.ctx, s.cfg.Uplink, func(key iot.ShadowKey, _ time.Time) error {
		if _, ok := s.cfg.For(key); ok {
			s.changed(key)
		}
		return nil
	})
	if err != nil && s.ctx.Err() == nil {
		s.figures.disk.Inc(s.cfg.Uplink)
		s.log.Error("shadows cannot be listed; those that change are sent all the same", "err", err)
	}
	for key, c := range s.copies {
		s.changed(key)
		c.sending = false
	}
}

// look reads the document, and the record when it is not known.
func (s *Server) look(key iot.ShadowKey, c *copyOf) (home.Snapshot, error) {
	snap, err := s.local.Snapshot(s.ctx, key, s.cfg.Uplink)
	if err != nil {
		s.figures.disk.Inc(s.cfg.Uplink)
		return snap, err
	}
	if !c.loaded {
		if c.record, err = Decode(snap.Record); err != nil {
			s.log.Error("sync record is damaged; requests may be executed again", "thing", key.Thing, "shadow", key.Shadow, "err", err)
		}
		c.loaded = true
	}
	return snap, nil
}

// serve executes a request and answers it.
func (s *Server) serve(r Request) {
	c := s.copyFor(r.Key)
	if c == nil {
		s.figures.dropped.Inc(s.cfg.Uplink)
		return
	}
	policy, _ := s.cfg.For(r.Key)
	var replies []Reply
	err := errMoved
	for n := 0; errors.Is(err, errMoved) && n < attemptsMax; n++ {
		replies, err = s.execute(r, c, policy)
	}
	result := "ok"
	if err != nil {
		result = "failed"
		op := r.Op
		if op == want {
			op = topic.Update
		}
		s.log.Error("shadow request from upstream failed", "thing", r.Key.Thing, "shadow", r.Key.Shadow, "err", err)
		body := doc.Rejected(iot.Errorf(iot.Internal, "Internal service failure"), doc.ParseToken(r.Payload))
		replies = []Reply{{Name: string(op) + "/" + topic.Rejected, Payload: body}}
	}
	s.figures.requests.Inc(s.cfg.Uplink, string(r.Op), result)
	for _, reply := range replies {
		s.publish(r.Key, reply)
	}
}

var errMoved = errors.New("the document moved")

// execute decides and does a request once.
func (s *Server) execute(r Request, c *copyOf, policy shadowsync.Policy) ([]Reply, error) {
	snap, err := s.look(r.Key, c)
	if err != nil {
		return nil, err
	}
	now := s.clk.Now()
	plan := Decide(r, snap, c.record, policy, s.cfg.Limits, now)
	if plan.Write == nil {
		return plan.Replies, s.keep(r.Key, c, plan)
	}
	after, err := s.local.Commit(s.ctx, r.Key, s.cfg.Uplink, *plan.Write)
	switch code := iot.CodeOf(err); {
	case err == nil:
		c.record, c.stale = plan.Record, false
		s.figures.skipped.Add(float64(len(plan.Skipped)), s.cfg.Uplink)
		s.disputed(r.Key, c, plan)
		s.changed(r.Key)
		return plan.Conclude(snap.Doc, after.Doc, now), nil
	case code == iot.Conflict || code == iot.NotFound:
		return nil, fmt.Errorf("%w: %w", errMoved, err)
	case code == iot.InvalidRequest || code == iot.TooLarge:
		plan = plan.Refuse(c.record, err)
		return plan.Replies, s.keep(r.Key, c, plan)
	}
	s.figures.disk.Inc(s.cfg.Uplink)
	return nil, err
}

// disputed tells of the conflicts of a request that is done.
func (s *Server) disputed(key iot.ShadowKey, c *copyOf, plan Plan) {
	for _, conflict := range plan.Conflicts {
		c.shown.Conflicts++
		c.shown.Winner = conflict.Winner.String()
		s.cfg.Journal(key, conflict)
	}
}

// keep stores a record that has to be although no document changes.
func (s *Server) keep(key iot.ShadowKey, c *copyOf, plan Plan) error {
	if !plan.Keep {
		return nil
	}
	if _, err := s.local.Commit(s.ctx, key, s.cfg.Uplink, home.Write{Record: plan.Record.Encode()}); err != nil {
		return err
	}
	c.record, c.stale = plan.Record, false
	return nil
}

// advance sends what is due, the longest due first, and tells how long nothing
// else is.
func (s *Server) advance() time.Duration {
	now := s.steady()
	if !s.line.up {
		return time.Hour
	}
	var due []iot.ShadowKey
	for key, c := range s.copies {
		if !c.due.IsZero() && !c.sending && !c.due.After(now) {
			due = append(due, key)
		}
	}
	slices.SortFunc(due, func(a, b iot.ShadowKey) int {
		if d := s.copies[a].due.Compare(s.copies[b].due); d != 0 {
			return d
		}
		return strings.Compare(a.String(), b.String())
	})
	for _, key := range due {
		if now.Before(s.slot) {
			break
		}
		if s.send(key, s.copies[key], now) {
			s.slot = now.Add(time.Duration(float64(time.Second) / s.cfg.MaxPerSecond))
		}
	}
	return s.rest(now)
}

// rest is how long nothing is due.
func (s *Server) rest(now time.Time) time.Duration {
	wait := time.Hour
	for _, c := range s.copies {
		if !c.due.IsZero() && !c.sending {
			wait = min(wait, later(c.due, s.slot).Sub(now))
		}
	}
	return max(wait, 0)
}

// send sends the document of a shadow unless upstream has it.
func (s *Server) send(key iot.ShadowKey, c *copyOf, now time.Time) bool {
	snap, err := s.look(key, c)
	if err != nil {
		c.due = now.Add(retryEvery)
		return false
	}
	payload, again := document(key, snap, s.line.epoch, s.clk.Now())
	c.due = time.Time{}
	if again > 0 {
		c.due = now.Add(again)
	}
	sent := Sent{Epoch: s.line.epoch, Version: snap.Version}
	if len(payload) == 0 {
		sent = Sent{}
	}
	if sent == c.record.Sent { // a lost session began a new epoch
		s.show(key, c, status.Synced)
		return false
	}
	c.sending, c.last = true, now
	s.link.Publish(prefix(s.cfg.Root, key)+"doc", payload, true, func(err error) {
		s.post(letter{sent: &delivery{key: key, sent: sent, err: err}})
	})
	return true
}

// delivered takes down what upstream has now.
func (s *Server) delivered(d delivery) {
	c := s.copies[d.key]
	if c == nil {
		return
	}
	c.sending = false
	now := s.steady()
	if d.err != nil {
		c.due = now.Add(retryEvery)
		return
	}
	s.figures.documents.Inc(s.cfg.Uplink)
	c.record.Sent, c.stale = d.sent, true
	if c.due.IsZero() || c.due.Sub(now) > time.Hour { // else it changed meanwhile
		s.show(d.key, c, status.Synced)
	}
	if now.Sub(c.saved) >= savedEvery {
		s.save(d.key, c, now)
	}
}

func (s *Server) save(key iot.ShadowKey, c *copyOf, now time.Time) {
	_, err := s.local.Commit(context.WithoutCancel(s.ctx), key, s.cfg.Uplink, home.Write{Record: c.record.Encode()})
	if err != nil {
		s.figures.disk.Inc(s.cfg.Uplink)
		return
	}
	c.stale, c.saved = false, now
}

// saveAll puts on disk what was sent, so that a restart sends nothing again.
func (s *Server) saveAll() {
	for key, c := range s.copies {
		if c.stale {
			s.save(key, c, s.steady())
		}
	}
}

// document is the retained copy of a shadow, empty when there is to be none,
// and after what time it has to be looked at again without a change; 0 for never.
func document(key iot.ShadowKey, snap home.Snapshot, epoch uint64, now time.Time) ([]byte, time.Duration) {
	if snap.Doc != nil {
		body, err := doc.Get(snap.Doc, key, "", time.Unix(snap.Doc.Time, 0))
		if err != nil {
			return nil, 0
		}
		return fmt.Appendf(body[:len(body)-1:len(body)-1], `,"epoch":%d}`, epoch), 0
	}
	if until := snap.DeletedAt.Add(tombstoneAge); snap.Deleted && now.Before(until) {
		return fmt.Appendf(nil, `{"deleted":true,"version":%d,"timestamp":%d,"epoch":%d}`, snap.Version, snap.DeletedAt.Unix(), epoch), until.Sub(now)
	}
	return nil, 0
}
