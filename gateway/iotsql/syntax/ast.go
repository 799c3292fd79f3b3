package syntax

import "github.com/tidehold/tidehold/gateway/iotsql/value"

// Expression is a node of the syntax tree.
type Expression interface {
	// Position is the byte of the text where the node begins, or where its
	// operator stands.
	Position() int
}

// at gives a node its position.
type at int

// Position is the byte where the node begins.
func (a at) Position() int { return int(a) }

// The nodes of expressions.
type (
	// Literal is a constant.
	Literal struct {
		at
		Value value.Value
	}
	// Name is a bare attribute name.
	Name struct {
		at
		Name string
	}
	// Star is the whole document, or the element of a nested select.
	Star struct{ at }
	// Variable is a variable, without its @.
	Variable struct {
		at
		Name string
	}
	// Member is `of.name`.
	Member struct {
		at
		Of   Expression
		Name string
	}
	// Element is `of[index]`.
	Element struct {
		at
		Of, Index Expression
	}
	// MemberStar is `of.*`, which only a select item may be.
	MemberStar struct {
		at
		Of Expression
	}
	// Call is a call of the function Name, in lower case.
	Call struct {
		at
		Name string
		Args []Expression
	}
	// Unary is NOT, - or +.
	Unary struct {
		at
		Op string
		X  Expression
	}
	// Binary is an operator of two operands; words are in upper case and !=
	// is written <>.
	Binary struct {
		at
		Op          string
		Left, Right Expression
	}
	// InList is `x IN (list)`.
	InList struct {
		at
		X    Expression
		List []Expression
	}
	// Between is `x BETWEEN low AND high`.
	Between struct {
		at
		X, Low, High Expression
	}
	// IsTest is `x IS NULL` or `x IS UNDEFINED`.
	IsTest struct {
		at
		X         Expression
		Undefined bool
	}
	// Case is CASE; without Operand, conditions stand behind WHEN. Else may be
	// nil.
	Case struct {
		at
		Operand Expression
		Whens   []When
		Else    Expression
	}
	// When is one branch of a Case.
	When struct{ Match, Then Expression }
	// Cast is `CAST(x AS kind)`, the kind in lower case.
	Cast struct {
		at
		X    Expression
		Kind string
	}
	// ArrayOf is an array literal.
	ArrayOf struct {
		at
		Items []Expression
	}
	// ObjectOf is an object literal.
	ObjectOf struct {
		at
		Keys   []string
		Values []Expression
	}
	// Subselect is a nested select.
	Subselect struct {
		at
		Query *Query
	}
)

// Query is a SELECT, at top level or nested. From belongs to nested ones (nil
// is the document), the topic filter and the clauses of time to the top level.
type Query struct {
	Value    bool // SELECT VALUE
	Items    []Item
	From     Expression
	Filter   string
	FilterAt int
	HasFrom  bool
	Schedule string
	Where    Expression
	Hold     int64 // FOR, in milliseconds; -1 without
	Group    []Expression
	Window   *Window
	Having   Expression
}

// Item is one thing that a query selects. Path is where it goes, nil for a
// bare star.
type Item struct {
	X    Expression
	Path []string
}

// Window is WINDOW as written; times in milliseconds. Size may be a count.
// Step is HOPPING's hop, COUNT's step, SESSION's maximum; 0 without.
type Window struct {
	At        int
	Kind      WindowKind
	Size      int64
	Step      int64
	EventTime Expression
	Late      int64
}

// WindowKind is the kind of a window.
type WindowKind uint8

// The kinds of window.
const (
	NoWindow WindowKind = iota
	Tumbling
	Hopping
	Sliding
	Session
	Counting
)

// Assignment is one `@name = expression` of SET.
type Assignment struct {
	Name string
	At   int
	X    Expression
}
