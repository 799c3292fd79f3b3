package policy

import (
	"strings"
	"time"
)

// condition is one operator on one key: `"StringLike": {"iot:ClientId": [...]}`.
// All conditions of a statement must hold (security.md 1.4).
type condition struct {
	key      string // as written; attribute names keep their case
	op       operator
	ifExists bool
	set      setKind
	values   []template
}

// setKind says how several values of a key count.
type setKind byte

const (
	single setKind = iota
	forAll         // ForAllValues: every value of the request, also none
	forAny         // ForAnyValue: at least one
)

// operator compares one value of the request with one of the document.
type operator struct {
	name    string // without Not
	negated bool
	// like is set when a wildcard in the document's value is one.
	like bool
}

// operators by name; the case counts.
var operators = map[string]operator{
	"StringEquals":              {name: opString},
	"StringNotEquals":           {name: opString, negated: true},
	"StringEqualsIgnoreCase":    {name: opFold},
	"StringNotEqualsIgnoreCase": {name: opFold, negated: true},
	"StringLike":                {name: opLike, like: true},
	"StringNotLike":             {name: opLike, like: true, negated: true},
	"NumericEquals":             {name: opNumEq},
	"NumericNotEquals":          {name: opNumEq, negated: true},
	"NumericLessThan":           {name: opNumLT},
	"NumericLessThanEquals":     {name: opNumLE},
	"NumericGreaterThan":        {name: opNumGT},
	"NumericGreaterThanEquals":  {name: opNumGE},
	"DateEquals":                {name: opDateEq},
	"DateNotEquals":             {name: opDateEq, negated: true},
	"DateLessThan":              {name: opDateLT},
	"DateLessThanEquals":        {name: opDateLE},
	"DateGreaterThan":           {name: opDateGT},
	"DateGreaterThanEquals":     {name: opDateGE},
	"Bool":                      {name: opBool},
	"IpAddress":                 {name: opIP},
	"NotIpAddress":              {name: opIP, negated: true},
	"ArnEquals":                 {name: opARN, like: true},
	"ArnLike":                   {name: opARN, like: true},
	"ArnNotEquals":              {name: opARN, like: true, negated: true},
	"ArnNotLike":                {name: opARN, like: true, negated: true},
	"Null":                      {name: opNull},
}

func readConditions(raw []byte, variables bool) ([]condition, error) {
	byOperator, err := readObject(raw, "Condition")
	if err != nil {
		return nil, err
	}
	var all []condition
	for _, m := range byOperator {
		form, err := parseOperator(m.name)
		if err != nil {
			return nil, err
		}
		keys, err := readObject(m.raw, m.name)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			c, err := readCondition(form, k, variables)
			if err != nil {
				return nil, err
			}
			all = append(all, c)
		}
	}
	return all, nil
}

// parseOperator reads [ForAllValues:|ForAnyValue:]Name[IfExists].
func parseOperator(text string) (condition, error) {
	var c condition
	name := text
	if rest, ok := strings.CutPrefix(name, "ForAllValues:"); ok {
		c.set, name = forAll, rest
	} else if rest, ok := strings.CutPrefix(name, "ForAnyValue:"); ok {
		c.set, name = forAny, rest
	}
	if rest, ok := strings.CutSuffix(name, "IfExists"); ok {
		c.ifExists, name = true, rest
	}
	op, known := operators[name]
	if !known || op.name == opNull && name != text {
		return condition{}, malformed("condition operator %q is unknown", text)
	}
	c.op = op
	return c, nil
}

func readCondition(form condition, m member, variables bool) (condition, error) {
	texts, err := readScalars(m.raw, "condition key "+m.name)
	if err != nil {
		return condition{}, err
	}
	form.key = m.name
	for _, text := range texts {
		t, err := parseTemplate(text, variables)
		if err != nil {
			return condition{}, err
		}
		form.values = append(form.values, t)
	}
	return form, nil
}

// check is a condition with its variables filled in: what the document's values
// accept. It holds no value that could not be resolved or read.
type check struct {
	condition
	accept []func(value string) bool
}

// bind fills in the variables of c.
func (c condition) bind(conn *Connection, s Scope, missing func(string)) check {
	k := check{condition: c}
	for _, v := range c.values {
		if f := c.op.acceptor(v, conn, s, missing); f != nil {
			k.accept = append(k.accept, f)
		}
	}
	return k
}

// dynamic reports whether the key's value depends on the request.
func (c condition) dynamic() bool {
	switch strings.ToLower(c.key) {
	case keyCurrentTime, keyConnectAttributes, keyLastWillTopic:
		return true
	}
	return false
}

func (c condition) timed() bool { return strings.EqualFold(c.key, keyCurrentTime) }

// holds decides the condition for the values of its key (security.md 1.4, the
// table of missing keys included).
func (k *check) holds(values []string, known bool) bool {
	if k.op.name == opNull {
		return k.null(known)
	}
	if !known {
		switch {
		case k.ifExists || k.set == forAll:
			return true
		case k.set == forAny:
			return false
		}
		return k.op.negated
	}
	if k.set == forAny || k.set == single && !k.op.negated {
		return k.some(values)
	}
	return k.every(values)
}

// null is true when one of the document's values says what is the case: "true"
// for a key that is missing.
func (k *check) null(known bool) bool {
	want := "true"
	if known {
		want = "false"
	}
	return k.accepts(want)
}

func (k *check) some(values []string) bool {
	for _, v := range values {
		if k.accepts(v) != k.op.negated {
			return true
		}
	}
	return false
}

func (k *check) every(values []string) bool {
	for _, v := range values {
		if k.accepts(v) == k.op.negated {
			return false
		}
	}
	return true
}

func (k *check) accepts(value string) bool {
	for _, f := range k.accept {
		if f(value) {
			return true
		}
	}
	return false
}

// lookup gives the values of a key that depends on the request.
func (r *Request) lookup(key string, conn *Connection, s Scope, connecting bool) ([]string, bool) {
	switch strings.ToLower(key) {
	case keyCurrentTime:
		if r.Now.IsZero() {
			return nil, false
		}
		return []string{r.Now.UTC().Format(time.RFC3339Nano)}, true
	case keyConnectAttributes:
		return conn.ConnectAttributes, connecting && len(conn.ConnectAttributes) > 0
	case keyLastWillTopic:
		return []string{s.ARN("topic/" + conn.LastWillTopic)}, connecting && conn.LastWillTopic != ""
	}
	return conn.values(key)
}
