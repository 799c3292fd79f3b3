// Package iotsql is the SQL of AWS IoT rules: it parses, checks and runs
// statements and substitution templates (rules.md sections 2 to 7 and 11).
//
// What it promises. Everything that can be found wrong is found by Parse and
// ParseTemplate, as an *Error with line, column, token and expectation; after
// that nothing fails but the combination of `*` with further items on a
// payload that is no object. Numbers are exact to 34 digits. A Statement and a
// Template never change and may be shared by goroutines; a Context, a Document
// and a State belong to one goroutine each. A message whose WHERE is false
// costs no allocation when its Context is reused. Nothing blocks except the
// functions a Context hands in, and nothing here reads a clock: time is
// Context.NowMS and Context.UpMS.
//
// Statements with a memory (windows, FOR, GROUP BY, prev, changed …) run in a
// State, which also runs all others; Eval is the short way for those without.
// Limits: 256 KiB of text, 200 levels of nesting, 10 000 groups and 10 000
// remembered messages per window; at a limit the oldest goes and is counted.
package iotsql

import (
	"strconv"

	"github.com/tidehold/tidehold/gateway/iotsql/value"
	"github.com/tidehold/tidehold/gateway/topic"
)

// The versions of the SQL.
const (
	Version2015 = "2015-10-08"
	Version2016 = "2016-03-23"
	VersionBeta = "beta"
)

// Statement is a checked rule statement.
type Statement struct {
	dialect  dialect
	filter   topic.Filter
	hasFrom  bool
	schedule string
	vars     map[string]int
	warnings []Warning

	sets     []set
	where    eval // nil: always
	selected selection

	// What a State needs.
	group      []eval
	hold       int64 // FOR in milliseconds, -1 without
	window     *windowPlan
	having     eval // nil: always
	aggregates []aggregateSite
	stateful   []statefulSite
	beforeSets []int // per SET expression: the number of stateful sites before it
	afterSets  int   // stateful sites in SET
	beforeHave int   // stateful sites outside HAVING
}

// set is one compiled assignment. A remembering one depends on stateful
// functions and is evaluated once the group is known.
type set struct {
	eval        eval
	remembering bool
}

// Parse reads a statement. version is 2015-10-08, 2016-03-23 or beta; empty is
// the first, with a warning. Every refusal is an *Error.
func Parse(sql, version string) (*Statement, error) {
	d, err := dialectOf(version)
	if err != nil {
		return nil, err
	}
	p, err := newParser(sql, d)
	if err != nil {
		return nil, err
	}
	sets, q, err := p.statement()
	if err != nil {
		return nil, err
	}
	s := &Statement{dialect: d, vars: make(map[string]int), hold: q.hold, hasFrom: q.hasFrom, schedule: q.schedule}
	c := &compiler{text: sql, dialect: d, vars: s.vars, windowed: q.window != nil}
	if version == "" {
		c.warnings = append(c.warnings, Warning{1, 1, "awsIotSqlVersion is missing; " + Version2015 + " is assumed"})
	}
	if err := s.compile(c, sets, q); err != nil {
		return nil, err
	}
	s.aggregates, s.stateful, s.warnings = c.aggregates, c.stateful, c.warnings
	return s, nil
}

func dialectOf(version string) (dialect, error) {
	switch version {
	case "", Version2015:
		return dialect{Version2015, false}, nil
	case Version2016, VersionBeta:
		return dialect{version, true}, nil
	}
	return dialect{}, &Error{Line: 1, Column: 1, Token: version, Expected: "awsIotSqlVersion 2015-10-08, 2016-03-23 or beta"}
}

func (s *Statement) compile(c *compiler, sets []assignment, q *query) error {
	if err := s.compileSource(c, q); err != nil {
		return err
	}
	if err := s.compileSets(c, sets); err != nil {
		return err
	}
	if err := s.compileGroup(c, q); err != nil {
		return err
	}
	c.region = inWhere
	var err error
	if s.where, err = c.optional(q.where); err != nil {
		return err
	}
	c.region = inSelect
	if s.selected, err = c.selection(q); err != nil {
		return err
	}
	s.beforeHave = len(c.stateful)
	c.region = inHaving
	if s.having, err = c.optional(q.having); err != nil {
		return err
	}
	s.window, err = c.windowPlan(q.window)
	return err
}

func (s *Statement) compileSource(c *compiler, q *query) error {
	switch {
	case q.hasFrom:
		f, err := topic.ParseFilter(q.filter)
		if err != nil {
			return errorAt(c.text, q.filterAt, strconv.Quote(q.filter), "a topic filter: "+err.Error())
		}
		s.filter = f
	case q.schedule != "":
		if err := checkSchedule(q.schedule); err != nil {
			return errorAt(c.text, q.filterAt, strconv.Quote(q.schedule), err.Error())
		}
	}
	return nil
}

func (s *Statement) compileSets(c *compiler, sets []assignment) error {
	c.region = inSet
	for _, a := range sets {
		if _, known := c.vars[a.name]; known {
			return errorAt(c.text, a.at, "@"+a.name, "a variable that is not set yet")
		}
		before := len(c.stateful)
		c.remembering = false
		e, err := c.expression(a.x)
		if err != nil {
			return err
		}
		remembering := c.remembering || len(c.stateful) > before
		c.vars[a.name] = len(s.sets)
		c.remembers = append(c.remembers, remembering)
		s.sets = append(s.sets, set{e.eval, remembering})
		s.beforeSets = append(s.beforeSets, before)
	}
	s.afterSets = len(c.stateful)
	return nil
}

func (s *Statement) compileGroup(c *compiler, q *query) error {
	c.region = inGroup
	for _, x := range q.group {
		c.remembering = false
		e, err := c.expression(x)
		if err != nil {
			return err
		}
		if c.remembering {
			return c.errorAt(x, "GROUP BY", "an expression that does not depend on functions with a memory")
		}
		s.group = append(s.group, e.eval)
	}
	return nil
}

// optional compiles x, if there is one.
func (c *compiler) optional(x expression) (eval, error) {
	if x == nil {
		return nil, nil
	}
	e, err := c.expression(x)
	return e.eval, err
}

// Filter is the topic filter of FROM; false when the statement has none.
func (s *Statement) Filter() (topic.Filter, bool) { return s.filter, s.hasFrom }

// Schedule is the text of FROM SCHEDULE; false when the statement has none.
func (s *Statement) Schedule() (string, bool) { return s.schedule, s.schedule != "" }

// Version is the version of the SQL: 2015-10-08, 2016-03-23 or beta.
func (s *Statement) Version() string { return s.dialect.version }

// Warnings are doubts about the statement, in the order of its text.
func (s *Statement) Warnings() []Warning { return s.warnings }

// Remembers reports whether the statement has a memory and needs a State.
func (s *Statement) Remembers() bool {
	return len(s.stateful) > 0 || s.window != nil || s.hold >= 0
}

// Output is the result of a statement for one message.
type Output struct {
	// Fired is set when WHERE is true.
	Fired bool
	// Payload is the result as JSON text; empty for VALUE of Undefined.
	Payload []byte
	// IsRaw is set when Payload is the message's payload, untouched.
	IsRaw bool
	// Value is the result as a value; Undefined when IsRaw is set.
	Value value.Value
}

// Eval runs s on one message. The error means that `*` stands beside other
// items and the payload is no object. Statements with a memory see each
// message as their first; use a State for them.
func (s *Statement) Eval(ctx *Context) (Output, error) {
	if s.Remembers() {
		return s.evalOnce(ctx)
	}
	sc := ctx.begin(s)
	for i := range s.sets {
		sc.vars = append(sc.vars, s.sets[i].eval(sc))
	}
	if s.where != nil {
		if is, _ := s.where(sc).Bool(); !is {
			return Output{}, nil
		}
	}
	return s.selected.output(sc)
}

// evalOnce runs s in a State of its own and gives what the message fires.
func (s *Statement) evalOnce(ctx *Context) (out Output, err error) {
	s.NewState().Handle(ctx, func(o Output, e error) { out, err = o, e })
	return out, err
}
