package rules

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/rules/action"
	"github.com/tidehold/tidehold/gateway/rules/agenda"
	"github.com/tidehold/tidehold/gateway/rules/folder"
	"github.com/tidehold/tidehold/gateway/rules/recent"
	"github.com/tidehold/tidehold/gateway/rules/table"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

// The rooms that actions reach; see package action.
type (
	Publisher = action.Publisher
	Shadows   = action.Shadows
	Forwarder = action.Forwarder
	Devices   = action.Devices
	Functions = action.Functions
	Upstream  = action.Upstream
)

// Registry answers get_registry_data: the JSON that the API of that name gives
// for a thing.
type Registry interface {
	Describe(ctx context.Context, api string, thing iot.ThingName) ([]byte, error)
}

// defaultCheckpoint is the time between two stores of the rules' memory.
const defaultCheckpoint = 10 * time.Second

// Config is what an Engine needs to know. Every zero value has a meaning.
type Config struct {
	// Rules are those of the configuration; they are read-only.
	Rules []Rule
	// Region and Account are those of ARNs; us-east-1 and 000000000000.
	Region, Account string
	// Keys gives the key columns of declared tables by name.
	Keys map[string][]string
	// Roles are those of the configuration; one called edge-default replaces
	// the built-in one.
	Roles []Role
	// Actions are named action objects, to which a lambda ARN
	// arn:edge:action:<kind>:<name> refers.
	Actions map[string]json.RawMessage
	// Zone is that of cron schedules; nil is the host's.
	Zone *time.Location
	// Checkpoint is the time between two stores of the rules' memory: 10 s when
	// 0; below 0 it stays in memory alone.
	Checkpoint time.Duration
	// Dir holds the folders buckets, files and secrets; without it s3,
	// edge.file, cloudwatchLogs and get_secret are not available.
	Dir string
	// BucketBytes bounds the folder buckets, 1 GiB when 0.
	BucketBytes int64
}

// Deps are the rooms an Engine speaks to. What is nil is not available: the
// actions and functions that need it fail and say so.
type Deps struct {
	Publisher Publisher
	Shadows   Shadows
	Forwarder Forwarder
	Devices   Devices
	Functions Functions
	Upstream  Upstream
	Registry  Registry
	// State is state.db with Schema; nil: rules cannot be made at run time,
	// and nothing survives a restart.
	State *store.DB
	// Tables is tables.db; nil when it could not be opened: table actions fail.
	Tables *store.DB
	// Dial is the network for webhooks; nil is the host's.
	Dial    action.Dial
	Clock   clock.Clock
	IDs     *ids.Source
	Metrics *metrics.Registry
	Log     *slog.Logger
}

// Engine holds the rules and runs them.
type Engine struct {
	cfg      Config
	deps     Deps
	roles    *roles
	compiler *compiler
	world    *action.World
	secrets  *folder.Folder
	figures  figures

	// table is what rules there are now; changes orders those who swap it.
	table   atomic.Pointer[ruleTable]
	changes sync.Mutex
	loaded  bool

	wake   chan struct{} // the evaluator
	intake *intake
	agenda *agenda.Agenda[*runner]
	saver  *saver
	recent recent.Messages
	born   instant
	sifted atomic.Bool // misses were counted that the evaluator has not seen

	// life is held for reading by who starts a goroutine.
	life    sync.RWMutex
	context context.Context // of Run; nil when it does not run
	workers sync.WaitGroup
}

// ruleTable is one state of the set of rules. It never changes.
type ruleTable struct {
	matches topic.Trie[*runner]
	byName  map[string]*runner
	sorted  []*runner
}

// New compiles the rules of the configuration. A rule that does not compile is
// an error that names it; Config.Check gives the same answer beforehand.
func New(cfg Config, d Deps) (*Engine, error) {
	if cfg.Checkpoint == 0 {
		cfg.Checkpoint = defaultCheckpoint
	}
	if cfg.Zone == nil {
		cfg.Zone = time.Local
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	all, err := newRoles(cfg.Roles)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, deps: d, roles: all, compiler: &compiler{roles: all, named: cfg.Actions},
		figures: newFigures(d.Metrics), wake: make(chan struct{}, 1),
	}
	e.intake, e.agenda = &intake{wake: e.wake}, agenda.New[*runner](e.wake)
	e.saver, e.born = newSaver(e), e.now()
	e.world = e.newWorld()
	var runners []*runner
	for _, r := range cfg.Rules {
		p, err := e.compiler.compile(r)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(runners, func(other *runner) bool { return other.name == r.Name }) {
			return nil, iot.Errorf(iot.InvalidRequest, "rule %q is given twice", r.Name)
		}
		runners = append(runners, newRunner(e, p, true, time.Time{}))
	}
	e.swap(runners)
	return e, nil
}

func (e *Engine) newWorld() *action.World {
	d := e.deps
	w := &action.World{
		Publisher: d.Publisher, Shadows: d.Shadows, Forwarder: d.Forwarder, Devices: d.Devices, Functions: d.Functions, Upstream: d.Upstream,
		Web: action.NewClient(d.Dial, false), Inside: action.NewClient(d.Dial, true),
		Role: e.roles.find, Gauge: action.NewGauges(d.Metrics), Clock: d.Clock, Log: d.Log,
	}
	if d.Tables != nil {
		w.Tables = table.New(d.Tables, e.cfg.Keys)
	}
	if e.cfg.Dir != "" {
		w.Buckets = folder.New(filepath.Join(e.cfg.Dir, "buckets"), e.cfg.BucketBytes)
		w.Files = folder.New(filepath.Join(e.cfg.Dir, "files"), 0)
		e.secrets = folder.New(filepath.Join(e.cfg.Dir, "secrets"), 0)
	}
	return w
}

// swap puts another set of rules in place. The caller holds changes, or nobody
// else knows the engine yet.
func (e *Engine) swap(runners []*runner) {
	t := &ruleTable{byName: make(map[string]*runner, len(runners)), sorted: slices.Clone(runners)}
	slices.SortFunc(t.sorted, func(a, b *runner) int { return strings.Compare(a.name, b.name) })
	for _, r := range runners {
		t.byName[r.name] = r
		p := r.program.Load()
		if !p.live() {
			continue
		}
		if filter, ok := p.statement.Filter(); ok {
			t.matches.Add(filter, r)
		}
	}
	e.table.Store(t)
}

// Handle queues m for every rule whose FROM covers its topic. It never blocks.
func (e *Engine) Handle(m iot.Message) {
	var only *runner
	matched := 0
	e.table.Load().matches.Each(topic.Name(m.Topic), func(r *runner) { only = r; matched++ })
	if matched == 0 {
		e.recent.Sample(&m, e.since(&m))
		return
	}
	if matched > 1 {
		only = nil // the evaluator looks itself
	} else if only.sift(&m) {
		return
	}
	e.accept(&m, only)
}

// since is the steady clock when m arrived; no clock is read for it.
func (e *Engine) since(m *iot.Message) time.Duration { return e.born.up + m.Arrived.Sub(e.born.wall) }

// Ingest queues m for one rule by name, whatever its FROM says (Basic Ingest,
// rules.md section 10). An unknown or disabled rule is counted and logged.
func (e *Engine) Ingest(rule string, m iot.Message) {
	r := e.table.Load().byName[rule]
	if r == nil || !r.program.Load().live() {
		e.figures.notFound.Inc()
		e.deps.Log.Warn("basic ingest: no such rule, or it is disabled", "rule", rule, "client", m.Origin.ClientID)
		return
	}
	if reserved, ok := topic.ParseReserved(m.Topic); ok && reserved.Kind == topic.BasicIngest {
		m.Topic = reserved.Rest // topic() is what follows the rule's name
	}
	e.accept(&m, r)
}

func (e *Engine) accept(m *iot.Message, rule *runner) {
	if n := e.intake.put(m, rule); n > 0 {
		e.figures.intakeDropped.Add(float64(n))
	}
}

// Run evaluates and performs until ctx ends; then it lets actions under way
// end, stores the rules' memory, and drops what still waits. It calls Load
// unless that has been done.
func (e *Engine) Run(ctx context.Context) error {
	if err := e.Load(ctx); err != nil {
		return err
	}
	e.begin(ctx)
	stop := make(chan struct{})
	saved := make(chan struct{})
	go func() { defer close(saved); e.saver.run(stop) }()
	e.evaluate(ctx)
	e.end()
	e.saveAll()
	close(stop)
	<-saved
	e.world.Web.CloseIdleConnections()
	e.world.Inside.CloseIdleConnections()
	return e.closeFolders()
}

// begin lets workers be started, and starts those that have work.
func (e *Engine) begin(ctx context.Context) {
	e.life.Lock()
	e.context = ctx
	e.life.Unlock()
	for _, r := range e.table.Load().sorted {
		r.wake()
	}
}

// end waits for the workers.
func (e *Engine) end() {
	e.life.Lock()
	e.context = nil
	e.life.Unlock()
	e.workers.Wait()
}

func (e *Engine) running() bool {
	e.life.RLock()
	defer e.life.RUnlock()
	return e.context != nil
}

// spawn starts f as a worker; false when the engine does not run.
func (e *Engine) spawn(f func(ctx context.Context)) bool {
	e.life.RLock()
	defer e.life.RUnlock()
	if e.context == nil || e.context.Err() != nil {
		return false
	}
	ctx := e.context
	e.workers.Go(func() { f(ctx) })
	return true
}

func (e *Engine) closeFolders() error {
	var all []error
	for _, f := range []*folder.Folder{e.world.Buckets, e.world.Files, e.secrets} {
		if f != nil {
			all = append(all, f.Close())
		}
	}
	return errors.Join(all...)
}

// write changes state.db.
func (e *Engine) write(ctx context.Context, op string, fn func(*store.Tx) error) error {
	if e.deps.State == nil {
		return iot.Errorf(iot.Unavailable, "%s: state.db is not open; rules can only be changed in the configuration file", op)
	}
	return e.deps.State.Write(ctx, op, fn)
}

// random gives a number in [0,1) with 53 bits.
func (e *Engine) random() float64 {
	var n uint64
	for _, b := range e.deps.IDs.Bytes(7) {
		n = n<<8 | uint64(b)
	}
	return float64(n>>3) / (1 << 53)
}
