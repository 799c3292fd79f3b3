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
	"github.com/tidehold/tidehold/gateway/iotsql/schedule"
	"github.com/tidehold/tidehold/gateway/iotsql/sift"
	"github.com/tidehold/tidehold/gateway/iotsql/syntax"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
	"github.com/tidehold/tidehold/gateway/topic"
)

// The versions of the SQL.
const (
	Version2015 = "2015-10-08"
	Version2016 = "2016-03-23"
	VersionBeta = "beta"
)

// ErrorCode is the name of an Error on the wire (CreateTopicRule).
const ErrorCode = "SqlParseException"

// Error says why a statement or a template was refused, and where.
type Error = syntax.Error

// Warning is a doubt about a statement that was accepted.
type Warning struct {
	Line, Column int
	Message      string
}

// Statement is a checked rule statement.
type Statement struct {
	text     string
	dialect  syntax.Dialect
	filter   topic.Filter
	hasFrom  bool
	schedule string
	runs     schedule.Schedule
	vars     map[string]int
	warnings []Warning

	sets     []set
	where    eval // nil: always
	sieve    *sift.Sieve
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
	sets, q, err := syntax.Parse(sql, d)
	if err != nil {
		return nil, err
	}
	s := &Statement{text: sql, dialect: d, vars: make(map[string]int), hold: q.Hold, hasFrom: q.HasFrom, schedule: q.Schedule}
	c := &compiler{text: sql, dialect: d, vars: s.vars, windowed: q.Window != nil}
	if version == "" {
		c.warnings = append(c.warnings, Warning{1, 1, "awsIotSqlVersion is missing; " + Version2015 + " is assumed"})
	}
	if err := s.compile(c, sets, q); err != nil {
		return nil, err
	}
	s.aggregates, s.stateful, s.warnings = c.aggregates, c.stateful, c.warnings
	return s, nil
}

func dialectOf(version string) (syntax.Dialect, error) {
	switch version {
	case "", Version2015:
		return syntax.Dialect{Version: Version2015}, nil
	case Version2016, VersionBeta:
		return syntax.Dialect{Version: version, Modern: true}, nil
	}
	return syntax.Dialect{}, &Error{Line: 1, Column: 1, Token: version, Expected: "awsIotSqlVersion 2015-10-08, 2016-03-23 or beta"}
}

func (s *Statement) compile(c *compiler, sets []syntax.Assignment, q *syntax.Query) error {
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
	if s.where, err = c.optional(q.Where); err != nil {
		return err
	}
	if c.external == nil { // a call in SET may have an effect
		s.sieve = sift.Of(q.Where, c.dialect.Modern)
	}
	c.region = inSelect
	if s.selected, err = c.selection(q); err != nil {
		return err
	}
	s.beforeHave = len(c.stateful)
	c.region = inHaving
	if s.having, err = c.optional(q.Having); err != nil {
		return err
	}
	s.window, err = c.windowPlan(q.Window)
	return err
}

func (s *Statement) compileSource(c *compiler, q *syntax.Query) error {
	switch {
	case q.HasFrom:
		f, err := topic.ParseFilter(q.Filter)
		if err != nil {
			return syntax.ErrorAt(c.text, q.FilterAt, q.Filter, "a topic filter: "+err.Error())
		}
		s.filter = f
	case q.Schedule != "":
		var err error
		if s.runs, err = schedule.Parse(q.Schedule); err != nil {
			return syntax.ErrorAt(c.text, q.FilterAt, q.Schedule, err.Error())
		}
	}
	return nil
}

func (s *Statement) compileSets(c *compiler, sets []syntax.Assignment) error {
	c.region = inSet
	for _, a := range sets {
		if _, known := c.vars[a.Name]; known {
			return syntax.ErrorAt(c.text, a.At, "@"+a.Name, "a variable that is not set yet")
		}
		before := len(c.stateful)
		c.remembering = false
		e, err := c.expression(a.X)
		if err != nil {
			return err
		}
		remembering := c.remembering || len(c.stateful) > before
		c.vars[a.Name] = len(s.sets)
		c.remembers = append(c.remembers, remembering)
		s.sets = append(s.sets, set{e.eval, remembering})
		s.beforeSets = append(s.beforeSets, before)
	}
	s.afterSets = len(c.stateful)
	return nil
}

func (s *Statement) compileGroup(c *compiler, q *syntax.Query) error {
	c.region = inGroup
	for _, x := range q.Group {
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
func (c *compiler) optional(x syntax.Expression) (eval, error) {
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
func (s *Statement) Version() string { return s.dialect.Version }

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
	if s.sieve != nil && sc.doc.sifts() && s.sieve.Rejects(sc.doc.text) {
		return Output{}, nil
	}
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

// Rejects reports, without reading it as JSON, that s gives nothing for payload.
func (s *Statement) Rejects(payload []byte) bool {
	return s.sieve != nil && !s.Remembers() && s.sieve.Rejects(textOf(payload))
}

// evalOnce runs s in a State of its own and gives what the message fires.
func (s *Statement) evalOnce(ctx *Context) (out Output, err error) {
	s.NewState().Handle(ctx, func(o Output, e error) { out, err = o, e })
	return out, err
}
