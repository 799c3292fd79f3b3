package iotsql

import (
	"fmt"

	"github.com/tidehold/tidehold/gateway/iotsql/library"
	"github.com/tidehold/tidehold/gateway/iotsql/syntax"
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
	dialect  syntax.Dialect
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
	external   *syntax.Call // the last call of an external function
	rows       int          // calls of get_dynamodb so far
	warnings   []Warning
}

func (c *compiler) errorAt(x syntax.Expression, tok, expected string) error {
	return syntax.ErrorAt(c.text, x.Position(), tok, expected)
}

func (c *compiler) warn(x syntax.Expression, format string, args ...any) {
	line, column := syntax.Place(c.text, x.Position())
	c.warnings = append(c.warnings, Warning{line, column, fmt.Sprintf(format, args...)})
}

// expression compiles x.
func (c *compiler) expression(x syntax.Expression) (compiled, error) {
	switch x := x.(type) {
	case *syntax.Literal:
		return constantOf(x.Value), nil
	case *syntax.Name, *syntax.Member:
		return c.path(x)
	case *syntax.Star:
		return c.document(), nil
	case *syntax.Variable:
		return c.variable(x)
	case *syntax.Element:
		return c.two(x.Of, x.Index, library.ElementAt)
	case *syntax.MemberStar:
		return compiled{}, c.errorAt(x, ".*", "`.*` only as a select item of its own")
	case *syntax.Call:
		return c.call(x)
	case *syntax.Unary:
		return c.unary(x)
	case *syntax.Binary:
		return c.binary(x)
	case *syntax.Subselect:
		return c.subselect(x)
	}
	return c.compound(x)
}

// compound compiles the forms that have any number of operands.
func (c *compiler) compound(x syntax.Expression) (compiled, error) {
	switch x := x.(type) {
	case *syntax.InList:
		return c.inList(x)
	case *syntax.Between:
		return c.between(x)
	case *syntax.IsTest:
		return c.isTest(x)
	case *syntax.Case:
		return c.caseOf(x)
	case *syntax.Cast:
		return c.cast(x)
	case *syntax.ArrayOf:
		return c.arrayOf(x)
	case *syntax.ObjectOf:
		return c.objectOf(x)
	}
	panic(fmt.Sprintf("iotsql: no compiler for %T", x))
}

func (c *compiler) all(xs []syntax.Expression) ([]compiled, error) {
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
func (c *compiler) two(a, b syntax.Expression, op func(a, b value.Value) value.Value) (compiled, error) {
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
func (c *compiler) path(x syntax.Expression) (compiled, error) {
	var steps []string
	for {
		m, ok := x.(*syntax.Member)
		if !ok {
			break
		}
		steps = append(steps, m.Name)
		x = m.Of
	}
	root, bare := x.(*syntax.Name)
	if bare {
		steps = append(steps, root.Name)
	}
	for i, j := 0, len(steps)-1; i < j; i, j = i+1, j-1 {
		steps[i], steps[j] = steps[j], steps[i]
	}
	modern := c.dialect.Modern
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
	modern := c.dialect.Modern
	return compiled{func(sc *scope) value.Value { return sc.doc.root(modern) }, false}
}

func (c *compiler) variable(x *syntax.Variable) (compiled, error) {
	i, ok := c.vars[x.Name]
	if !ok {
		return compiled{}, c.errorAt(x, "@"+x.Name, "a variable that SET has defined before")
	}
	if i < len(c.remembers) && c.remembers[i] {
		c.remembering = true
	}
	return compiled{func(sc *scope) value.Value { return sc.vars[i] }, false}, nil
}

func (c *compiler) unary(x *syntax.Unary) (compiled, error) {
	of, err := c.expression(x.X)
	op := library.Unaries[x.Op]
	return fold(func(sc *scope) value.Value { return op(of.eval(sc)) }, of), err
}

func (c *compiler) binary(x *syntax.Binary) (compiled, error) {
	if x.Op == "AND" || x.Op == "OR" {
		return c.logic(x)
	}
	return c.two(x.Left, x.Right, library.Binaries[x.Op])
}

// logic compiles AND and OR: a left side that decides spares the right one
// (stateful functions have been evaluated before, wherever they stand).
func (c *compiler) logic(x *syntax.Binary) (compiled, error) {
	left, err := c.expression(x.Left)
	if err != nil {
		return compiled{}, err
	}
	right, err := c.expression(x.Right)
	decides := x.Op == "OR"
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

func (c *compiler) inList(x *syntax.InList) (compiled, error) {
	of, err := c.expression(x.X)
	if err != nil {
		return compiled{}, err
	}
	list, err := c.all(x.List)
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

func (c *compiler) between(x *syntax.Between) (compiled, error) {
	parts, err := c.all([]syntax.Expression{x.X, x.Low, x.High})
	if err != nil {
		return compiled{}, err
	}
	return fold(func(sc *scope) value.Value {
		v := parts[0].eval(sc)
		low, high := library.Compare(">=", v, parts[1].eval(sc)), library.Compare("<=", v, parts[2].eval(sc))
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

func (c *compiler) isTest(x *syntax.IsTest) (compiled, error) {
	of, err := c.expression(x.X)
	want := value.Null
	if x.Undefined {
		want = value.Undefined
	}
	return fold(func(sc *scope) value.Value { return value.Bool(of.eval(sc).Kind() == want) }, of), err
}

func (c *compiler) caseOf(x *syntax.Case) (compiled, error) {
	parts := make([]syntax.Expression, 0, 2*len(x.Whens))
	for _, w := range x.Whens {
		parts = append(parts, w.Match, w.Then)
	}
	whens, err := c.all(parts)
	if err != nil {
		return compiled{}, err
	}
	orElse := constantOf(value.Value{})
	if x.Else != nil {
		if orElse, err = c.expression(x.Else); err != nil {
			return compiled{}, err
		}
	}
	operands := append(whens[:len(whens):len(whens)], orElse)
	if x.Operand == nil {
		return fold(searchedCase(whens, orElse), operands...), nil
	}
	operand, err := c.expression(x.Operand)
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

func (c *compiler) cast(x *syntax.Cast) (compiled, error) {
	of, err := c.expression(x.X)
	to, modern := library.Casts[x.Kind], c.dialect.Modern
	return fold(func(sc *scope) value.Value { return to(of.eval(sc), modern) }, of), err
}

func (c *compiler) arrayOf(x *syntax.ArrayOf) (compiled, error) {
	items, err := c.all(x.Items)
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

func (c *compiler) objectOf(x *syntax.ObjectOf) (compiled, error) {
	values, err := c.all(x.Values)
	if err != nil {
		return compiled{}, err
	}
	keys := x.Keys
	return fold(func(sc *scope) value.Value {
		b := value.NewBuilder(len(keys))
		for i, key := range keys {
			b.Set(key, values[i].eval(sc))
		}
		return b.Value()
	}, values...), nil
}
