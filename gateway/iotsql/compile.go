package iotsql

import (
	"fmt"

	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// eval is a compiled expression.
type eval func(*scope) value.Value

// compiled is an expression ready to run; a constant one needs no scope.
type compiled struct {
	eval     eval
	constant bool
}

func constantOf(v value.Value) compiled {
	return compiled{func(*scope) value.Value { return v }, true}
}

// fold evaluates e now, if all of its operands are constant.
func fold(e eval, operands ...compiled) compiled {
	for _, o := range operands {
		if !o.constant {
			return compiled{e, false}
		}
	}
	return constantOf(e(&scope{ctx: &Context{}}))
}

// region is the part of a statement that is being compiled; it decides which
// functions may stand there.
type region uint8

const (
	inSet region = iota
	inWhere
	inGroup
	inSelect
	inHaving
	inEventTime
	inTemplate
	inErrorTemplate
)

// compiler turns syntax trees of one statement into closures.
type compiler struct {
	text     string
	dialect  dialect
	vars     map[string]int
	region   region
	nested   bool // inside a nested select
	inside   bool // inside the argument of an aggregate
	windowed bool
	// remembering is set when an expression depends on a function with a
	// memory; remembers says so of each variable.
	remembering bool
	remembers   []bool

	aggregates []aggregateSite
	stateful   []statefulSite
	external   int // calls of external functions so far
	rows       int // calls of get_dynamodb so far
	warnings   []Warning
}

func (c *compiler) errorAt(x expression, tok, expected string) error {
	return errorAt(c.text, x.position(), tok, expected)
}

func (c *compiler) warn(x expression, format string, args ...any) {
	line, column := place(c.text, x.position())
	c.warnings = append(c.warnings, Warning{line, column, fmt.Sprintf(format, args...)})
}

// expression compiles x.
func (c *compiler) expression(x expression) (compiled, error) {
	switch x := x.(type) {
	case *literal:
		return constantOf(x.value), nil
	case *name, *member:
		return c.path(x)
	case *star:
		return c.document(), nil
	case *variable:
		return c.variable(x)
	case *element:
		return c.two(x.of, x.index, elementAt)
	case *memberStar:
		return compiled{}, c.errorAt(x, ".*", "`.*` only as a select item of its own")
	case *call:
		return c.call(x)
	case *unary:
		return c.unary(x)
	case *binary:
		return c.binary(x)
	case *subselect:
		return c.subselect(x)
	}
	return c.compound(x)
}

// compound compiles the forms that have any number of operands.
func (c *compiler) compound(x expression) (compiled, error) {
	switch x := x.(type) {
	case *inList:
		return c.inList(x)
	case *between:
		return c.between(x)
	case *isTest:
		return c.isTest(x)
	case *caseOf:
		return c.caseOf(x)
	case *cast:
		return c.cast(x)
	case *arrayOf:
		return c.arrayOf(x)
	case *objectOf:
		return c.objectOf(x)
	}
	panic(fmt.Sprintf("iotsql: no compiler for %T", x))
}

func (c *compiler) all(xs []expression) ([]compiled, error) {
	list := make([]compiled, len(xs))
	for i, x := range xs {
		var err error
		if list[i], err = c.expression(x); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// two compiles an operation of two operands.
func (c *compiler) two(a, b expression, op func(a, b value.Value) value.Value) (compiled, error) {
	x, err := c.expression(a)
	if err != nil {
		return compiled{}, err
	}
	y, err := c.expression(b)
	if err != nil {
		return compiled{}, err
	}
	return fold(func(sc *scope) value.Value { return op(x.eval(sc), y.eval(sc)) }, x, y), nil
}

// path compiles a name and the constant steps behind it into one look-up.
func (c *compiler) path(x expression) (compiled, error) {
	var steps []string
	for {
		m, ok := x.(*member)
		if !ok {
			break
		}
		steps = append(steps, m.name)
		x = m.of
	}
	root, bare := x.(*name)
	if bare {
		steps = append(steps, root.name)
	}
	for i, j := 0, len(steps)-1; i < j; i, j = i+1, j-1 {
		steps[i], steps[j] = steps[j], steps[i]
	}
	modern := c.dialect.modern
	switch {
	case bare && !c.nested:
		return compiled{func(sc *scope) value.Value { return sc.doc.find(steps, modern) }, false}, nil
	case bare:
		return compiled{func(sc *scope) value.Value { return walk(sc.elem, steps) }, false}, nil
	}
	of, err := c.expression(x)
	if err != nil {
		return compiled{}, err
	}
	return fold(func(sc *scope) value.Value { return walk(of.eval(sc), steps) }, of), nil
}

func walk(v value.Value, steps []string) value.Value {
	for _, key := range steps {
		v = v.Get(key)
	}
	return v
}

func (c *compiler) document() compiled {
	if c.nested {
		return compiled{func(sc *scope) value.Value { return sc.elem }, false}
	}
	modern := c.dialect.modern
	return compiled{func(sc *scope) value.Value { return sc.doc.root(modern) }, false}
}

func (c *compiler) variable(x *variable) (compiled, error) {
	i, ok := c.vars[x.name]
	if !ok {
		return compiled{}, c.errorAt(x, "@"+x.name, "a variable that SET has defined before")
	}
	if i < len(c.remembers) && c.remembers[i] {
		c.remembering = true
	}
	return compiled{func(sc *scope) value.Value { return sc.vars[i] }, false}, nil
}

func (c *compiler) unary(x *unary) (compiled, error) {
	of, err := c.expression(x.x)
	op := unaries[x.op]
	return fold(func(sc *scope) value.Value { return op(of.eval(sc)) }, of), err
}

func (c *compiler) binary(x *binary) (compiled, error) {
	switch x.op {
	case "AND", "OR":
		return c.logic(x)
	case "LIKE":
		return c.like(x)
	}
	return c.two(x.left, x.right, binaries[x.op])
}

// logic compiles AND and OR: a left side that decides spares the right one
// (stateful functions have been evaluated before, wherever they stand).
func (c *compiler) logic(x *binary) (compiled, error) {
	left, err := c.expression(x.left)
	if err != nil {
		return compiled{}, err
	}
	right, err := c.expression(x.right)
	decides := x.op == "OR"
	return fold(func(sc *scope) value.Value {
		a, okA := left.eval(sc).Bool()
		if okA && a == decides {
			return value.Bool(decides)
		}
		b, okB := right.eval(sc).Bool()
		if okB && b == decides {
			return value.Bool(decides)
		}
		if okA && okB {
			return value.Bool(!decides)
		}
		return value.Value{}
	}, left, right), err
}

func (c *compiler) like(x *binary) (compiled, error) {
	return c.two(x.left, x.right, func(a, b value.Value) value.Value {
		text, okA := a.AsText()
		pattern, okB := b.AsText()
		if !okA || !okB {
			return value.Value{}
		}
		return value.Bool(like(text, pattern))
	})
}

func (c *compiler) inList(x *inList) (compiled, error) {
	of, err := c.expression(x.x)
	if err != nil {
		return compiled{}, err
	}
	list, err := c.all(x.list)
	return fold(func(sc *scope) value.Value {
		v := of.eval(sc)
		if v.IsUndefined() {
			return value.Value{}
		}
		for _, item := range list {
			if value.Equal(v, item.eval(sc)) {
				return value.Bool(true)
			}
		}
		return value.Bool(false)
	}, append(list, of)...), err
}

func (c *compiler) between(x *between) (compiled, error) {
	parts, err := c.all([]expression{x.x, x.low, x.high})
	if err != nil {
		return compiled{}, err
	}
	return fold(func(sc *scope) value.Value {
		v := parts[0].eval(sc)
		low, high := compare(">=", v, parts[1].eval(sc)), compare("<=", v, parts[2].eval(sc))
		return both(low, high)
	}, parts...), nil
}

// both is a AND b of two values that are Boolean or Undefined.
func both(a, b value.Value) value.Value {
	switch {
	case a.Kind() == value.Boolean && !a.IsTrue():
		return a
	case b.Kind() == value.Boolean && !b.IsTrue(), a.IsTrue():
		return b
	}
	return value.Value{}
}

func (c *compiler) isTest(x *isTest) (compiled, error) {
	of, err := c.expression(x.x)
	want := value.Null
	if x.undefined {
		want = value.Undefined
	}
	return fold(func(sc *scope) value.Value { return value.Bool(of.eval(sc).Kind() == want) }, of), err
}

func (c *compiler) caseOf(x *caseOf) (compiled, error) {
	parts := make([]expression, 0, 2*len(x.whens))
	for _, w := range x.whens {
		parts = append(parts, w.match, w.then)
	}
	whens, err := c.all(parts)
	if err != nil {
		return compiled{}, err
	}
	orElse := constantOf(value.Value{})
	if x.orElse != nil {
		if orElse, err = c.expression(x.orElse); err != nil {
			return compiled{}, err
		}
	}
	operands := append(whens[:len(whens):len(whens)], orElse)
	if x.operand == nil {
		return fold(searchedCase(whens, orElse), operands...), nil
	}
	operand, err := c.expression(x.operand)
	return fold(simpleCase(operand, whens, orElse), append(operands, operand)...), err
}

func simpleCase(operand compiled, whens []compiled, orElse compiled) eval {
	return func(sc *scope) value.Value {
		v := operand.eval(sc)
		if v.IsUndefined() {
			return v
		}
		for i := 0; i < len(whens); i += 2 {
			if value.Equal(v, whens[i].eval(sc)) {
				return whens[i+1].eval(sc)
			}
		}
		return orElse.eval(sc)
	}
}

func searchedCase(whens []compiled, orElse compiled) eval {
	return func(sc *scope) value.Value {
		for i := 0; i < len(whens); i += 2 {
			if is, _ := whens[i].eval(sc).Bool(); is {
				return whens[i+1].eval(sc)
			}
		}
		return orElse.eval(sc)
	}
}

func (c *compiler) cast(x *cast) (compiled, error) {
	of, err := c.expression(x.x)
	to, modern := casts[x.kind], c.dialect.modern
	return fold(func(sc *scope) value.Value { return to(of.eval(sc), modern) }, of), err
}

func (c *compiler) arrayOf(x *arrayOf) (compiled, error) {
	items, err := c.all(x.items)
	return fold(func(sc *scope) value.Value {
		list := make([]value.Value, 0, len(items))
		for _, item := range items {
			if v := item.eval(sc); !v.IsUndefined() {
				list = append(list, v)
			}
		}
		return value.List(list)
	}, items...), err
}

func (c *compiler) objectOf(x *objectOf) (compiled, error) {
	values, err := c.all(x.values)
	keys := x.keys
	return fold(func(sc *scope) value.Value {
		b := value.NewBuilder(len(keys))
		for i, key := range keys {
			b.Set(key, values[i].eval(sc))
		}
		return b.Value()
	}, values...), err
}
