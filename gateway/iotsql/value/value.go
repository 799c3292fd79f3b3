// Package value holds the values of rule SQL: a small union of Undefined,
// Null, Boolean, Int, Decimal, String, Array and Object, their conversions
// (rules.md section 3), exact decimal arithmetic and strict JSON.
//
// Promises: objects keep the order of their keys; a number that came as JSON
// text is written again as it came; Int and Decimal hold 34 significant digits
// with exponents of ±999, results are rounded half to even, and what does not
// fit is Undefined; parsing refuses more than DepthMax levels. Small numbers
// (coefficients of 63 bits) cost no allocation. Values are immutable and may be
// shared by goroutines. The package is pure: nothing blocks, nothing is kept.
package value

import "math/big"

// Kind is the type of a Value.
type Kind uint8

// The kinds. Int and Decimal are the two kinds of number.
const (
	Undefined Kind = iota
	Null
	Boolean
	Int
	Decimal
	String
	Array
	Object
)

// Value is one value of rule SQL. The zero Value is Undefined.
type Value struct {
	kind  Kind
	bad   bool  // a number whose magnitude does not fit: only its text counts
	exp   int32 // of a Decimal
	small int64 // coefficient, unless big is set; 1 for true
	big   *big.Int
	coll  *collection
	text  string // a String, or a number as it came
}

// collection is the content of an Array (no keys) or an Object.
type collection struct {
	keys  []string
	items []Value
	index map[string]int // of keys, once there are many
}

// indexMin is the number of members from which an object has an index.
const indexMin = 16

// NullValue is Null.
func NullValue() Value { return Value{kind: Null} }

// Bool makes a Boolean.
func Bool(b bool) Value {
	if b {
		return Value{kind: Boolean, small: 1}
	}
	return Value{kind: Boolean}
}

// Text makes a String.
func Text(s string) Value { return Value{kind: String, text: s} }

// Integer makes an Int.
func Integer(n int64) Value { return Value{kind: Int, small: n} }

// List makes an Array of items, which it keeps. Undefined items are the
// caller's mistake.
func List(items []Value) Value {
	return Value{kind: Array, coll: &collection{items: items}}
}

// Kind is v's type.
func (v Value) Kind() Kind { return v.kind }

// IsUndefined reports whether v is Undefined.
func (v Value) IsUndefined() bool { return v.kind == Undefined }

// IsNumber reports whether v is an Int or a Decimal.
func (v Value) IsNumber() bool { return v.kind == Int || v.kind == Decimal }

// IsTrue reports whether v is the Boolean true.
func (v Value) IsTrue() bool { return v.kind == Boolean && v.small != 0 }

// Str is the text of a String, empty for everything else.
func (v Value) Str() string {
	if v.kind != String {
		return ""
	}
	return v.text
}

// Len is the number of elements or members of an Array or Object, else 0.
func (v Value) Len() int {
	if v.coll == nil {
		return 0
	}
	return len(v.coll.items)
}

// At is the i-th element or member value, Undefined outside.
func (v Value) At(i int) Value {
	if v.coll == nil || i < 0 || i >= len(v.coll.items) {
		return Value{}
	}
	return v.coll.items[i]
}

// Key is the i-th key of an Object.
func (v Value) Key(i int) string { return v.coll.keys[i] }

// Items are the elements of an Array; the caller does not change them.
func (v Value) Items() []Value {
	if v.kind != Array {
		return nil
	}
	return v.coll.items
}

// Get is the member key of an Object; Undefined when it is missing or v is
// something else.
func (v Value) Get(key string) Value {
	if v.kind != Object {
		return Value{}
	}
	if i := v.coll.find(key); i >= 0 {
		return v.coll.items[i]
	}
	return Value{}
}

func (c *collection) find(key string) int {
	if c.index != nil {
		if i, ok := c.index[key]; ok {
			return i
		}
		return -1
	}
	for i, k := range c.keys {
		if k == key {
			return i
		}
	}
	return -1
}

// Builder puts an Object together. The zero Builder is ready; it must not be
// used after Value.
type Builder struct{ c *collection }

// NewBuilder makes a Builder with room for n members.
func NewBuilder(n int) Builder {
	return Builder{&collection{keys: make([]string, 0, n), items: make([]Value, 0, n)}}
}

// Set gives key the value v. A key that is there keeps its place; Undefined is
// left out.
func (b *Builder) Set(key string, v Value) {
	if v.kind == Undefined {
		return
	}
	if b.c == nil {
		b.c = &collection{}
	}
	c := b.c
	if i := c.find(key); i >= 0 {
		c.items[i] = v
		return
	}
	c.keys = append(c.keys, key)
	c.items = append(c.items, v)
	switch {
	case c.index != nil:
		c.index[key] = len(c.keys) - 1
	case len(c.keys) == indexMin:
		c.index = make(map[string]int, 2*indexMin)
		for i, k := range c.keys {
			c.index[k] = i
		}
	}
}

// SetAll gives all members of object to b, in their order.
func (b *Builder) SetAll(object Value) {
	for i := range object.Len() {
		b.Set(object.Key(i), object.At(i))
	}
}

// SetPath gives v to the member at the end of path, making objects on the way
// and merging with those that are there; a scalar in the way is replaced.
func (b *Builder) SetPath(path []string, v Value) {
	if v.kind == Undefined {
		return
	}
	if len(path) == 1 {
		b.Set(path[0], v)
		return
	}
	var inner Builder
	if b.c != nil {
		if i := b.c.find(path[0]); i >= 0 && b.c.items[i].kind == Object {
			inner.SetAll(b.c.items[i])
		}
	}
	inner.SetPath(path[1:], v)
	b.Set(path[0], inner.Value())
}

// Value is the finished Object.
func (b *Builder) Value() Value {
	if b.c == nil {
		b.c = &collection{}
	}
	return Value{kind: Object, coll: b.c}
}
