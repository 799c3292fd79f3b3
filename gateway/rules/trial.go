package rules

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/rules/action"
	"github.com/tidehold/tidehold/gateway/rules/role"
	"github.com/tidehold/tidehold/gateway/rules/trace"
	"github.com/tidehold/tidehold/gateway/topic"
)

// trialLimit bounds a dry run.
const trialLimit = 10 * time.Second

// ringsMax is how often a trial moves its clock on to let timers ring.
const ringsMax = 3

// Trial is a dry run: of a stored rule by its name, or of a document.
type Trial struct {
	// Name picks a rule there is; Rule is used when it is empty. A Rule needs
	// no name.
	Name string
	Rule Rule
	// Message is what the rule looks at; nil takes the latest real message that
	// FROM covers and the gateway remembers.
	Message *iot.Message
}

// TrialResult is what a rule would do. Nothing has been done.
type TrialResult struct {
	// Topic and Payload are of the message that the rule looked at.
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
	// Real is set when the message is one that the gateway remembered.
	Real bool `json:"real,omitempty"`
	// Covered reports whether FROM covers the topic.
	Covered bool `json:"covered"`
	Matched bool `json:"matched"`
	// Output is the result of the statement; IsBase64 is set when it is no
	// text.
	Output   string `json:"output,omitempty"`
	IsBase64 bool   `json:"outputIsBase64,omitempty"`
	// AfterMS is how long after the message a window or a timer gives the
	// result; 0 for at once.
	AfterMS int64 `json:"afterMs,omitempty"`
	// Error is why the evaluation failed.
	Error    string    `json:"error,omitempty"`
	Warnings []string  `json:"warnings,omitempty"`
	Actions  []WouldBe `json:"actions,omitempty"`
	OnError  *WouldBe  `json:"errorAction,omitempty"`
	// Message is the message whole.
	Message *iot.Message `json:"-"`
	result  *iotsql.Output
}

// WouldBe is one action as it would be performed.
type WouldBe struct {
	Action string `json:"action"`
	Role   string `json:"role"`
	// Resource is what it would work on, Fields its texts with the templates
	// filled in.
	Resource string            `json:"resource,omitempty"`
	Fields   map[string]string `json:"fields,omitempty"`
	Verdicts []Verdict         `json:"verdicts,omitempty"`
	// Error is why it would fail before anything is done.
	Error string `json:"error,omitempty"`
}

// Verdict is what the role says about one permission.
type Verdict struct {
	role.Need
	Allowed bool   `json:"allowed"`
	Why     string `json:"why,omitempty"`
}

// Test runs a rule on a message without doing anything: it evaluates the
// statement with an empty memory, fills the templates, and asks the roles.
// aws_lambda is not called and is Undefined; shadows, tables and secrets are
// read. A rule that is refused gives the error that Create would give; without
// a message to look at NotFound.
func (e *Engine) Test(ctx context.Context, t Trial) (TrialResult, error) {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	p, err := e.tried(t)
	if err != nil {
		return TrialResult{}, err
	}
	out := TrialResult{Warnings: p.warnings, Message: t.Message}
	if out.Message == nil {
		m, err := e.realMessage(p)
		if err != nil {
			return TrialResult{}, err
		}
		out.Message, out.Real = &m, true
	}
	m := *out.Message
	out.Topic, out.Payload = m.Topic, trace.Excerpt(m.Payload)
	out.Covered = p.covers(m.Topic)
	e.try(ctx, p, m, &out)
	return out, nil
}

// tried compiles what is to be tried, apart from the rule that runs.
func (e *Engine) tried(t Trial) (*program, error) {
	r := t.Rule
	if t.Name != "" {
		of, err := e.rule(t.Name)
		if err != nil {
			return nil, err
		}
		r = of.program.Load().rule
	}
	if r.Name == "" {
		r.Name = "test"
	}
	return e.compiler.compile(r)
}

func (p *program) covers(name string) bool {
	if p.schedule != nil {
		return name == "$schedule/"+p.rule.Name
	}
	filter, ok := p.statement.Filter()
	return ok && topic.Match(filter, topic.Name(name))
}

func (e *Engine) realMessage(p *program) (iot.Message, error) {
	if p.schedule != nil {
		now := e.now()
		return p.scheduleMessage(now.wall, now), nil
	}
	m, ok := e.recent.Find(p.covers)
	if !ok {
		return m, iot.Errorf(iot.NotFound, "no message that FROM covers came lately; give one")
	}
	return m, nil
}

// try evaluates and collects.
func (e *Engine) try(ctx context.Context, p *program, m iot.Message, out *TrialResult) {
	now := e.now()
	c := &p.context
	c.Rule, c.Account, c.NewUUID, c.Random = p.rule.Name, e.cfg.Account, e.deps.IDs.UUID, e.random
	lookups := e.lookups(p)
	lookups.Lambda = nil
	c.Lookups, c.Message = lookups, m
	p.at(now)
	take := func(o iotsql.Output, err error) {
		switch {
		case err != nil:
			out.Error = err.Error()
		case o.Fired && out.result == nil:
			out.result = &o
			e.wouldBe(ctx, p, o, out)
		}
	}
	state := p.statement.NewState()
	state.Handle(c, take)
	for range ringsMax {
		wait, ok := state.Wait()
		if out.result != nil || out.Error != "" || !ok {
			break
		}
		out.AfterMS += wait
		c.NowMS, c.UpMS = now.wall.UnixMilli()+out.AfterMS, now.up.Milliseconds()+out.AfterMS
		state.Tick(c, take)
	}
	if out.result == nil {
		out.AfterMS = 0
		return
	}
	out.Matched = true
	out.Output = string(out.result.Payload)
	if !utf8.Valid(out.result.Payload) {
		out.Output, out.IsBase64 = secretText(out.result.Payload, "SecretBinary"), true
	}
}

// wouldBe says what the actions would do with a result, while its context
// stands.
func (e *Engine) wouldBe(ctx context.Context, p *program, o iotsql.Output, out *TrialResult) {
	call := &action.Call{Rule: p.rule.Name, Message: p.context.Message, Payload: o.Payload}
	for _, a := range p.actions {
		out.Actions = append(out.Actions, e.judge(ctx, a, call, a.Fill(&p.context)))
	}
	if p.errorAction != nil {
		document := *call
		document.Payload = errorDocument(p.rule.Name, &call.Message, []failure{})
		w := e.judge(ctx, p.errorAction, &document, p.errorAction.Fill(&p.context))
		out.OnError = &w
	}
}

func (e *Engine) judge(ctx context.Context, a *action.Action, c *action.Call, f action.Filled) WouldBe {
	w := WouldBe{Action: a.Kind(), Role: a.Role(), Fields: a.Named(f)}
	plan, err := a.Plan(ctx, e.world, c, f)
	w.Resource = plan.Resource
	if err != nil {
		w.Error = err.Error()
	}
	for _, need := range plan.Needs {
		v := Verdict{Need: need, Allowed: true}
		if err := e.world.Allow(a.Role(), need); err != nil {
			v.Allowed, v.Why = false, err.Error()
		}
		w.Verdicts = append(w.Verdicts, v)
	}
	return w
}

// Recent are the messages that were remembered, the latest first; with a
// filter, those it covers. They are samples: not every message is among them.
func (e *Engine) Recent(filter topic.Filter) []iot.Message { return e.recent.All(filter) }
