package iotsql

import (
	"errors"

	"github.com/tidehold/tidehold/gateway/iotsql/syntax"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// ErrNoObject means that `*` stands beside other items and the payload is no
// JSON object: the rule fails for this message.
var ErrNoObject = errors.New("sql select *: the payload is not a JSON object")

// selection is a compiled list of items.
type selection struct {
	items []selectItem
	value bool // SELECT VALUE
	raw   bool // a bare star alone: the payload as it is
}

// selectItem is one item; a spread one gives its members.
type selectItem struct {
	eval   eval
	path   []string
	spread bool
	star   bool // a spread of the document itself
}

func (c *compiler) selection(q *syntax.Query) (selection, error) {
	s := selection{value: q.Value}
	for _, it := range q.Items {
		compiledItem, err := c.item(it)
		if err != nil {
			return selection{}, err
		}
		s.items = append(s.items, compiledItem)
	}
	s.raw = len(s.items) == 1 && s.items[0].star
	return s, nil
}

func (c *compiler) item(it syntax.Item) (selectItem, error) {
	x, out := it.X, selectItem{path: it.Path}
	switch spread := x.(type) {
	case *syntax.Star:
		out.star = it.Path == nil
		out.spread = out.star
	case *syntax.MemberStar:
		x, out.spread = spread.Of, true
	}
	e, err := c.expression(x)
	out.eval = e.eval
	return out, err
}

// output gives the result at top level.
func (s *selection) output(sc *scope) (Output, error) {
	if s.raw {
		return Output{Fired: true, Payload: sc.doc.raw, IsRaw: true}, nil
	}
	if s.value {
		v := s.items[0].eval(sc)
		return Output{Fired: true, Payload: value.AppendJSON(nil, v), Value: v}, nil
	}
	b := value.NewBuilder(len(s.items))
	for i := range s.items {
		it := &s.items[i]
		if it.star {
			root := it.eval(sc)
			if root.Kind() != value.Object && len(sc.doc.raw) > 0 {
				return Output{}, ErrNoObject
			}
			b.SetAll(root)
			continue
		}
		it.add(&b, it.eval(sc))
	}
	v := b.Value()
	return Output{Fired: true, Payload: value.AppendJSON(nil, v), Value: v}, nil
}

// add puts v where the item says.
func (it *selectItem) add(b *value.Builder, v value.Value) {
	if !it.spread {
		b.SetPath(it.path, v)
		return
	}
	if v.Kind() == value.Object {
		b.SetAll(v)
	}
}

// element gives the result of a nested select for the scope's element.
func (s *selection) element(sc *scope) value.Value {
	if s.raw || s.value {
		return s.items[0].eval(sc)
	}
	b := value.NewBuilder(len(s.items))
	for i := range s.items {
		it := &s.items[i]
		v := it.eval(sc)
		if it.star && v.Kind() != value.Object {
			return value.Value{}
		}
		it.add(&b, v)
	}
	return b.Value()
}

// subselect compiles a nested select; its names resolve against the element.
func (c *compiler) subselect(x *syntax.Subselect) (compiled, error) {
	source := c.document()
	if x.Query.From != nil {
		var err error
		if source, err = c.expression(x.Query.From); err != nil {
			return compiled{}, err
		}
	}
	outer := c.nested
	c.nested = true
	defer func() { c.nested = outer }()
	where, err := c.optional(x.Query.Where)
	if err != nil {
		return compiled{}, err
	}
	items, err := c.selection(x.Query)
	if err != nil {
		return compiled{}, err
	}
	return compiled{func(sc *scope) value.Value {
		from, saved := source.eval(sc), sc.elem
		v := items.over(sc, from, where)
		sc.elem = saved
		return v
	}, false}, nil
}

func (s *selection) over(sc *scope, from value.Value, where eval) value.Value {
	switch from.Kind() {
	case value.Object:
		return s.one(sc, from, where)
	case value.Array:
		results := make([]value.Value, 0, from.Len())
		for _, element := range from.Items() {
			if v := s.one(sc, element, where); !v.IsUndefined() {
				results = append(results, v)
			}
		}
		return value.List(results)
	}
	return value.Value{}
}

// one is the result for one element, Undefined when WHERE is not true.
func (s *selection) one(sc *scope, element value.Value, where eval) value.Value {
	sc.elem = element
	if where != nil {
		if is, _ := where(sc).Bool(); !is {
			return value.Value{}
		}
	}
	return s.element(sc)
}
