package rules

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

const (
	// QueueMax is how many messages may wait for one rule.
	QueueMax = 1000
	// HopsMax is how many rules a message may pass through.
	HopsMax = 8
)

// Publisher takes a message that a rule made into the house, by the same way
// as any other.
type Publisher interface {
	Publish(m iot.Message)
}

// Shadows is what rules need of the shadow service.
type Shadows interface {
	Get(ctx context.Context, key iot.ShadowKey, clientToken string) ([]byte, error)
	Update(ctx context.Context, key iot.ShadowKey, payload []byte, o iot.Origin) ([]byte, error)
}

// Forwarder stores a message for the upstream of the named uplink, or of all
// when uplink is empty, under the upstream topic m.Topic.
type Forwarder interface {
	Forward(ctx context.Context, uplink string, m iot.Message) error
}

// Config is what an Engine needs to know.
type Config struct {
	Rules []Rule
	// Account is the answer of accountid().
	Account string
	// Keys gives the key columns of declared tables by name.
	Keys map[string][]string
}

// Deps are the rooms an Engine speaks to.
type Deps struct {
	Publisher Publisher
	Shadows   Shadows
	Forwarder Forwarder
	// Tables is tables.db; nil when it could not be opened: table actions fail.
	Tables  *store.DB
	Clock   clock.Clock
	IDs     *ids.Source
	Metrics *metrics.Registry
	Log     *slog.Logger
}

// Engine holds the rules and works their queues off.
type Engine struct {
	deps    Deps
	account string
	keys    map[string][]string
	roles   map[string]role
	rules   []Rule
	workers []*worker
	byName  map[string]*worker
	matches topic.Trie[*worker]

	matched, failedStage, dropped, actionFailed *metrics.Counter
	notFound                                    *metrics.Counter
}

// New compiles all rules. A rule that does not compile is an error that names
// it; Check gives the same answer beforehand.
func New(cfg Config, d Deps) (*Engine, error) {
	e := &Engine{
		deps: d, account: cfg.Account, keys: cfg.Keys, roles: builtIn(), rules: cfg.Rules, byName: make(map[string]*worker),
		matched:      d.Metrics.Counter("rule_matches_total", "Messages whose topic and WHERE matched.", "rule"),
		failedStage:  d.Metrics.Counter("rule_errors_total", "Evaluations that failed.", "rule", "stage"),
		dropped:      d.Metrics.Counter("rule_dropped_total", "Messages dropped from a full queue.", "rule"),
		actionFailed: d.Metrics.Counter("rule_action_failures_total", "Actions that failed after their last attempt.", "rule", "action"),
		notFound:     d.Metrics.Counter("rule_not_found_total", "Basic Ingest messages for an unknown or disabled rule."),
	}
	for _, r := range cfg.Rules {
		c, err := compile(r, e.roles)
		if err != nil {
			return nil, err
		}
		w := newWorker(e, c)
		e.workers = append(e.workers, w)
		e.byName[r.Name] = w
		if filter, ok := c.statement.Filter(); ok && !r.Disabled {
			e.matches.Add(filter, w)
		}
	}
	return e, nil
}

// Rules are the documents the engine runs, in the order of the configuration.
func (e *Engine) Rules() []Rule { return e.rules }

// Handle queues m for every rule whose FROM covers its topic. It never blocks.
func (e *Engine) Handle(m iot.Message) {
	e.matches.Each(topic.Name(m.Topic), func(w *worker) { w.put(m) })
}

// Ingest queues m for one rule by name, whatever its FROM says (Basic Ingest,
// rules.md section 10). An unknown or disabled rule is counted and logged.
func (e *Engine) Ingest(rule string, m iot.Message) {
	w := e.byName[rule]
	if w == nil || w.rule.disabled {
		e.notFound.Inc()
		e.deps.Log.Warn("basic ingest: no such rule, or it is disabled", "rule", rule, "client", m.Origin.ClientID)
		return
	}
	w.put(m)
}

// Run works the queues off until ctx ends; what still waits then is dropped.
func (e *Engine) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range e.workers {
		group.Go(func() error { return w.run(ctx) })
	}
	return group.Wait()
}

// random gives a number in [0,1) with 53 bits.
func (e *Engine) random() float64 {
	var n uint64
	for _, b := range e.deps.IDs.Bytes(7) {
		n = n<<8 | uint64(b)
	}
	return float64(n>>3) / (1 << 53)
}

// shadowWait bounds get_thing_shadow: a statement must not wait for a sick disk.
const shadowWait = time.Second

// shadow answers get_thing_shadow from the shadow service, when the role
// allows it.
func (e *Engine) shadow(thing, shadow, roleARN string) ([]byte, bool) {
	name, err := iot.ParseThingName(thing)
	if err != nil {
		return nil, false
	}
	named, err := iot.ParseShadowName(shadow)
	if err != nil {
		return nil, false
	}
	key := iot.ShadowKey{Thing: name, Shadow: named}
	r, err := roleOf(e.roles, roleARN)
	if err != nil || r.allow("iot:GetThingShadow", shadowResource(key)) != nil {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), shadowWait)
	defer cancel()
	document, err := e.deps.Shadows.Get(ctx, key, "")
	return document, err == nil
}

// shadowResource is the resource of a shadow in a role.
func shadowResource(key iot.ShadowKey) string {
	if key.Shadow == iot.Classic {
		return "thing/" + string(key.Thing)
	}
	return "thing/" + string(key.Thing) + "/" + string(key.Shadow)
}

// failure is one failed action in AWS's error document (rules.md section 9).
type failure struct {
	Action   string `json:"failedAction"`
	Resource string `json:"failedResource"`
	Message  string `json:"errorMessage"`
}

// perform runs all actions, then the error action if any failed.
func (e *Engine) perform(ctx context.Context, r *compiled, in input) {
	var failures []failure
	for _, act := range r.actions {
		resource, err := act.run(ctx, e, in)
		if err == nil {
			continue
		}
		e.actionFailed.Inc(r.name, act.failedName())
		e.deps.Log.Warn("rule action failed", "rule", r.name, "action", act.failedName(), "topic", in.message.Topic, "err", err)
		failures = append(failures, failure{act.failedName(), resource, err.Error()})
	}
	if len(failures) == 0 || r.errorAction == nil {
		return
	}
	in.result = errorDocument(in, failures)
	if _, err := r.errorAction.run(ctx, e, in); err != nil {
		e.actionFailed.Inc(r.name, r.errorAction.failedName())
		e.deps.Log.Warn("rule error action failed", "rule", r.name, "action", r.errorAction.failedName(), "err", err)
	}
}

func errorDocument(in input, failures []failure) []byte {
	clientID := string(in.message.Origin.ClientID)
	if clientID == "" {
		clientID = "n/a"
	}
	document, err := json.Marshal(struct {
		Rule     string    `json:"ruleName"`
		Topic    string    `json:"topic"`
		Trace    string    `json:"cloudwatchTraceId"`
		Client   string    `json:"clientId"`
		Payload  string    `json:"base64OriginalPayload"`
		Failures []failure `json:"failures"`
	}{in.rule, in.message.Topic, in.message.Origin.TraceID, clientID, base64.StdEncoding.EncodeToString(in.message.Payload), failures})
	if err != nil {
		panic(fmt.Sprintf("rules: encode an error document: %v", err))
	}
	return document
}

// born is a message that a rule makes: house origin, one more hop.
func (e *Engine) born(in input, name string, qos byte) (iot.Message, error) {
	if in.message.Origin.Hops+1 >= HopsMax {
		return iot.Message{}, fmt.Errorf("RuleLoop: the message has been through %d rules", in.message.Origin.Hops+1)
	}
	return iot.Message{
		Topic: name, Payload: in.result, QoS: qos, Arrived: e.deps.Clock.Now(),
		Origin: iot.Origin{
			Principal: iot.Principal{Kind: iot.House}, Source: "rule/" + in.rule, TraceID: in.message.Origin.TraceID,
			Hops: in.message.Origin.Hops + 1, Sim: in.message.Origin.Sim, Uplink: in.message.Origin.Uplink,
		},
	}, nil
}
