package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tidehold/tidehold/gateway/config/tree"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
)

var (
	typeForm      = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)
	attributeForm = regexp.MustCompile(`^[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}$`)
	ruleForm      = regexp.MustCompile(`^[a-zA-Z0-9_]{1,128}$`)
	tableForm     = regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`)
	columnForm    = regexp.MustCompile(`^[^\x00-\x1f"]{1,255}$`)
)

// actionKinds are the rule actions of this version.
var actionKinds = []string{"dynamoDB", "dynamoDBv2", "edge.forward", "edge.log", "edge.shadow", "republish"}

// Limits of a rule (rules.md section 1).
const (
	sqlBytesMax    = 256 << 10
	actionsMax     = 10
	sqlVersion2016 = "2016-03-23"
)

func (l *loader) thing(m *tree.Map) {
	defer m.Done()
	t := Thing{Name: tree.Get(m, "name", "thing name", tree.Required, iot.ParseThingName)}
	t.Type = tree.Get(m, "type", "name of a thing type", "", func(s string) (string, error) {
		if !typeForm.MatchString(s) {
			return "", fmt.Errorf("%q: want 1 to 128 characters of A-Z a-z 0-9 : _ -", s)
		}
		return s, nil
	})
	t.Attributes = m.TextMap("attributes")
	for key, text := range t.Attributes {
		if !typeForm.MatchString(key) || !attributeForm.MatchString(text) {
			m.Fail(tree.Member("attributes", key), "an attribute holds letters, digits and _ . , @ / : # = [ ] - only, its name letters, digits and : _ -", "")
		}
	}
	t.Groups = m.Texts("groups", "list of thing groups")
	t.Policies = m.Texts("policies", "list of policy names")
	l.knownPolicies(m, t.Policies)
	shadow := m.Map("shadow")
	if writable := shadow.Texts("writable", "list of members of desired"); shadow.Has("writable") {
		t.Writable = writable
	}
	shadow.Done()
	l.sites.things = append(l.sites.things, site{m, string(t.Name)})
	l.cfg.Things = append(l.cfg.Things, t)
}

func (l *loader) rule(m *tree.Map) {
	defer m.Done()
	r := Rule{Name: formed(m, "name", tree.Required, ruleForm, "1 to 128 characters of A-Z a-z 0-9 _"), SQL: m.Text("sql", tree.Required)}
	r.AWSIoTSQLVersion = m.Word("awsIotSqlVersion", sqlVersion2016, "2015-10-08", sqlVersion2016, "beta")
	r.Disabled = m.Bool("ruleDisabled", "false")
	r.Description = m.Text("description", "")
	r.Actions = l.actions(m)
	r.ErrorAction = m.JSON("errorAction", "an action", "")
	l.checkRule(m, r)
	l.sites.rules = append(l.sites.rules, site{m, r.Name})
	l.cfg.Rules = append(l.cfg.Rules, r)
}

// checkRule checks the statement, then the actions in its light.
func (l *loader) checkRule(m *tree.Map, r Rule) {
	statement := l.checkSQL(m, r)
	good := statement != nil && len(r.Actions) > 0
	for i, action := range r.Actions {
		path := actionPath(i)
		good = l.checkAction(m, path, action) && good
		checkTemplates(m, path, action, statement, iotsql.ParseTemplate)
	}
	if r.ErrorAction != nil {
		good = l.checkAction(m, "errorAction", r.ErrorAction) && good
		checkTemplates(m, "errorAction", r.ErrorAction, statement, iotsql.ParseErrorTemplate)
	}
	if !good || l.opt.CheckRule == nil || r.Name == "" {
		return
	}
	l.later(func() { l.checkWhole(m, r) })
}

func (l *loader) actions(m *tree.Map) []json.RawMessage {
	text := m.JSON("actions", "list of actions", tree.Required)
	if text == nil {
		return nil
	}
	var list []json.RawMessage
	if m.Kind("actions") != tree.List || json.Unmarshal(text, &list) != nil {
		m.Fail("actions", "want a list of actions", "like actions: [{republish: {topic: a/b}}]")
		return nil
	}
	if len(list) > actionsMax {
		m.Fail("actions", fmt.Sprintf("%d actions; at most %d", len(list), actionsMax), "")
	}
	return list
}

// checkAction wants an object with one member, a kind that this gateway has.
func (l *loader) checkAction(m *tree.Map, path string, action json.RawMessage) bool {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(action, &members); err != nil || len(members) != 1 {
		m.Fail(path, "want a map with one member, the kind of the action", "like {republish: {topic: a/b}}")
		return false
	}
	for kind, fields := range members {
		if !slices.Contains(l.opt.Actions, kind) {
			m.Fail(path, fmt.Sprintf("action %q is not available here", kind), amongst(kind, l.opt.Actions, "none is"))
			return false
		}
		if !strings.HasPrefix(string(fields), "{") {
			m.Fail(path, fmt.Sprintf("action %q wants a map of its fields", kind), "")
			return false
		}
	}
	return true
}

func (l *loader) table(m *tree.Map) {
	defer m.Done()
	t := Table{Name: formed(m, "name", tree.Required, tableForm, "3 to 255 characters of A-Z a-z 0-9 _ . -"), Key: m.Texts("key", "list of columns")}
	for i, column := range t.Key {
		if !columnForm.MatchString(column) || slices.Index(t.Key, column) < i {
			m.Fail(fmt.Sprintf("key[%d]", i), fmt.Sprintf("column %q is no name, or stands twice", column), "")
		}
	}
	l.sites.tables = append(l.sites.tables, site{m, t.Name})
	l.cfg.Tables = append(l.cfg.Tables, t)
}
