// Package formula computes a number from numbers: `-45 + 175 * x / 65535`.
//
// A formula is parsed once and evaluated for each sample. It has + - * / % ^,
// signs, parentheses, comparisons that give 1 or 0, `c ? a : b` is written
// if(c, a, b), and the functions of the table below. It has no loop, and a bound
// on its length and depth, so it ends. Division by zero and the like give
// infinities and NaN, as in the language; who evaluates has to look.
//
// The rule engine's parser is not used: drivers stand below the gateway, and a
// rule works on JSON with decimals, where a sensor has one float.
package formula

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Limits of a formula.
const (
	bytesMax = 1000
	depthMax = 50
)

// Formula is a parsed formula. It is immutable.
type Formula struct {
	eval  node
	names []string
}

// node computes a part of a formula from the values of names.
type node func(value func(name string) float64) float64

// Names are the variables that the formula uses, sorted, each once.
func (f Formula) Names() []string { return f.names }

// Eval computes the formula; value gives the variables.
func (f Formula) Eval(value func(name string) float64) float64 { return f.eval(value) }

// functions are the known functions by name, with the number of their
// arguments.
var functions = map[string]struct {
	arguments int
	f         func(a []float64) float64
}{
	"abs":   {1, func(a []float64) float64 { return math.Abs(a[0]) }},
	"sqrt":  {1, func(a []float64) float64 { return math.Sqrt(a[0]) }},
	"exp":   {1, func(a []float64) float64 { return math.Exp(a[0]) }},
	"ln":    {1, func(a []float64) float64 { return math.Log(a[0]) }},
	"log10": {1, func(a []float64) float64 { return math.Log10(a[0]) }},
	"floor": {1, func(a []float64) float64 { return math.Floor(a[0]) }},
	"ceil":  {1, func(a []float64) float64 { return math.Ceil(a[0]) }},
	"round": {1, func(a []float64) float64 { return math.Round(a[0]) }},
	"sin":   {1, func(a []float64) float64 { return math.Sin(a[0]) }},
	"cos":   {1, func(a []float64) float64 { return math.Cos(a[0]) }},
	"atan2": {2, func(a []float64) float64 { return math.Atan2(a[0], a[1]) }},
	"pow":   {2, func(a []float64) float64 { return math.Pow(a[0], a[1]) }},
	"min":   {2, func(a []float64) float64 { return math.Min(a[0], a[1]) }},
	"max":   {2, func(a []float64) float64 { return math.Max(a[0], a[1]) }},
	"clamp": {3, func(a []float64) float64 { return math.Min(math.Max(a[0], a[1]), a[2]) }},
	"if": {3, func(a []float64) float64 {
		if a[0] != 0 {
			return a[1]
		}
		return a[2]
	}},
}

// Parse reads a formula; its error says where and what was expected.
func Parse(text string) (Formula, error) {
	if len(text) > bytesMax {
		return Formula{}, fmt.Errorf("formula of %d bytes, at most %d", len(text), bytesMax)
	}
	p := &parser{text: text}
	eval, err := p.level(0)
	if err == nil && p.peek() != 0 {
		err = p.fail("an operator")
	}
	if err != nil {
		return Formula{}, err
	}
	slices.Sort(p.names)
	return Formula{eval: eval, names: slices.Compact(p.names)}, nil
}

type parser struct {
	text  string
	at    int
	depth int
	names []string
}

func (p *parser) fail(want string) error {
	return fmt.Errorf("formula %q at %d: want %s", p.text, p.at+1, want)
}

// peek is the next byte that is no space; 0 at the end.
func (p *parser) peek() byte {
	for p.at < len(p.text) && (p.text[p.at] == ' ' || p.text[p.at] == '\t' || p.text[p.at] == '\n') {
		p.at++
	}
	if p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

// levels are the binary operators by rising precedence; longer ones first.
var levels = [][]string{{"<=", ">=", "==", "!=", "<", ">"}, {"+", "-"}, {"*", "/", "%"}}

// level parses operators of a precedence, from the left.
func (p *parser) level(n int) (node, error) {
	if n == len(levels) {
		return p.sign()
	}
	left, err := p.level(n + 1)
	for err == nil {
		op := p.operator(levels[n])
		if op == "" {
			break
		}
		var right node
		if right, err = p.level(n + 1); err == nil {
			left = binary(op, left, right)
		}
	}
	return left, err
}

func (p *parser) operator(list []string) string {
	p.peek()
	for _, op := range list {
		if strings.HasPrefix(p.text[p.at:], op) {
			p.at += len(op)
			return op
		}
	}
	return ""
}

func binary(op string, left, right node) node {
	f := operators[op]
	return func(value func(string) float64) float64 { return f(left(value), right(value)) }
}

// operators are the binary operators.
var operators = map[string]func(a, b float64) float64{
	"+": func(a, b float64) float64 { return a + b }, "-": func(a, b float64) float64 { return a - b },
	"*": func(a, b float64) float64 { return a * b }, "/": func(a, b float64) float64 { return a / b },
	"%": math.Mod, "^": math.Pow,
	"<": func(a, b float64) float64 { return truth(a < b) }, "<=": func(a, b float64) float64 { return truth(a <= b) },
	">": func(a, b float64) float64 { return truth(a > b) }, ">=": func(a, b float64) float64 { return truth(a >= b) },
	"==": func(a, b float64) float64 { return truth(a == b) }, "!=": func(a, b float64) float64 { return truth(a != b) },
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// sign parses signs, which bind less than a power: -x^2 is -(x^2).
func (p *parser) sign() (node, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > depthMax {
		return nil, p.fail(fmt.Sprintf("at most %d parts within each other", depthMax))
	}
	switch p.operator([]string{"-", "+"}) {
	case "-":
		inner, err := p.sign()
		return func(value func(string) float64) float64 { return -inner(value) }, err
	case "+":
		return p.sign()
	}
	return p.power()
}

// power parses a^b, from the right.
func (p *parser) power() (node, error) {
	base, err := p.atom()
	if err != nil || p.operator([]string{"^"}) == "" {
		return base, err
	}
	exponent, err := p.sign()
	return binary("^", base, exponent), err
}

// atom parses a number, a name, a call or parentheses.
func (p *parser) atom() (node, error) {
	c := p.peek()
	switch {
	case c == '(':
		p.at++
		inner, err := p.level(0)
		if err == nil {
			err = p.take(')')
		}
		return inner, err
	case c >= '0' && c <= '9' || c == '.':
		return p.number()
	case letter(c):
		return p.word()
	}
	return nil, p.fail("a number, a name or (")
}

func (p *parser) take(c byte) error {
	if p.peek() != c {
		return p.fail(string(c))
	}
	p.at++
	return nil
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// number parses 12, 0x1f, .5 and 1e-3.
func (p *parser) number() (node, error) {
	start := p.at
	if strings.HasPrefix(p.text[p.at:], "0x") {
		p.at += 2
	}
	for p.at < len(p.text) {
		c := p.text[p.at]
		exponent := (c == '-' || c == '+') && p.at > start && p.text[p.at-1]|0x20 == 'e' && !strings.HasPrefix(p.text[start:], "0x")
		if !digit(c) && !letter(c) && c != '.' && !exponent {
			break
		}
		p.at++
	}
	word := p.text[start:p.at]
	if v, err := strconv.ParseUint(word, 0, 53); err == nil && (len(word) == 1 || word[0] != '0' || strings.HasPrefix(word, "0x")) {
		return constant(float64(v)), nil
	}
	v, err := strconv.ParseFloat(word, 64)
	if err != nil || strings.HasPrefix(word, "0x") || math.IsInf(v, 0) {
		p.at = start
		return nil, p.fail("a number")
	}
	return constant(v), nil
}

func constant(v float64) node { return func(func(string) float64) float64 { return v } }

// word parses a variable or a call.
func (p *parser) word() (node, error) {
	start := p.at
	for p.at < len(p.text) && (letter(p.text[p.at]) || digit(p.text[p.at])) {
		p.at++
	}
	name := p.text[start:p.at]
	if p.peek() == '(' {
		return p.call(name)
	}
	p.names = append(p.names, name)
	return func(value func(string) float64) float64 { return value(name) }, nil
}

func (p *parser) call(name string) (node, error) {
	f, known := functions[name]
	if !known {
		return nil, p.fail("a known function before (, not " + name)
	}
	p.at++
	var list []node
	for i := range f.arguments {
		if i > 0 {
			if err := p.take(','); err != nil {
				return nil, err
			}
		}
		a, err := p.level(0)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return func(value func(string) float64) float64 {
		values := make([]float64, len(list))
		for i, a := range list {
			values[i] = a(value)
		}
		return f.f(values)
	}, p.take(')')
}
