package syntax

import (
	"strconv"
	"strings"
)

// query = SELECT ( VALUE item | item { "," item } ) and its clauses.
func (p *parser) query(nested bool) (*Query, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if err := p.expectKeyword("SELECT"); err != nil {
		return nil, err
	}
	q := &Query{Hold: -1, Value: p.valueKeyword()}
	if q.Value {
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
		q.Where = x
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

func (p *parser) items(q *Query) error {
	for {
		it, err := p.item(len(q.Items) + 1)
		if err != nil {
			return err
		}
		q.Items = append(q.Items, it)
		if !p.peek().isPunct(",") {
			return nil
		}
		if q.Value {
			return p.unexpected("FROM, WHERE or the end; SELECT VALUE takes one item")
		}
		p.next++
	}
}

// item = ( "*" | expr | postfix ".*" ) [ AS alias ].
func (p *parser) item(position int) (Item, error) {
	var it Item
	if t := p.peek(); t.isPunct("*") && endsItem(p.peekAt(1)) {
		p.next++
		it.X = &Star{at(t.at)}
	} else {
		x, err := p.expression()
		if err != nil {
			return Item{}, err
		}
		it.X = x
		it.Path = []string{defaultKey(x, position)}
	}
	if !p.keyword("AS") {
		return it, nil
	}
	path, err := p.alias()
	it.Path = path
	if spread, ok := it.X.(*MemberStar); ok {
		it.X = spread.Of
	}
	return it, err
}

// endsItem reports whether t stands behind a bare star.
func endsItem(t token) bool {
	return t.kind == endOfText || t.kind == word || t.isPunct(",") || t.isPunct(")")
}

// defaultKey is the output key of an item without AS.
func defaultKey(x Expression, position int) string {
	switch x := x.(type) {
	case *Name:
		return x.Name
	case *Member:
		return x.Name
	case *Variable:
		return x.Name
	case *Call:
		return x.Name
	case *Cast:
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
func (p *parser) source(q *Query, nested bool) error {
	if nested {
		x, err := p.expression()
		q.From = x
		return err
	}
	t := p.peek()
	if t.is("SCHEDULE") && p.peekAt(1).kind == stringText {
		if err := p.modern(t, "FROM SCHEDULE"); err != nil {
			return err
		}
		p.next++
		t = p.advance()
		q.Schedule, q.FilterAt = t.text, t.at
		return nil
	}
	if t.kind != stringText {
		return p.unexpected("a topic filter in quotes")
	}
	p.next++
	q.Filter, q.FilterAt, q.HasFrom = t.text, t.at, true
	return nil
}

// timeClauses parses FOR, GROUP BY, WINDOW and HAVING, whose words are
// keywords only here (rules.md section 11).
func (p *parser) timeClauses(q *Query) error {
	first := p.peek()
	if q.Where != nil && p.keyword("FOR") {
		ms, err := p.duration()
		if err != nil {
			return err
		}
		q.Hold = ms
	}
	if p.keyword("GROUP") {
		if err := p.groupBy(q); err != nil {
			return err
		}
	}
	if t := p.peek(); p.keyword("WINDOW") {
		if q.Hold >= 0 {
			return p.errorOf(t, "no WINDOW together with FOR")
		}
		if err := p.window(q, t); err != nil {
			return err
		}
	}
	if t := p.peek(); p.keyword("HAVING") {
		if q.Window == nil {
			return p.errorOf(t, "HAVING only after WINDOW; use WHERE")
		}
		x, err := p.expression()
		if err != nil {
			return err
		}
		q.Having = x
	}
	if p.peek().at != first.at {
		return p.modern(first, strings.ToUpper(first.text))
	}
	return nil
}

func (p *parser) groupBy(q *Query) error {
	if err := p.expectKeyword("BY"); err != nil {
		return err
	}
	for {
		x, err := p.expression()
		if err != nil {
			return err
		}
		q.Group = append(q.Group, x)
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

// Limits of windows: the messages of COUNT, and the windows of HOPPING that
// one message may be in.
const (
	CountMax = 10_000
	HopsMax  = 1000
)

// count is a whole number from 1 to the longest window.
func (p *parser) count() (int64, error) {
	t := p.peek()
	n, err := strconv.ParseInt(t.text, 10, 64)
	if t.kind != numberText || err != nil || n < 1 || n > CountMax {
		return 0, p.unexpected("a whole number from 1 to " + strconv.Itoa(CountMax))
	}
	p.next++
	return n, nil
}

// windowNames names the windows.
var windowNames = map[string]WindowKind{
	"TUMBLING": Tumbling, "HOPPING": Hopping, "SLIDING": Sliding, "SESSION": Session, "COUNT": Counting,
}

func (p *parser) window(q *Query, keyword token) error {
	t := p.peek()
	kind := windowNames[strings.ToUpper(t.text)]
	if t.kind != word || kind == NoWindow {
		return p.unexpected("TUMBLING, HOPPING, SLIDING, SESSION or COUNT")
	}
	p.next++
	w := &Window{At: keyword.at, Kind: kind}
	q.Window = w
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

func (p *parser) windowSizes(w *Window) (err error) {
	size := p.duration
	if w.Kind == Counting {
		size = p.count
	}
	if w.Size, err = size(); err != nil {
		return err
	}
	switch {
	case w.Kind == Tumbling, w.Kind == Sliding:
		return nil
	case !p.punct(","):
		if w.Kind == Hopping {
			return p.unexpected(`"," and the hop`)
		}
		return nil
	}
	second := p.peek()
	if w.Step, err = size(); err != nil {
		return err
	}
	if w.Kind == Hopping && (w.Step > w.Size || w.Size/w.Step > HopsMax) {
		return p.errorOf(second, "a hop that is at most the size and at least its "+strconv.Itoa(HopsMax)+"th part")
	}
	return nil
}

// eventTime = [ ON expr [ LATE dur ] ].
func (p *parser) eventTime(w *Window, kind token) (err error) {
	on := p.peek()
	if !p.keyword("ON") {
		return nil
	}
	if w.Kind == Sliding || w.Kind == Counting {
		return p.errorOf(on, "no ON with "+strings.ToUpper(kind.text))
	}
	if w.EventTime, err = p.expression(); err != nil {
		return err
	}
	if p.keyword("LATE") {
		w.Late, err = p.duration()
	}
	return err
}
