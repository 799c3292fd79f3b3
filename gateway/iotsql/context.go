package iotsql

import (
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql/pattern"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// Lookups are the functions that look outside the message. A nil function and
// a false answer give Undefined; whoever hands them in counts and logs
// failures. role is the role as the statement names it, empty for the rule's
// own. Texts that come back as JSON documents are parsed here.
type Lookups struct {
	// Shadow is get_thing_shadow; shadow is empty for the classic one.
	Shadow func(thing, shadow, role string) (document []byte, ok bool)
	// Registry is get_registry_data; api is DescribeThing or
	// ListThingGroupsForThing.
	Registry func(api, thing, role string) (document []byte, ok bool)
	// Lambda is aws_lambda; event is the JSON text of the payload.
	Lambda func(arn string, event []byte) (result []byte, ok bool)
	// Secret is get_secret; form is SecretString or SecretBinary.
	Secret func(id, form, role string) (secret string, ok bool)
	// Row is get_dynamodb; sort key and value are empty when not given.
	Row func(table, key, keyValue, sort, sortValue, role string) (row []byte, ok bool)
}

// Context is what a statement sees of one message, and memory that it reuses
// from message to message. It belongs to one goroutine; keeping one per rule
// gives evaluations without allocation and the rule's cache of patterns that
// come from messages (64 of each kind). The exported fields may be changed
// between evaluations.
type Context struct {
	Message iot.Message
	// Document is the payload's document when several rules share the
	// message; nil makes each Eval parse Message.Payload itself.
	Document *Document
	// NowMS is the wall clock in milliseconds since the Unix epoch: the
	// arrival of the message, or when the timer that fired was due.
	NowMS int64
	// UpMS is a steady clock in milliseconds, of any origin, which never
	// steps; only a State reads it.
	UpMS    int64
	Rule    string
	Account string // accountid(); empty is 000000000000
	Lookups Lookups
	// NewUUID gives a UUID version 4, Random a number in [0,1); nil functions
	// make newuuid() and rand() Undefined.
	NewUUID func() string
	Random  func() float64

	scope    scope
	own      Document
	patterns pattern.Memory
}

// TakeTimeouts is how many regular expressions were given up after 5 ms since
// the last call; their functions became Undefined.
func (c *Context) TakeTimeouts() (n uint64) {
	n, c.patterns.Timeouts = c.patterns.Timeouts, 0
	return n
}

// scope is what compiled expressions see.
type scope struct {
	ctx   *Context
	doc   *Document
	of    *Statement    // whose variables vars are
	elem  value.Value   // of the innermost nested select
	vars  []value.Value // of SET
	stack []value.Value // arguments of the calls under way
	// seen are the values of the stateful functions, one per call site.
	seen []value.Value
	// sums are the values of the aggregates, one per call site.
	sums       []value.Value
	start, end int64 // of the window
}

// begin prepares c's scope for an evaluation of s.
func (c *Context) begin(s *Statement) *scope {
	sc := &c.scope
	sc.ctx, sc.of, sc.doc = c, s, c.Document
	if sc.doc == nil {
		c.own.Reset(c.Message.Payload)
		sc.doc = &c.own
	}
	sc.elem = value.Value{}
	sc.vars, sc.stack = sc.vars[:0], sc.stack[:0]
	return sc
}
