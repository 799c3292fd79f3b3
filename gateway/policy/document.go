package policy

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/iot"
)

// The two versions of the language. Only the newer one knows variables; a
// document without Version is of the older one.
const (
	versionOld = "2008-10-17"
	versionNew = "2012-10-17"
)

// Document is a parsed policy. It is immutable and safe to share.
type Document struct {
	version    string // empty when the text gives none
	statements []statement
}

// statement is one statement with every text taken apart, variables still open.
type statement struct {
	sid        string
	deny       bool
	actions    []template // lower case
	notAction  bool
	resources  []arnTemplate
	notRes     bool
	conditions []condition
}

// Parse reads a document of at most MaxChars characters. Every error is an
// InvalidRequest that wraps ErrMalformed and says where and what.
func Parse(text []byte) (*Document, error) { return ParseMax(text, MaxChars) }

// ParseMax is Parse with another limit of characters.
func ParseMax(text []byte, chars int) (*Document, error) {
	if err := checkSize(text, chars); err != nil {
		return nil, err
	}
	members, err := readObject(text, "policy")
	if err != nil {
		return nil, err
	}
	d := &Document{}
	var statements []byte
	for _, m := range members {
		switch m.name {
		case "Version":
			d.version, err = readVersion(m.raw)
		case "Id":
			_, err = readString(m.raw, "Id")
		case "Statement":
			statements = m.raw
		default:
			err = malformed("policy: unknown member %q (want Version and Statement)", m.name)
		}
		if err != nil {
			return nil, err
		}
	}
	if statements == nil {
		return nil, malformed("policy: Statement is missing")
	}
	return d, d.readStatements(statements)
}

func checkSize(text []byte, chars int) error {
	if len(text) > MaxBytes {
		return malformed("policy has %d bytes; the maximum is %d", len(text), MaxBytes)
	}
	if !utf8.Valid(text) {
		return malformed("policy is not UTF-8")
	}
	n := 0
	for _, r := range string(text) {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	if n > chars {
		return malformed("policy has %d characters besides white space; the maximum is %d", n, chars)
	}
	return nil
}

func readVersion(raw []byte) (string, error) {
	v, err := readString(raw, "Version")
	if err == nil && v != versionOld && v != versionNew {
		err = malformed("policy Version %q: want %q or %q", v, versionNew, versionOld)
	}
	return v, err
}

func (d *Document) variables() bool { return d.version == versionNew }

func (d *Document) readStatements(raw []byte) error {
	list, err := readList(raw, "Statement")
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return malformed("policy: Statement is an empty list")
	}
	for i, item := range list {
		s, err := readStatement(item, d.variables())
		if err != nil {
			return malformed("statement %d: %s", i, iot.MessageOf(err))
		}
		d.statements = append(d.statements, s)
	}
	return nil
}

func readStatement(raw []byte, variables bool) (statement, error) {
	members, err := readObject(raw, "statement")
	if err != nil {
		return statement{}, err
	}
	var s statement
	seen := make(map[string]bool)
	for _, m := range members {
		seen[m.name] = true
		if err := s.read(m, variables); err != nil {
			return statement{}, err
		}
	}
	switch {
	case !seen["Effect"]:
		err = malformed("Effect is missing")
	case seen["Action"] == seen["NotAction"]:
		err = malformed("want exactly one of Action and NotAction")
	case seen["Resource"] == seen["NotResource"]:
		err = malformed("want exactly one of Resource and NotResource")
	}
	return s, err
}

func (s *statement) read(m member, variables bool) (err error) {
	switch m.name {
	case "Sid":
		s.sid, err = readString(m.raw, "Sid")
	case "Effect":
		s.deny, err = readEffect(m.raw)
	case "Action", "NotAction":
		s.notAction = m.name == "NotAction"
		s.actions, err = readActions(m)
	case "Resource", "NotResource":
		s.notRes = m.name == "NotResource"
		s.resources, err = readResources(m, variables)
	case "Condition":
		s.conditions, err = readConditions(m.raw, variables)
	case "Principal", "NotPrincipal":
		err = malformed("%s is not allowed: a policy is attached to its principal", m.name)
	default:
		err = malformed("unknown member %q", m.name)
	}
	return err
}

func readEffect(raw []byte) (deny bool, err error) {
	effect, err := readString(raw, "Effect")
	if err == nil && effect != "Allow" && effect != "Deny" {
		err = malformed("Effect %q: want \"Allow\" or \"Deny\"", effect)
	}
	return effect == "Deny", err
}

// readActions takes `service:Name` with wildcards, or `*`; case is ignored, and
// variables have no meaning.
func readActions(m member) ([]template, error) {
	texts, err := readStrings(m.raw, m.name)
	if err != nil {
		return nil, err
	}
	var actions []template
	for _, text := range texts {
		if text != "*" && !strings.Contains(text, ":") {
			return nil, malformed("%s %q: want service:Name or *", m.name, text)
		}
		t, _ := parseTemplate(strings.ToLower(text), false)
		actions = append(actions, t)
	}
	return actions, nil
}

func readResources(m member, variables bool) ([]arnTemplate, error) {
	texts, err := readStrings(m.raw, m.name)
	if err != nil {
		return nil, err
	}
	var resources []arnTemplate
	for _, text := range texts {
		t, err := parseTemplate(text, variables)
		if err != nil {
			return nil, err
		}
		arn, ok := t.arn()
		if !ok {
			return nil, malformed("%s %q: want * or an ARN of six fields, arn:aws:iot:REGION:ACCOUNT:RESOURCE", m.name, text)
		}
		resources = append(resources, arn)
	}
	return resources, nil
}

// UsesClientID reports whether a resource or condition holds ${iot:ClientId}:
// client ids with wildcards are refused then (security.md 1.3).
func (d *Document) UsesClientID() bool {
	return d.uses(func(name string) bool { return strings.EqualFold(name, "iot:ClientId") })
}

// uses reports whether any variable of the document satisfies f.
func (d *Document) uses(f func(name string) bool) bool {
	for i := range d.statements {
		if d.statements[i].uses(f) {
			return true
		}
	}
	return false
}

func (s *statement) uses(f func(name string) bool) bool {
	for _, r := range s.resources {
		if r.uses(f) {
			return true
		}
	}
	for _, c := range s.conditions {
		for _, v := range c.values {
			if v.uses(f) {
				return true
			}
		}
	}
	return false
}

// StatementText gives the text of one statement of a document, as Decision
// numbers them; false when the document has no such statement.
func StatementText(document []byte, index int) ([]byte, bool) {
	members, err := readObject(document, "policy")
	if err != nil {
		return nil, false
	}
	for _, m := range members {
		if m.name != "Statement" {
			continue
		}
		list, err := readList(m.raw, "Statement")
		if err != nil || index < 0 || index >= len(list) {
			return nil, false
		}
		return list[index], true
	}
	return nil, false
}
