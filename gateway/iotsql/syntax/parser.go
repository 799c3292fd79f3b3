package syntax

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

// Dialect is what the version of the SQL decides.
type Dialect struct {
	Version string // as sql_version() gives it
	Modern  bool   // 2016-03-23 and beta
}

// Parse reads a statement: its SET and its SELECT. Every refusal is an *Error.
func Parse(text string, d Dialect) ([]Assignment, *Query, error) {
	p, err := newParser(text, d)
	if err != nil {
		return nil, nil, err
	}
	return p.statement()
}

// parser turns tokens into a syntax tree.
type parser struct {
	text    string
	tokens  []token
	next    int
	depth   int
	dialect Dialect
}

func newParser(text string, d Dialect) (*parser, error) {
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
	return ErrorAt(p.text, t.at, clip(t.source), expected)
}

func (p *parser) errorOf(t token, expected string) error {
	return ErrorAt(p.text, t.at, clip(t.source), expected)
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
	if p.dialect.Modern {
		return nil
	}
	return p.errorOf(t, fmt.Sprintf("no %s in SQL version %s; use 2016-03-23", what, p.dialect.Version))
}

// statement = [ setClause ] select.
func (p *parser) statement() ([]Assignment, *Query, error) {
	var sets []Assignment
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

func (p *parser) assignment() (Assignment, error) {
	t := p.peek()
	if t.kind != variableName {
		return Assignment{}, p.unexpected("a variable such as @x")
	}
	p.next++
	if err := p.expect("="); err != nil {
		return Assignment{}, err
	}
	x, err := p.expression()
	return Assignment{Name: t.text, At: t.at, X: x}, err
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
func (p *parser) expression() (Expression, error) { return p.binding(bindOr) }

// binding parses operators that bind at least as tightly as power.
func (p *parser) binding(power int) (Expression, error) {
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

func (p *parser) prefix(power int) (Expression, error) {
	t := p.peek()
	switch {
	case t.is("NOT") && power <= bindNot:
		p.next++
		x, err := p.binding(bindNot)
		return &Unary{at(t.at), "NOT", x}, err
	case t.isPunct("-"), t.isPunct("+"):
		if err := p.enter(); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
		p.next++
		x, err := p.prefix(bindMultiply + 1)
		return &Unary{at(t.at), t.text, x}, err
	}
	return p.postfix()
}

func (p *parser) infix(op token, bind int, left Expression) (Expression, error) {
	where := at(op.at)
	if bind != bindCompare || op.kind == punctuation {
		right, err := p.binding(bind + 1)
		text := strings.ToUpper(op.text)
		if text == "!=" {
			text = "<>"
		}
		return &Binary{where, text, left, right}, err
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
		x = &Unary{where, "NOT", x}
	}
	return x, err
}

func (p *parser) isTest(where at, left Expression) (Expression, error) {
	negated := p.keyword("NOT")
	t := p.peek()
	if !t.is("NULL") && !t.is("UNDEFINED") {
		return nil, p.unexpected("NULL or UNDEFINED")
	}
	p.next++
	var x Expression = &IsTest{where, left, t.is("UNDEFINED")}
	if negated {
		x = &Unary{where, "NOT", x}
	}
	return x, nil
}

// membership parses what follows IN, LIKE or BETWEEN.
func (p *parser) membership(op token, where at, left Expression) (Expression, error) {
	switch {
	case op.is("IN") && p.peek().isPunct("(") && !p.peekAt(1).is("SELECT"):
		p.next++
		list, err := p.list(")", 1)
		return &InList{where, left, list}, err
	case op.is("BETWEEN"):
		low, err := p.binding(bindAdd)
		if err != nil {
			return nil, err
		}
		if err := p.expectKeyword("AND"); err != nil {
			return nil, err
		}
		high, err := p.binding(bindAdd)
		return &Between{where, left, low, high}, err
	}
	right, err := p.binding(bindAdd)
	return &Binary{where, strings.ToUpper(op.text), left, right}, err
}

// list parses expressions up to closing.
func (p *parser) list(closing string, least int) ([]Expression, error) {
	var list []Expression
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
func (p *parser) postfix() (Expression, error) {
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
			var index Expression
			if index, err = p.expression(); err == nil {
				x, err = &Element{at(t.at), x, index}, p.expect("]")
			}
		default:
			return x, nil
		}
	}
	return nil, err
}

func (p *parser) memberOf(x Expression, dot token) (Expression, error) {
	t := p.advance()
	switch {
	case t.kind == word, t.kind == quotedName:
		return &Member{at(t.at), x, t.text}, nil
	case t.isPunct("*"):
		return &MemberStar{at(dot.at), x}, nil
	}
	return nil, p.errorOf(t, "a name after the dot")
}

// reserved words cannot be bare names.
var reserved = map[string]bool{
	"SELECT": true, "FROM": true, "WHERE": true, "AS": true, "AND": true, "OR": true, "NOT": true, "CASE": true,
	"WHEN": true, "THEN": true, "ELSE": true, "END": true, "SET": true, "IN": true, "LIKE": true, "BETWEEN": true, "IS": true,
}

func (p *parser) primary() (Expression, error) {
	t := p.advance()
	where := at(t.at)
	switch t.kind {
	case numberText:
		return &Literal{where, value.Number(t.text, p.dialect.Modern, false)}, nil
	case durationText:
		return &Literal{where, value.Number(t.text, true, false)}, p.modern(t, "duration")
	case stringText:
		return &Literal{where, value.Text(t.text)}, nil
	case variableName:
		return &Variable{where, t.text}, nil
	case quotedName:
		return &Name{where, t.text}, nil
	case word:
		return p.wordPrimary(t)
	case punctuation:
		return p.punctPrimary(t)
	}
	return nil, p.errorOf(t, "an expression")
}

func (p *parser) wordPrimary(t token) (Expression, error) {
	where := at(t.at)
	switch upper := strings.ToUpper(t.text); {
	case upper == "TRUE", upper == "FALSE":
		return &Literal{where, value.Bool(upper == "TRUE")}, nil
	case upper == "NULL":
		return &Literal{where, value.NullValue()}, nil
	case upper == "UNDEFINED":
		return &Literal{where, value.Value{}}, nil
	case upper == "CASE":
		return p.caseOf(where)
	case upper == "CAST" && p.peek().isPunct("("):
		return p.cast(where)
	case reserved[upper]:
		return nil, p.errorOf(t, "an expression; "+upper+" is a reserved word, write it in backticks")
	case p.punct("("):
		args, err := p.list(")", 0)
		return &Call{where, strings.ToLower(t.text), args}, err
	}
	return &Name{where, t.text}, nil
}

func (p *parser) punctPrimary(t token) (Expression, error) {
	where := at(t.at)
	switch t.text {
	case "*":
		return &Star{where}, nil
	case "(":
		return p.parentheses(t)
	case "[":
		if err := p.modern(t, "array literal"); err != nil {
			return nil, err
		}
		items, err := p.list("]", 0)
		return &ArrayOf{where, items}, err
	case "{":
		if err := p.modern(t, "object literal"); err != nil {
			return nil, err
		}
		return p.objectOf(where)
	}
	return nil, p.errorOf(t, "an expression")
}

func (p *parser) parentheses(t token) (Expression, error) {
	if p.peek().is("SELECT") {
		if err := p.modern(t, "nested SELECT"); err != nil {
			return nil, err
		}
		q, err := p.query(true)
		if err != nil {
			return nil, err
		}
		return &Subselect{at(t.at), q}, p.expect(")")
	}
	x, err := p.expression()
	if err != nil {
		return nil, err
	}
	return x, p.expect(")")
}

func (p *parser) objectOf(where at) (Expression, error) {
	o := &ObjectOf{at: where}
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
		o.Keys, o.Values = append(o.Keys, t.text), append(o.Values, x)
		if p.punct("}") {
			return o, nil
		}
		if !p.punct(",") {
			return nil, p.unexpected(`"," or "}"`)
		}
	}
}

func (p *parser) caseOf(where at) (Expression, error) {
	c := &Case{at: where}
	var err error
	if !p.peek().is("WHEN") {
		if c.Operand, err = p.expression(); err != nil {
			return nil, err
		}
	}
	for p.keyword("WHEN") {
		var w When
		if w.Match, err = p.expression(); err != nil {
			return nil, err
		}
		if err = p.expectKeyword("THEN"); err != nil {
			return nil, err
		}
		if w.Then, err = p.expression(); err != nil {
			return nil, err
		}
		c.Whens = append(c.Whens, w)
	}
	if len(c.Whens) == 0 {
		return nil, p.unexpected("WHEN")
	}
	if p.keyword("ELSE") {
		if c.Else, err = p.expression(); err != nil {
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

func (p *parser) cast(where at) (Expression, error) {
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
	return &Cast{where, x, kind}, p.expect(")")
}
