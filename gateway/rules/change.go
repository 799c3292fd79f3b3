package rules

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
	"github.com/tidehold/tidehold/gateway/rules/agenda"
	"github.com/tidehold/tidehold/gateway/rules/role"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

// Load makes the declared tables and brings in the rules, roles and memories of
// state.db, once; it blocks for the disk. A stored rule that does not compile any more is kept, does not run,
// and says why; a rule of the configuration stands before a stored one of the
// same name.
func (e *Engine) Load(ctx context.Context) error {
	e.changes.Lock()
	defer e.changes.Unlock()
	if e.loaded {
		return nil
	}
	if e.world.Tables != nil {
		if err := e.world.Tables.Declare(ctx); err != nil { // its actions will say so too
			e.deps.Log.Error("the declared tables of rules were not made", "err", err)
		}
	}
	if e.loaded = e.deps.State == nil; e.loaded {
		return nil
	}
	err := e.deps.State.Read(ctx, func(tx *store.Tx) error {
		if err := e.loadRoles(tx); err != nil {
			return err
		}
		if err := e.loadRules(tx); err != nil {
			return err
		}
		return e.loadStates(tx)
	})
	if err != nil {
		return fmt.Errorf("rules load: %w", err)
	}
	e.loaded = true
	return nil
}

func (e *Engine) loadRoles(tx *store.Tx) error {
	return tx.Query(selectRoles, nil, func(scan store.Scan) error {
		var name, document string
		if err := scan(&name, &document); err != nil {
			return err
		}
		r, err := role.Parse(name, []byte(document))
		switch {
		case err != nil:
			e.deps.Log.Error("a stored role cannot be read", "err", err)
		case e.roles.fixed[name]:
			e.deps.Log.Warn("a role of the configuration stands before a stored one", "role", name)
		default:
			e.roles.change(func(all map[string]*role.Role) { all[name] = r })
		}
		return nil
	})
}

func (e *Engine) loadRules(tx *store.Tx) error {
	runners := slices.Clone(e.table.Load().sorted)
	err := tx.Query(selectRules, nil, func(scan store.Scan) error {
		var name, document string
		var created int64
		if err := scan(&name, &document, &created); err != nil {
			return err
		}
		if e.table.Load().byName[name] != nil {
			e.deps.Log.Warn("a rule of the configuration stands before a stored one", "rule", name)
			return nil
		}
		runners = append(runners, newRunner(e, e.stored(name, document), false, time.UnixMilli(created)))
		return nil
	})
	if err == nil {
		e.swap(runners)
	}
	return err
}

// stored compiles a stored rule; one that is refused now is broken.
func (e *Engine) stored(name, document string) *program {
	r := Rule{}
	err := json.Unmarshal([]byte(document), &r)
	r.Name = name
	var p *program
	if err == nil {
		p, err = e.compiler.compile(r)
	}
	if err != nil {
		e.deps.Log.Error("a stored rule cannot run; replace or delete it", "rule", name, "err", err)
		return &program{rule: r, broken: err}
	}
	return p
}

func (e *Engine) loadStates(tx *store.Tx) error {
	return tx.Query(selectStates, nil, func(scan store.Scan) error {
		var c checkpointed
		var name string
		if err := scan(&name, &c.memory, &c.results, &c.fired, &c.at); err != nil {
			return err
		}
		r := e.table.Load().byName[name]
		if r == nil {
			return nil
		}
		if err := r.restore(c); err != nil {
			e.deps.Log.Error("the stored memory of a rule cannot be read; it starts afresh", "rule", name, "err", err)
		}
		return nil
	})
}

// rule finds a rule; an unknown one is Unauthorized, with AWS's sentence.
func (e *Engine) rule(name string) (*runner, error) {
	if r := e.table.Load().byName[name]; r != nil {
		return r, nil
	}
	return nil, iot.Errorf(iot.Unauthorized, "Access to topic rule '%s' was denied", name)
}

// mine finds a rule that may be changed; one of the configuration is
// UpdateConflict.
func (e *Engine) mine(name string) (*runner, error) {
	r, err := e.rule(name)
	if err == nil && r.fromFile {
		return nil, iot.Errorf(iot.UpdateConflict, "rule %q is from the configuration file; change it there", name)
	}
	return r, err
}

// Create stores a rule and lets it run; it blocks until that is committed. A
// name that is taken is AlreadyExists; a document that is refused is
// InvalidRequest, or SQLParse when its SQL or a template was at fault.
func (e *Engine) Create(ctx context.Context, r Rule) error {
	p, err := e.compiler.compile(r)
	if err != nil {
		return err
	}
	e.changes.Lock()
	defer e.changes.Unlock()
	t := e.table.Load()
	if t.byName[r.Name] != nil {
		return iot.Errorf(iot.AlreadyExists, "rule %q exists already", r.Name)
	}
	if n := len(t.sorted) - len(e.cfg.Rules); n >= RulesMax {
		return iot.Errorf(iot.LimitExceeded, "there are %d rules, the most there may be", n)
	}
	now := e.deps.Clock.Now()
	if err := e.storeRule(ctx, r, now, true); err != nil {
		return err
	}
	e.swap(append(slices.Clone(t.sorted), newRunner(e, p, false, now)))
	return nil
}

// storeRule writes the document, and forgets the memory when asked to.
func (e *Engine) storeRule(ctx context.Context, r Rule, now time.Time, forget bool) error {
	document, err := json.Marshal(r)
	if err != nil {
		return iot.Errorf(iot.InvalidRequest, "rule %q: %v", r.Name, err)
	}
	return e.write(ctx, "rules put rule", func(tx *store.Tx) error {
		if forget {
			if _, err := tx.Exec(deleteState, r.Name); err != nil {
				return err
			}
		}
		_, err := tx.Exec(putRule, r.Name, string(document), now.UnixMilli())
		return err
	})
}

// Replace gives a rule another document, as ReplaceTopicRule does. What is
// queued is performed as it was decided.
func (e *Engine) Replace(ctx context.Context, r Rule) error {
	e.changes.Lock()
	defer e.changes.Unlock()
	of, err := e.mine(r.Name)
	if err != nil {
		return err
	}
	return e.replace(ctx, of, r)
}

func (e *Engine) replace(ctx context.Context, of *runner, r Rule) error {
	p, err := e.compiler.compile(r)
	if err != nil {
		return err
	}
	forget := r.Disabled || !of.program.Load().shares(p)
	if err := e.storeRule(ctx, r, e.deps.Clock.Now(), forget); err != nil {
		return err
	}
	of.attach(p)
	if !p.live() {
		of.stored(nil, nil)
	}
	e.swap(e.table.Load().sorted)
	return nil
}

// Enable switches a rule on.
func (e *Engine) Enable(ctx context.Context, name string) error { return e.enable(ctx, name, true) }

// Disable switches a rule off: it neither matches nor answers Basic Ingest, and
// forgets what it remembers.
func (e *Engine) Disable(ctx context.Context, name string) error { return e.enable(ctx, name, false) }

func (e *Engine) enable(ctx context.Context, name string, on bool) error {
	e.changes.Lock()
	defer e.changes.Unlock()
	of, err := e.mine(name)
	if err != nil {
		return err
	}
	r := of.program.Load().rule
	if r.Disabled == !on {
		return nil
	}
	r.Disabled = !on
	return e.replace(ctx, of, r)
}

// Delete removes a rule; what is queued is still performed.
func (e *Engine) Delete(ctx context.Context, name string) error {
	e.changes.Lock()
	defer e.changes.Unlock()
	of, err := e.mine(name)
	if err != nil {
		return err
	}
	of.gone.Store(true) // a checkpoint under way leaves no row behind
	if err := e.write(ctx, "rules delete rule", func(tx *store.Tx) error {
		if _, err := tx.Exec(deleteState, name); err != nil {
			return err
		}
		_, err := tx.Exec(deleteRule, name)
		return err
	}); err != nil {
		of.gone.Store(false)
		return err
	}
	e.swap(slices.DeleteFunc(slices.Clone(e.table.Load().sorted), func(r *runner) bool { return r == of }))
	e.agenda.Due(of.appointment, agenda.Never)
	of.stored(nil, nil)
	return nil
}

// Described is a rule as GetTopicRule gives it.
type Described struct {
	ARN  string   `json:"ruleArn"`
	Rule Document `json:"rule"`
}

// Document is a rule with what the gateway knows about it. Times are in seconds
// since the Unix epoch, as in AWS's API.
type Document struct {
	Rule
	CreatedAt float64 `json:"createdAt,omitempty"`
	// FromFile is set for rules of the configuration: they are read-only.
	FromFile bool `json:"fromFile,omitempty"`
	// Broken is why a stored rule does not run.
	Broken   string   `json:"broken,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Get gives a rule; an unknown one is Unauthorized, as at AWS.
func (e *Engine) Get(name string) (Described, error) {
	r, err := e.rule(name)
	if err != nil {
		return Described{}, err
	}
	return Described{e.arn(name), r.document()}, nil
}

func (r *runner) document() Document {
	p := r.program.Load()
	d := Document{Rule: p.rule, FromFile: r.fromFile, Warnings: p.warnings, CreatedAt: seconds(r.created)}
	if d.Version == "" {
		d.Version = iotsql.Version2015
	}
	if d.Actions == nil {
		d.Actions = []json.RawMessage{}
	}
	if p.broken != nil {
		d.Broken = p.broken.Error()
	}
	return d
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func (e *Engine) arn(name string) string {
	region, account := e.cfg.Region, e.cfg.Account
	if region == "" {
		region = "us-east-1"
	}
	if account == "" {
		account = "000000000000"
	}
	return "arn:aws:iot:" + region + ":" + account + ":rule/" + name
}

// Query says which rules List gives.
type Query struct {
	// Topic picks rules whose FROM covers it, or is the same text.
	Topic string
	// Disabled picks by state; nil gives both.
	Disabled *bool
	// Max is the size of a page, up to 10000; Token is what the page before
	// gave.
	Max   int
	Token string
}

// Listed is a rule as ListTopicRules gives it.
type Listed struct {
	ARN       string  `json:"ruleArn"`
	Name      string  `json:"ruleName"`
	Pattern   string  `json:"topicPattern"`
	CreatedAt float64 `json:"createdAt"`
	Disabled  bool    `json:"ruleDisabled"`
}

// pageMax is the most rules of one page.
const pageMax = 10_000

// List gives a page of rules, sorted by name; next is empty at the end.
func (e *Engine) List(q Query) (page []Listed, next string, err error) {
	after, err := base64.StdEncoding.DecodeString(q.Token)
	if err != nil || q.Max < 0 || q.Max > pageMax {
		return nil, "", iot.Errorf(iot.InvalidRequest, "list rules: want maxResults of 1 to %d and a nextToken of this gateway", pageMax)
	}
	if q.Max == 0 {
		q.Max = pageMax
	}
	page = []Listed{}
	for _, r := range e.table.Load().sorted {
		p := r.program.Load()
		if r.name <= string(after) && len(after) > 0 || !q.picks(p) {
			continue
		}
		if len(page) == q.Max {
			return page, base64.StdEncoding.EncodeToString([]byte(page[len(page)-1].Name)), nil
		}
		page = append(page, Listed{e.arn(r.name), r.name, p.pattern(), seconds(r.created), p.rule.Disabled})
	}
	return page, "", nil
}

func (q Query) picks(p *program) bool {
	if q.Disabled != nil && *q.Disabled != p.rule.Disabled {
		return false
	}
	if q.Topic == "" || p.pattern() == q.Topic {
		return true
	}
	return p.pattern() != "" && topic.Match(topic.Filter(p.pattern()), topic.Name(q.Topic))
}

// pattern is the topic filter of FROM.
func (p *program) pattern() string {
	if p.statement == nil {
		return ""
	}
	filter, _ := p.statement.Filter()
	return string(filter)
}

// Rules are the documents of all rules, sorted by name.
func (e *Engine) Rules() []Rule {
	var all []Rule
	for _, r := range e.table.Load().sorted {
		all = append(all, r.program.Load().rule)
	}
	return all
}
