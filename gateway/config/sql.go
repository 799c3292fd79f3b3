package config

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidehold/tidehold/gateway/config/tree"
	"github.com/tidehold/tidehold/gateway/iotsql"
)

// checkSQL parses a rule's statement; nil means it is wrong. The place of a
// problem is the scalar, the message has the line and column within it.
func (l *loader) checkSQL(m *tree.Map, r Rule) *iotsql.Statement {
	if !m.Has("sql") {
		return nil
	}
	if len(r.SQL) > sqlBytesMax {
		m.Fail("sql", fmt.Sprintf("the statement has %d bytes; at most %d", len(r.SQL), sqlBytesMax), "")
		return nil
	}
	statement, err := iotsql.Parse(r.SQL, r.AWSIoTSQLVersion)
	if err != nil {
		m.Fail("sql", err.Error(), "")
		return nil
	}
	for _, w := range statement.Warnings() {
		m.Warn("sql", fmt.Sprintf("sql line %d, column %d: %s", w.Line, w.Column, w.Message), "")
	}
	return statement
}

// checkTemplates parses every text of an action that holds `${`; without a
// statement there is nothing to parse it by.
func checkTemplates(m *tree.Map, path string, action json.RawMessage, s *iotsql.Statement, parse func(string, *iotsql.Statement) (*iotsql.Template, error)) {
	var fields any
	if s == nil || json.Unmarshal(action, &fields) != nil {
		return
	}
	eachText(fields, path, func(path, text string) {
		if !strings.Contains(text, "${") {
			return
		}
		if _, err := parse(text, s); err != nil {
			m.Fail(path, err.Error(), "")
		}
	})
}

// eachText calls f with every text in a JSON value and its path.
func eachText(v any, path string, f func(path, text string)) {
	switch v := v.(type) {
	case string:
		f(path, v)
	case []any:
		for i, item := range v {
			eachText(item, fmt.Sprintf("%s[%d]", path, i), f)
		}
	case map[string]any:
		for key, item := range v {
			eachText(item, tree.Member(path, key), f)
		}
	}
}
