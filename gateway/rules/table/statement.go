package table

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Limits of a statement.
const (
	statementMax  = 64 << 10
	parametersMax = 250
)

// Mode is what a statement may do.
type Mode string

// The modes of edge.sql.
const (
	ModeExec  Mode = "exec"
	ModeQuery Mode = "query"
)

// verbs are the words that a statement may begin with.
var verbs = map[Mode][]string{
	ModeExec:  {"INSERT", "REPLACE", "UPDATE", "DELETE", "WITH"},
	ModeQuery: {"SELECT", "WITH", "VALUES"},
}

// Statement is one checked SQL statement with its parameters.
type Statement struct {
	mode Mode
	text string     // with ?1, ?2, … for parameters
	with [][]string // the path in the result of each parameter
	// target and columns are those of an INSERT that names them.
	target  string
	columns []string
	names   []string // identifiers in lower case
}

// Parse reads the statement of an edge.sql action. A parameter is `:a.b`, a
// path into the rule's result. Every refusal is an InvalidRequest.
func Parse(text string, mode Mode) (*Statement, error) {
	if len(text) > statementMax {
		return nil, iot.Errorf(iot.InvalidRequest, "the statement has %d bytes; at most %d", len(text), statementMax)
	}
	tokens, err := scan(text)
	if err != nil {
		return nil, err
	}
	s := &Statement{mode: mode}
	if err := s.check(tokens); err != nil {
		return nil, err
	}
	s.readInsert(tokens)
	return s, s.number(text, tokens)
}

// check looks at the words of the statement.
func (s *Statement) check(tokens []token) error {
	allowed, known := verbs[s.mode]
	switch {
	case !known:
		return iot.Errorf(iot.InvalidRequest, "mode %q: want exec or query", s.mode)
	case len(tokens) == 0:
		return iot.Errorf(iot.InvalidRequest, "the statement is empty")
	case !slices.ContainsFunc(allowed, tokens[0].is):
		return iot.Errorf(iot.InvalidRequest, "the statement begins with %q; mode %s allows %s", tokens[0].text, s.mode, strings.Join(allowed, ", "))
	}
	for i, t := range tokens {
		switch {
		case t.kind == symbol && t.text == ";" && i < len(tokens)-1:
			return iot.Errorf(iot.InvalidRequest, "more than one statement")
		case s.mode == ModeExec && t.is("RETURNING"):
			return iot.Errorf(iot.InvalidRequest, "RETURNING gives rows; mode exec has nowhere to put them")
		case s.mode == ModeExec && t.is("RECURSIVE"):
			return iot.Errorf(iot.InvalidRequest, "WITH RECURSIVE only in mode query: a change cannot be interrupted")
		case (t.kind == word || t.kind == name) && forbidden(t.text):
			return iot.Errorf(iot.InvalidRequest, "%q is not for rules", t.text)
		}
		if t.kind == word || t.kind == name {
			s.names = append(s.names, strings.ToLower(t.text))
		}
	}
	return nil
}

// forbidden are the tables and functions by which SQLite tells about itself.
func forbidden(text string) bool {
	lower := strings.ToLower(text)
	return reserved(text) || strings.HasPrefix(lower, "pragma_") ||
		slices.Contains([]string{"dbstat", "bytecode", "tables_used", "load_extension", "fts3_tokenizer"}, lower)
}

// readInsert finds table and columns of INSERT INTO t (a, b), so that both can
// be made.
func (s *Statement) readInsert(tokens []token) {
	i := slices.IndexFunc(tokens, func(t token) bool { return t.is("INTO") })
	if i < 0 || !tokens[0].is("INSERT") && !tokens[0].is("REPLACE") || i+2 >= len(tokens) || !tokens[i+1].names() {
		return
	}
	target, rest := tokens[i+1].text, tokens[i+2:]
	if CheckName(target) != nil || rest[0].text != "(" {
		return
	}
	var columns []string
	for _, t := range rest[1:] {
		switch {
		case t.names():
			columns = append(columns, t.text)
		case t.text == ")":
			s.target, s.columns = target, columns
			return
		case t.text != ",":
			return
		}
	}
}

// number replaces parameters by numbered ones.
func (s *Statement) number(text string, tokens []token) error {
	var out strings.Builder
	at := 0
	for _, t := range tokens {
		if t.kind != parameter {
			continue
		}
		path := strings.Split(t.text, ".")
		n := slices.IndexFunc(s.with, func(p []string) bool { return slices.Equal(p, path) })
		if n < 0 {
			n = len(s.with)
			s.with = append(s.with, path)
		}
		out.WriteString(text[at:t.from])
		fmt.Fprintf(&out, "?%d", n+1)
		at = t.to
	}
	if len(s.with) > parametersMax {
		return iot.Errorf(iot.InvalidRequest, "%d parameters; at most %d", len(s.with), parametersMax)
	}
	out.WriteString(text[at:])
	s.text = strings.TrimRight(out.String(), "; \t\r\n")
	return nil
}

// unbound is the statement with null for every parameter, for places where
// SQLite takes none.
func (s *Statement) unbound() string {
	text := s.text
	for n := len(s.with); n > 0; n-- {
		text = strings.ReplaceAll(text, "?"+strconv.Itoa(n), "NULL")
	}
	return text
}

// Bind gives the values of the parameters from a result; a path that leads
// nowhere is null.
func (s *Statement) Bind(result []byte) ([]any, error) {
	if len(s.with) == 0 {
		return nil, nil
	}
	members, err := objectOf(result)
	if err != nil {
		return nil, err
	}
	args := make([]any, len(s.with))
	for i, path := range s.with {
		args[i] = follow(members, path)
	}
	return args, nil
}

func follow(members map[string]json.RawMessage, path []string) any {
	for _, name := range path[:len(path)-1] {
		var inner map[string]json.RawMessage
		if json.Unmarshal(members[name], &inner) != nil {
			return nil
		}
		members = inner
	}
	raw, ok := members[path[len(path)-1]]
	if !ok {
		return nil
	}
	return sqlValue(raw)
}
