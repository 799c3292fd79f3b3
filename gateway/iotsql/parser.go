package iotsql

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// Limits of a statement. Text is rules.md section 1; the others keep the
// stack of the parser and of Eval short.
const (
	textBytesMax = 256 << 10
	nestingMax   = 200
	chainMax     = 5000
)

// dialect is what the version of the SQL decides.
type dialect struct {
	version string // as sql_version() gives it
	modern  bool   // 2016-03-23 and beta
}

// parser turns tokens into a syntax tree.
type parser struct {
	text    string
	tokens  []token
	next    int
	depth   int
	dialect dialect
}

func newParser(text string, d dialect) (*parser, error) {
	if len(text) > textBytesMax {
		return nil, &Error{Line: 1, Column: 1, Token: clip(text), Expected: "at most 256 KiB of text"}
	}
	tokens, err := lex(text)
	if err != nil {
		return nil, err
	}
	return &parser{text: text, tokens: tokens, dialect: d}, nil
}

func (p *parser) peek() token { return p.tokens[p.next] }

func (p *parser) peekAt(ahead int) token {
	return p.tokens[min(p.next+ahead, len(p.tokens)-1)]
}

func (p *parser) advance() token {
	t := p.tokens[p.next]
	if t.kind != endOfText {
		p.next++
	}
	return t
}

// keyword consumes k if it is next.
func (p *parser) keyword(k string) bool {
	if p.peek().is(k) {
		p.next++
		return true
	}
	return false
}

// punct consumes s if it is next.
func (p *parser) punct(s string) bool {
	if p.peek().isPunct(s) {
		p.next++
		return true
	}
	return false
}

// unexpected is the error that the next token is not what was expected.
func (p *parser) unexpected(expected string) error {
	t := p.peek()
	return errorAt(p.text, t.at, clip(t.source), expected)
}

func (p *parser) errorOf(t token, expected string) error {
	return errorAt(p.text, t.at, clip(t.source), expected)
}

func (p *parser) expect(s string) error {
	if !p.punct(s) {
		return p.unexpected(strconv.Quote(s))
	}
	return nil
}

func (p *parser) expectKeyword(k string) error {
	if !p.keyword(k) {
		return p.unexpected(k)
	}
	return nil
}

// modern refuses what 2015-10-08 does not know.
func (p *parser) modern(t token, what string) error {
	if p.dialect.modern {
		return nil
	}
	return p.errorOf(t, fmt.Sprintf("no %s in SQL version %s; use 2016-03-23", what, p.dialect.version))
}

// statement = [ setClause ] select.
func (p *parser) statement() ([]assignment, *query, error) {
	var sets []assignment
	if p.keyword("SET") {
		for {
			a, err := p.assignment()
			if err != nil {
				return nil, nil, err
			}
			sets = append(sets, a)
			if !p.punct(",") {
				break
			}
		}
	}
	q, err := p.query(false)
	if err != nil {
		return nil, nil, err
	}
	if p.peek().kind != endOfText {
		return nil, nil, p.unexpected("the end of the statement" + p.hint())
	}
	return sets, q, nil
}

// hint says why a token that would be fine elsewhere cannot stand here.
func (p *parser) hint() string {
	if p.peek().is("SET") {
		return "; SET stands before SELECT"
	}
	return " or an operator"
}

func (p *parser) assignment() (assignment, error) {
	t := p.peek()
	if t.kind != variableName {
		return assignment{}, p.unexpected("a variable such as @x")
	}
	p.next++
	if err := p.expect("="); err != nil {
		return assignment{}, err
	}
	x, err := p.expression()
	return assignment{name: t.text, at: t.at, x: x}, err
}

func (p *parser) enter() error {
	p.depth++
	if p.depth > nestingMax {
		return p.unexpected(fmt.Sprintf("at most %d levels of nesting", nestingMax))
	}
	return nil
}

// The binding powers, loosest first (rules.md section 4).
const (
	bindOr = iota + 1
	bindAnd
	bindNot
	bindCompare
	bindAdd
	bindMultiply
)

// expression = orE.
func (p *parser) expression() (expression, error) { return p.binding(bindOr) }

// binding parses operators that bind at least as tightly as power.
func (p *parser) binding(power int) (expression, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	left, err := p.prefix(power)
	for chain := 0; err == nil; chain++ {
		op := p.peek()
		bind := infixPower(op, p.peekAt(1))
		if bind < power || bind == 0 {
			return left, nil
		}
		if chain >= chainMax {
			return nil, p.unexpected(fmt.Sprintf("at most %d operators in a row", chainMax))
		}
		p.next++
		left, err = p.infix(op, bind, left)
		if err == nil && bind == bindCompare && infixPower(p.peek(), p.peekAt(1)) == bindCompare {
			return nil, p.unexpected("AND, OR or the end of the condition; comparisons do not chain")
		}
	}
	return nil, err
}

// infixPower is how tightly op binds as an infix operator, 0 if it is none.
func infixPower(op, following token) int {
	if op.kind == punctuation {
		switch op.text {
		case "=", "<>", "!=", "<", "<=", ">", ">=":
			return bindCompare
		case "+", "-":
			return bindAdd
		case "*", "/", "%":
			return bindMultiply
		}
		return 0
	}
	switch {
	case op.is("OR"):
		return bindOr
	case op.is("AND"):
		return bindAnd
	case op.is("IN"), op.is("LIKE"), op.is("BETWEEN"), op.is("IS"):
		return bindCompare
	case op.is("NOT") && (following.is("IN") || following.is("LIKE") || following.is("BETWEEN")):
		return bindCompare
	}
	return 0
}

func (p *parser) prefix(power int) (expression, error) {
	t := p.peek()
	switch {
	case t.is("NOT") && power <= bindNot:
		p.next++
		x, err := p.binding(bindNot)
		return &unary{at(t.at), "NOT", x}, err
	case t.isPunct("-"), t.isPunct("+"):
		if err := p.enter(); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
		p.next++
		x, err := p.prefix(bindMultiply + 1)
		return &unary{at(t.at), t.text, x}, err
	}
	return p.postfix()
}

func (p *parser) infix(op token, bind int, left expression) (expression, error) {
	where := at(op.at)
	if bind != bindCompare || op.kind == punctuation {
		right, err := p.binding(bind + 1)
		text := strings.ToUpper(op.text)
		if text == "!=" {
			text = "<>"
		}
		return &binary{where, text, left, right}, err
	}
	if op.is("IS") {
		return p.isTest(where, left)
	}
	negated := op.is("NOT")
	if negated {
		op = p.advance()
	}
	x, err := p.membership(op, where, left)
	if negated {
		x = &unary{where, "NOT", x}
	}
	return x, err
}

func (p *parser) isTest(where at, left expression) (expression, error) {
	negated := p.keyword("NOT")
	t := p.peek()
	if !t.is("NULL") && !t.is("UNDEFINED") {
		return nil, p.unexpected("NULL or UNDEFINED")
	}
	p.next++
	var x expression = &isTest{where, left, t.is("UNDEFINED")}
	if negated {
		x = &unary{where, "NOT", x}
	}
	return x, nil
}

// membership parses what follows IN, LIKE or BETWEEN.
func (p *parser) membership(op token, where at, left expression) (expression, error) {
	switch {
	case op.is("IN") && p.peek().isPunct("(") && !p.peekAt(1).is("SELECT"):
		p.next++
		list, err := p.list(")", 1)
		return &inList{where, left, list}, err
	case op.is("BETWEEN"):
		low, err := p.binding(bindAdd)
		if err != nil {
			return nil, err
		}
		if err := p.expectKeyword("AND"); err != nil {
			return nil, err
		}
		high, err := p.binding(bindAdd)
		return &between{where, left, low, high}, err
	}
	right, err := p.binding(bindAdd)
	return &binary{where, strings.ToUpper(op.text), left, right}, err
}

// list parses expressions up to closing.
func (p *parser) list(closing string, least int) ([]expression, error) {
	var list []expression
	if least == 0 && p.punct(closing) {
		return nil, nil
	}
	for {
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		list = append(list, x)
		if p.punct(closing) {
			return list, nil
		}
		if !p.punct(",") {
			return nil, p.unexpected(`"," or ` + strconv.Quote(closing))
		}
	}
}

// postfix = primary { "." name | "[" expr "]" }.
func (p *parser) postfix() (expression, error) {
	x, err := p.primary()
	for chain := 0; err == nil; chain++ {
		t := p.peek()
		if chain >= chainMax {
			return nil, p.unexpected(fmt.Sprintf("at most %d path steps", chainMax))
		}
		switch {
		case t.isPunct("."):
			p.next++
			x, err = p.memberOf(x, t)
		case t.isPunct("["):
			p.next++
			var index expression
			if index, err = p.expression(); err == nil {
				x, err = &element{at(t.at), x, index}, p.expect("]")
			}
		default:
			return x, nil
		}
	}
	return nil, err
}

func (p *parser) memberOf(x expression, dot token) (expression, error) {
	t := p.advance()
	switch {
	case t.kind == word, t.kind == quotedName:
		return &member{at(t.at), x, t.text}, nil
	case t.isPunct("*"):
		return &memberStar{at(dot.at), x}, nil
	}
	return nil, p.errorOf(t, "a name after the dot")
}

// reserved words cannot be bare names.
var reserved = map[string]bool{
	"SELECT": true, "FROM": true, "WHERE": true, "AS": true, "AND": true, "OR": true, "NOT": true, "CASE": true,
	"WHEN": true, "THEN": true, "ELSE": true, "END": true, "SET": true, "IN": true, "LIKE": true, "BETWEEN": true, "IS": true,
}

func (p *parser) primary() (expression, error) {
	t := p.advance()
	where := at(t.at)
	switch t.kind {
	case numberText:
		return &literal{where, value.Number(t.text, p.dialect.modern, false)}, nil
	case durationText:
		return &literal{where, value.Number(t.text, true, false)}, p.modern(t, "duration")
	case stringText:
		return &literal{where, value.Text(t.text)}, nil
	case variableName:
		return &variable{where, t.text}, nil
	case quotedName:
		return &name{where, t.text}, nil
	case word:
		return p.wordPrimary(t)
	case punctuation:
		return p.punctPrimary(t)
	}
	return nil, p.errorOf(t, "an expression")
}

func (p *parser) wordPrimary(t token) (expression, error) {
	where := at(t.at)
	switch upper := strings.ToUpper(t.text); {
	case upper == "TRUE", upper == "FALSE":
		return &literal{where, value.Bool(upper == "TRUE")}, nil
	case upper == "NULL":
		return &literal{where, value.NullValue()}, nil
	case upper == "UNDEFINED":
		return &literal{where, value.Value{}}, nil
	case upper == "CASE":
		return p.caseOf(where)
	case upper == "CAST" && p.peek().isPunct("("):
		return p.cast(where)
	case reserved[upper]:
		return nil, p.errorOf(t, "an expression; "+upper+" is a reserved word, write it in backticks")
	case p.punct("("):
		args, err := p.list(")", 0)
		return &call{where, strings.ToLower(t.text), args}, err
	}
	return &name{where, t.text}, nil
}

func (p *parser) punctPrimary(t token) (expression, error) {
	where := at(t.at)
	switch t.text {
	case "*":
		return &star{where}, nil
	case "(":
		return p.parentheses(t)
	case "[":
		if err := p.modern(t, "array literal"); err != nil {
			return nil, err
		}
		items, err := p.list("]", 0)
		return &arrayOf{where, items}, err
	case "{":
		if err := p.modern(t, "object literal"); err != nil {
			return nil, err
		}
		return p.objectOf(where)
	}
	return nil, p.errorOf(t, "an expression")
}

func (p *parser) parentheses(t token) (expression, error) {
	if p.peek().is("SELECT") {
		if err := p.modern(t, "nested SELECT"); err != nil {
			return nil, err
		}
		q, err := p.query(true)
		if err != nil {
			return nil, err
		}
		return &subselect{at(t.at), q}, p.expect(")")
	}
	x, err := p.expression()
	if err != nil {
		return nil, err
	}
	return x, p.expect(")")
}

func (p *parser) objectOf(where at) (expression, error) {
	o := &objectOf{at: where}
	if p.punct("}") {
		return o, nil
	}
	for {
		t := p.peek()
		if t.kind != stringText {
			return nil, p.unexpected("a key in quotes")
		}
		p.next++
		if err := p.expect(":"); err != nil {
			return nil, err
		}
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		o.keys, o.values = append(o.keys, t.text), append(o.values, x)
		if p.punct("}") {
			return o, nil
		}
		if !p.punct(",") {
			return nil, p.unexpected(`"," or "}"`)
		}
	}
}

func (p *parser) caseOf(where at) (expression, error) {
	c := &caseOf{at: where}
	var err error
	if !p.peek().is("WHEN") {
		if c.operand, err = p.expression(); err != nil {
			return nil, err
		}
	}
	for p.keyword("WHEN") {
		var w when
		if w.match, err = p.expression(); err != nil {
			return nil, err
		}
		if err = p.expectKeyword("THEN"); err != nil {
			return nil, err
		}
		if w.then, err = p.expression(); err != nil {
			return nil, err
		}
		c.whens = append(c.whens, w)
	}
	if len(c.whens) == 0 {
		return nil, p.unexpected("WHEN")
	}
	if p.keyword("ELSE") {
		if c.orElse, err = p.expression(); err != nil {
			return nil, err
		}
	}
	return c, p.expectKeyword("END")
}

// castKinds says of each type name whether 2015-10-08 knows it.
var castKinds = map[string]bool{
	"string": true, "nvarchar": true, "text": true, "ntext": true, "varchar": true, "int": true, "integer": true,
	"double": true, "decimal": false, "bool": false, "boolean": false,
}

func (p *parser) cast(where at) (expression, error) {
	p.next++ // the parenthesis
	x, err := p.expression()
	if err != nil {
		return nil, err
	}
	if err := p.expectKeyword("AS"); err != nil {
		return nil, err
	}
	t := p.peek()
	kind := strings.ToLower(t.text)
	always, known := castKinds[kind]
	if t.kind != word || !known {
		return nil, p.unexpected("a type: String, Nvarchar, Text, Ntext, Varchar, Int, Integer, Double, Decimal, Bool or Boolean")
	}
	if !always {
		if err := p.modern(t, "cast to "+t.text); err != nil {
			return nil, err
		}
	}
	p.next++
	return &cast{where, x, kind}, p.expect(")")
}
