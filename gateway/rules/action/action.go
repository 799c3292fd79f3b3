// Package action compiles and performs the actions of rules (rules.md
// section 8).
//
// What it promises. Compile finds everything that can be wrong with an
// action's document: an unknown kind, field or role, a template that does not
// parse. Fill evaluates the templates for one result of the statement and is
// quick, unless a template calls a function that looks outside the message.
// Plan says what will be touched; Run asks the role about it, after the
// templates are filled, so that a payload cannot steer a rule out of its role,
// and then acts: every attempt within the kind's deadline, kinds of class R3
// again after some pauses, unless the failure is one that time does not mend.
// Run blocks for as long as that takes; an Action never changes and may be
// shared by goroutines.
package action

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/function"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/rules/folder"
	"github.com/tidehold/tidehold/gateway/rules/role"
	"github.com/tidehold/tidehold/gateway/rules/table"
)

// HopsMax is how many rules a message may pass through.
const HopsMax = 8

// retryWaits are the pauses before the further attempts of class R3.
var retryWaits = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second}

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
// when uplink is empty, under the upstream topic m.Topic. priority is critical,
// normal, bulk, or empty: the gateway's own classes.
type Forwarder interface {
	Forward(ctx context.Context, uplink, priority string, m iot.Message) error
}

// Devices sets outputs of the gateway's own parts, in the name of who: rule/NAME.
// It must not block for long.
type Devices interface {
	Drive(device, command, who string, payload []byte) error
}

// Functions calls local functions.
type Functions interface {
	Invoke(ctx context.Context, c function.Call) ([]byte, error)
}

// Upstream hands messages to rules of the same name at AWS, by Basic Ingest;
// false means that no upstream is AWS.
type Upstream interface {
	Ingest(ctx context.Context, rule string, m iot.Message) (bool, error)
}

// World is all that actions reach. What is nil is not available here, and the
// actions that need it fail and say so.
type World struct {
	Publisher Publisher
	Shadows   Shadows
	Forwarder Forwarder
	Devices   Devices
	Functions Functions
	Upstream  Upstream
	Tables    *table.Tables
	// Buckets and Files are the folders of s3 and of edge.file.
	Buckets, Files *folder.Folder
	// Web posts to the world; Inside may also reach this host.
	Web, Inside *http.Client
	// Role finds a role by its name now.
	Role  func(name string) (*role.Role, bool)
	Gauge *Gauges
	Clock clock.Clock
	Log   *slog.Logger
}

// Call is one result of a rule on its way through the actions. It belongs to
// one goroutine.
type Call struct {
	Rule    string
	Message iot.Message
	// Payload is the result of the statement, or an error document.
	Payload []byte
	// ingested is set when the message went to the rule's namesake upstream:
	// once for all actions that only AWS has.
	ingested bool
}

// class is how an action is tried again.
type class uint8

const (
	once  class = iota // R0
	again              // R3
)

// Action is one compiled action.
type Action struct {
	kind   string
	failed string
	class  class
	limit  time.Duration // of one attempt; 0 for what never waits
	role   string
	uplink string // that edge.forward names
	fields []field
	plan   planner
}

// field is one text of the document that may hold templates.
type field struct {
	name     string
	template *iotsql.Template
	fixed    string // the text, when it holds no template
}

// planner makes the plan of one kind from filled texts.
type planner func(ctx context.Context, w *World, c *Call, texts []string) (Plan, error)

// Plan is what an action is about to do.
type Plan struct {
	// Resource is what it works on: a topic, table, URL, …
	Resource string
	Needs    []role.Need
	do       func(ctx context.Context) error
}

// Filled are an action's texts for one result, in the order of its fields.
type Filled struct {
	Texts []string `json:"texts,omitempty"`
	// Err is why a template could not be filled.
	Err string `json:"err,omitempty"`
}

// Kind is the action's key in the document.
func (a *Action) Kind() string { return a.kind }

// FailedName is the action's name in an error document (rules.md section 9).
func (a *Action) FailedName() string { return a.failed }

// Role is the name of the role that the action acts by.
func (a *Action) Role() string { return a.role }

// Fill evaluates the templates for the result that ctx holds.
func (a *Action) Fill(ctx *iotsql.Context) Filled {
	var f Filled
	if len(a.fields) > 0 {
		f.Texts = make([]string, len(a.fields))
	}
	for i := range a.fields {
		text, err := a.fields[i].template.Eval(ctx)
		if err != nil {
			f.Err = fmt.Sprintf("%s: %v", a.fields[i].name, err)
			return f
		}
		f.Texts[i] = text
	}
	return f
}

// Named gives filled texts by the names of their fields.
func (a *Action) Named(f Filled) map[string]string {
	named := make(map[string]string, len(f.Texts))
	for i, text := range f.Texts {
		named[a.fields[i].name] = text
	}
	return named
}

// Fits reports whether f can be texts of a; saved ones may be of another
// document.
func (a *Action) Fits(f Filled) bool { return f.Err != "" || len(f.Texts) == len(a.fields) }

// Plan says what a would do for c, without doing it.
func (a *Action) Plan(ctx context.Context, w *World, c *Call, f Filled) (Plan, error) {
	if f.Err != "" {
		return Plan{}, iot.Errorf(iot.InvalidRequest, "%s", f.Err)
	}
	return a.plan(ctx, w, c, f.Texts)
}

// Run performs a for c and gives the resource it worked on, also when it
// failed.
func (a *Action) Run(ctx context.Context, w *World, c *Call, f Filled) (resource string, err error) {
	plan, err := a.Plan(ctx, w, c, f)
	if err != nil {
		return plan.Resource, err
	}
	for _, need := range plan.Needs {
		if err := w.Allow(a.role, need); err != nil {
			return plan.Resource, err
		}
	}
	return plan.Resource, a.attempt(ctx, plan.do)
}

// Allow reports why the role may not do what need says, as the role is now.
func (w *World) Allow(name string, need role.Need) error {
	r, ok := w.Role(name)
	if !ok {
		return iot.Errorf(iot.Forbidden, "role %q does not exist any more", name)
	}
	return r.Allow(need)
}

// attempt tries, and tries again what another attempt may mend.
func (a *Action) attempt(ctx context.Context, do func(context.Context) error) error {
	err := a.within(ctx, do)
	if a.class == once {
		return err
	}
	for _, wait := range retryWaits {
		if !passing(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
		err = a.within(ctx, do)
	}
	return err
}

// passing reports whether time may mend err.
func passing(err error) bool {
	if err == nil {
		return false
	}
	code := iot.CodeOf(err)
	return code == iot.Internal || code == iot.Unavailable || code == iot.Throttled
}

func (a *Action) within(ctx context.Context, do func(context.Context) error) error {
	if a.limit == 0 {
		return do(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, a.limit)
	defer cancel()
	return do(ctx)
}

// born is a message that a rule makes: house origin, one more hop.
func (w *World) born(c *Call, name string, qos byte, payload []byte) (iot.Message, error) {
	if c.Message.Origin.Hops+1 >= HopsMax {
		return iot.Message{}, iot.Errorf(iot.InvalidRequest, "RuleLoop: the message has been through %d rules", c.Message.Origin.Hops+1)
	}
	return iot.Message{
		Topic: name, Payload: payload, QoS: qos, Arrived: w.Clock.Now(),
		Origin: iot.Origin{
			Principal: iot.Principal{Kind: iot.House}, Source: "rule/" + c.Rule, TraceID: c.Message.Origin.TraceID,
			Hops: c.Message.Origin.Hops + 1, Sim: c.Message.Origin.Sim, Uplink: c.Message.Origin.Uplink,
		},
	}, nil
}

// unavailable is the failure of an action whose room this gateway lacks.
func unavailable(what string) error {
	return iot.Errorf(iot.InvalidRequest, "%s not available on this gateway", what)
}

// Gauges are the figures of the action cloudwatchMetric.
type Gauges struct {
	gauge *metrics.Gauge

	mu     sync.Mutex
	series map[[3]string]bool
}

// gaugesMax is how many series rules may make.
const gaugesMax = 200

// NewGauges registers the figure.
func NewGauges(m *metrics.Registry) *Gauges {
	return &Gauges{
		gauge:  m.Gauge("rule_metric", "Figures set by the action cloudwatchMetric of rules.", "namespace", "name", "unit"),
		series: make(map[[3]string]bool),
	}
}

func (g *Gauges) set(namespace, name, unit string, v float64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := [3]string{namespace, name, unit}
	if !g.series[key] && len(g.series) >= gaugesMax {
		return iot.Errorf(iot.LimitExceeded, "there are %d metrics of rules already", gaugesMax)
	}
	g.series[key] = true
	g.gauge.Set(v, namespace, name, unit)
	return nil
}
