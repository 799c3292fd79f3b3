package iotsql

import "github.com/tidehold/tidehold/gateway/iotsql/value"

// expression is a node of the syntax tree. position is the byte where it
// begins, or where its operator stands.
type expression interface{ position() int }

// at gives a node its position.
type at int

func (a at) position() int { return int(a) }

type (
	literal struct {
		at
		value value.Value
	}
	// name is a bare attribute name.
	name struct {
		at
		name string
	}
	// star is the whole document, or the element of a nested select.
	star     struct{ at }
	variable struct {
		at
		name string
	}
	member struct {
		at
		of   expression
		name string
	}
	element struct {
		at
		of, index expression
	}
	// memberStar is `x.*`, which only a select item may be.
	memberStar struct {
		at
		of expression
	}
	call struct {
		at
		name string // lower case
		args []expression
	}
	unary struct {
		at
		op string
		x  expression
	}
	// binary is an operator of two operands; LIKE and IN stand in upper case.
	binary struct {
		at
		op          string
		left, right expression
	}
	inList struct {
		at
		x    expression
		list []expression
	}
	between struct {
		at
		x, low, high expression
	}
	// isTest is `x IS NULL` or `x IS UNDEFINED`.
	isTest struct {
		at
		x         expression
		undefined bool
	}
	caseOf struct {
		at
		operand expression // nil: conditions stand behind WHEN
		whens   []when
		orElse  expression // may be nil
	}
	when struct{ match, then expression }
	cast struct {
		at
		x    expression
		kind string // lower case
	}
	arrayOf struct {
		at
		items []expression
	}
	objectOf struct {
		at
		keys   []string
		values []expression
	}
	subselect struct {
		at
		query *query
	}
)

// query is a SELECT, at top level or nested.
type query struct {
	value    bool // SELECT VALUE
	items    []item
	from     expression // of a nested select; nil is the document
	filter   string     // of the top level
	filterAt int
	hasFrom  bool
	schedule string
	where    expression
	hold     int64 // FOR, in milliseconds; -1 without
	group    []expression
	window   *windowClause
	having   expression
	havingAt int
}

// item is one thing that a query selects.
type item struct {
	x       expression
	path    []string // where it goes; empty for a bare star
	aliased bool
}

// windowClause is WINDOW as written; times in milliseconds.
type windowClause struct {
	at        int
	kind      windowKind
	size      int64 // or count
	step      int64 // HOPPING's hop, COUNT's step, SESSION's maximum; 0 without
	eventTime expression
	late      int64
}

// windowKind is the kind of a window.
type windowKind uint8

const (
	noWindow windowKind = iota
	tumbling
	hopping
	sliding
	session
	counting
)

// assignment is one `@name = expression` of SET.
type assignment struct {
	name string
	at   int
	x    expression
}
