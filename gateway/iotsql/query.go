package iotsql

import (
	"strconv"
	"strings"
)

// query = SELECT ( VALUE item | item { "," item } ) and its clauses.
func (p *parser) query(nested bool) (*query, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if err := p.expectKeyword("SELECT"); err != nil {
		return nil, err
	}
	q := &query{hold: -1, value: p.valueKeyword()}
	if q.value {
		p.next++
	}
	if err := p.items(q); err != nil {
		return nil, err
	}
	if p.keyword("FROM") {
		if err := p.source(q, nested); err != nil {
			return nil, err
		}
	}
	if p.keyword("WHERE") {
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		q.where = x
	}
	if nested {
		return q, nil
	}
	return q, p.timeClauses(q)
}

// valueKeyword reports whether the next token is VALUE as a keyword: something
// that can start an expression stands behind it (rules.md section 2).
func (p *parser) valueKeyword() bool {
	if !p.peek().is("VALUE") {
		return false
	}
	switch t := p.peekAt(1); {
	case t.kind == endOfText:
		return false
	case t.isPunct("*"):
		after := p.peekAt(2)
		return after.kind == endOfText || after.is("FROM") || after.is("WHERE") || after.is("AS") ||
			after.isPunct(")") || after.isPunct(",")
	case t.kind == punctuation:
		return t.text == "(" || t.text == "[" || t.text == "{"
	case t.is("FROM"), t.is("AS"), t.is("WHERE"):
		return false
	default:
		return infixPower(t, p.peekAt(2)) == 0
	}
}

func (p *parser) items(q *query) error {
	for {
		it, err := p.item(len(q.items) + 1)
		if err != nil {
			return err
		}
		q.items = append(q.items, it)
		if !p.peek().isPunct(",") {
			return nil
		}
		if q.value {
			return p.unexpected("FROM, WHERE or the end; SELECT VALUE takes one item")
		}
		p.next++
	}
}

// item = ( "*" | expr | postfix ".*" ) [ AS alias ].
func (p *parser) item(position int) (item, error) {
	var it item
	if t := p.peek(); t.isPunct("*") && endsItem(p.peekAt(1)) {
		p.next++
		it.x = &star{at(t.at)}
	} else {
		x, err := p.expression()
		if err != nil {
			return item{}, err
		}
		it.x = x
		it.path = []string{defaultKey(x, position)}
	}
	if !p.keyword("AS") {
		return it, nil
	}
	path, err := p.alias()
	it.path, it.aliased = path, true
	if spread, ok := it.x.(*memberStar); ok {
		it.x = spread.of
	}
	return it, err
}

// endsItem reports whether t stands behind a bare star.
func endsItem(t token) bool {
	return t.kind == endOfText || t.kind == word || t.isPunct(",") || t.isPunct(")")
}

// defaultKey is the output key of an item without AS.
func defaultKey(x expression, position int) string {
	switch x := x.(type) {
	case *name:
		return x.name
	case *member:
		return x.name
	case *variable:
		return x.name
	case *call:
		return x.name
	case *cast:
		return "cast"
	}
	return "expr" + strconv.Itoa(position)
}

// alias = name { "." name } | string.
func (p *parser) alias() ([]string, error) {
	t := p.advance()
	switch {
	case t.kind == stringText:
		return []string{t.text}, nil
	case t.kind == quotedName, t.kind == word && !reserved[strings.ToUpper(t.text)]:
		path := []string{t.text}
		for p.punct(".") {
			t := p.advance()
			if t.kind != word && t.kind != quotedName {
				return nil, p.errorOf(t, "a name after the dot")
			}
			path = append(path, t.text)
		}
		return path, nil
	}
	return nil, p.errorOf(t, "an alias: a name or a string")
}

// source parses what FROM names.
func (p *parser) source(q *query, nested bool) error {
	if nested {
		x, err := p.expression()
		q.from = x
		return err
	}
	t := p.peek()
	if t.is("SCHEDULE") && p.peekAt(1).kind == stringText {
		if err := p.modern(t, "FROM SCHEDULE"); err != nil {
			return err
		}
		p.next++
		t = p.advance()
		q.schedule, q.filterAt = t.text, t.at
		return nil
	}
	if t.kind != stringText {
		return p.unexpected("a topic filter in quotes")
	}
	p.next++
	q.filter, q.filterAt, q.hasFrom = t.text, t.at, true
	return nil
}

// timeClauses parses FOR, GROUP BY, WINDOW and HAVING, whose words are
// keywords only here (rules.md section 11).
func (p *parser) timeClauses(q *query) error {
	first := p.peek()
	if q.where != nil && p.keyword("FOR") {
		ms, err := p.duration()
		if err != nil {
			return err
		}
		q.hold = ms
	}
	if p.keyword("GROUP") {
		if err := p.groupBy(q); err != nil {
			return err
		}
	}
	if t := p.peek(); p.keyword("WINDOW") {
		if q.hold >= 0 {
			return p.errorOf(t, "no WINDOW together with FOR")
		}
		if err := p.window(q, t); err != nil {
			return err
		}
	}
	if t := p.peek(); p.keyword("HAVING") {
		if q.window == nil {
			return p.errorOf(t, "HAVING only after WINDOW; use WHERE")
		}
		x, err := p.expression()
		if err != nil {
			return err
		}
		q.having, q.havingAt = x, t.at
	}
	if p.peek().at != first.at {
		return p.modern(first, strings.ToUpper(first.text))
	}
	return nil
}

func (p *parser) groupBy(q *query) error {
	if err := p.expectKeyword("BY"); err != nil {
		return err
	}
	for {
		x, err := p.expression()
		if err != nil {
			return err
		}
		q.group = append(q.group, x)
		if !p.punct(",") {
			return nil
		}
	}
}

// duration is a duration literal above zero.
func (p *parser) duration() (int64, error) {
	t := p.peek()
	ms, _ := strconv.ParseInt(t.text, 10, 64)
	if t.kind != durationText || ms <= 0 {
		return 0, p.unexpected("a duration such as 500ms, 10s, 5m, 1h or 1d")
	}
	p.next++
	return ms, nil
}

// count is a whole number from 1 to the longest window.
func (p *parser) count() (int64, error) {
	t := p.peek()
	n, err := strconv.ParseInt(t.text, 10, 64)
	if t.kind != numberText || err != nil || n < 1 || n > windowEntriesMax {
		return 0, p.unexpected("a whole number from 1 to " + strconv.Itoa(windowEntriesMax))
	}
	p.next++
	return n, nil
}

// windowKinds names the windows.
var windowKinds = map[string]windowKind{
	"TUMBLING": tumbling, "HOPPING": hopping, "SLIDING": sliding, "SESSION": session, "COUNT": counting,
}

func (p *parser) window(q *query, keyword token) error {
	t := p.peek()
	kind := windowKinds[strings.ToUpper(t.text)]
	if t.kind != word || kind == noWindow {
		return p.unexpected("TUMBLING, HOPPING, SLIDING, SESSION or COUNT")
	}
	p.next++
	w := &windowClause{at: keyword.at, kind: kind}
	q.window = w
	if err := p.expect("("); err != nil {
		return err
	}
	if err := p.windowSizes(w); err != nil {
		return err
	}
	if err := p.expect(")"); err != nil {
		return err
	}
	return p.eventTime(w, t)
}

func (p *parser) windowSizes(w *windowClause) (err error) {
	size := p.duration
	if w.kind == counting {
		size = p.count
	}
	if w.size, err = size(); err != nil {
		return err
	}
	second := p.peek()
	switch {
	case w.kind == tumbling, w.kind == sliding:
		return nil
	case !p.punct(","):
		if w.kind == hopping {
			return p.unexpected(`"," and the hop`)
		}
		return nil
	}
	second = p.peek()
	if w.step, err = size(); err != nil {
		return err
	}
	if w.kind == hopping && (w.step > w.size || w.size/w.step > hopsMax) {
		return p.errorOf(second, "a hop that is at most the size and at least its "+strconv.Itoa(hopsMax)+"th part")
	}
	return nil
}

// eventTime = [ ON expr [ LATE dur ] ].
func (p *parser) eventTime(w *windowClause, kind token) (err error) {
	on := p.peek()
	if !p.keyword("ON") {
		return nil
	}
	if w.kind == sliding || w.kind == counting {
		return p.errorOf(on, "no ON with "+strings.ToUpper(kind.text))
	}
	if w.eventTime, err = p.expression(); err != nil {
		return err
	}
	if p.keyword("LATE") {
		w.late, err = p.duration()
	}
	return err
}
