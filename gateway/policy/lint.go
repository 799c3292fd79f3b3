package policy

import (
	"fmt"
	"strings"
)

// Lint says what is legal and probably not meant (the list of security.md 1.6):
// sentences for people, each naming its statement.
func (d *Document) Lint() []string {
	var all []string
	switch d.version {
	case "":
		all = append(all, `Version is missing: variables are literal text (want "2012-10-17")`)
	case versionOld:
		all = append(all, `Version 2008-10-17: variables are literal text (want "2012-10-17")`)
	}
	for i := range d.statements {
		for _, text := range d.statements[i].lint() {
			all = append(all, fmt.Sprintf("statement %d: %s", i, text))
		}
	}
	if d.UsesClientID() && !d.restrictsConnect() {
		all = append(all, "${iot:ClientId} is used, but iot:Connect is allowed for any client id: a client picks what it may do")
	}
	return all
}

func (s *statement) lint() []string {
	var all []string
	warn := func(when bool, text string) {
		if when {
			all = append(all, text)
		}
	}
	everything := false
	for _, r := range s.resources {
		everything = everything || r.all
	}
	warn(!s.deny && s.namesAll(), "Action * allows everything, administration included")
	warn(!s.deny && everything && (s.names("iot:publish") || s.names("iot:subscribe")),
		"Resource * with Publish or Subscribe opens every topic, those of other devices included")
	warn(!s.deny && s.opensLevel(), "a topicfilter with + is granted as text: it reads what other devices send")
	warn(s.deny && s.usesThing(), "a Deny with thing variables does nothing while they are unresolved")
	warn(s.emptySetPasses(), "ForAllValues is true for a missing key: add a Null condition")
	return all
}

func (s *statement) names(action string) bool {
	for _, a := range s.actions {
		if p, _ := a.pattern(&Connection{}, func(string) {}); p.match(action) {
			return !s.notAction
		}
	}
	return s.notAction
}

func (s *statement) namesAll() bool {
	for _, a := range s.actions {
		if len(a) == 1 && a[0].kind == star {
			return true
		}
	}
	return false
}

func (s *statement) opensLevel() bool {
	for _, r := range s.resources {
		text := r.fields[5].source()
		if strings.HasPrefix(text, "topicfilter/") && strings.Contains(text, "+") {
			return true
		}
	}
	return false
}

func (s *statement) usesThing() bool {
	isThing := func(name string) bool { return strings.HasPrefix(strings.ToLower(name), thingPrefix) }
	for _, c := range s.conditions {
		if isThing(c.key) {
			return true
		}
	}
	return s.uses(isThing)
}

func (s *statement) emptySetPasses() bool {
	for _, c := range s.conditions {
		if c.set == forAll && !s.hasNull(c.key) {
			return true
		}
	}
	return false
}

func (s *statement) hasNull(key string) bool {
	for _, c := range s.conditions {
		if c.op.name == opNull && strings.EqualFold(c.key, key) {
			return true
		}
	}
	return false
}

// restrictsConnect reports whether every Allow of iot:Connect names its client.
func (d *Document) restrictsConnect() bool {
	for i := range d.statements {
		s := &d.statements[i]
		if s.deny || !s.names("iot:connect") {
			continue
		}
		for _, r := range s.resources {
			text := r.fields[5].source()
			if r.all || text == "client/*" || text == "*" || s.notRes {
				return false
			}
		}
	}
	return true
}
