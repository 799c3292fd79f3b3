package policy

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// reference decides as security.md sections 1.2 to 1.5 read, sentence by
// sentence, over plain JSON values: no compiling, no sharing with the package,
// and a matcher that tries everything.
type reference struct {
	known map[string][]string // keys that have values, by lower-case name
	vars  bool                // of the document at hand
}

func referenceOf(c Connection) reference {
	known := map[string][]string{"iot:clientid": {c.ClientID}, "aws:sourceip": {c.SourceIP}}
	if t := c.Thing; t != nil && t.Attached && (t.Exclusive || t.Name == c.ClientID) {
		known["iot:connection.thing.thingname"] = []string{t.Name}
		known["iot:connection.thing.attributes[n]"] = []string{t.Attributes["n"]}
	}
	if units := c.Subject["OrganizationalUnit"]; len(units) > 0 {
		known["iot:certificate.subject.organizationalunit"] = units[:1]
		known["iot:certificate.subject.organizationalunit.list"] = units
	}
	return reference{known: known}
}

// evaluate gives `allowed`, `explicitDeny` or `implicitDeny`.
func (r reference) evaluate(documents []map[string]any, action, topic string) string {
	allowed, denied := false, false
	for _, d := range documents {
		r.vars = d["Version"] == "2012-10-17"
		for _, s := range d["Statement"].([]map[string]any) {
			if !r.applies(s, action, topic) {
				continue
			}
			allowed, denied = allowed || s["Effect"] == "Allow", denied || s["Effect"] == "Deny"
		}
	}
	switch {
	case denied:
		return "explicitDeny"
	case allowed:
		return "allowed"
	}
	return "implicitDeny"
}

func (r reference) applies(s map[string]any, action, topic string) bool {
	return r.names(s, action) && r.covers(s, topic) && r.meets(s)
}

func (r reference) names(s map[string]any, action string) bool {
	list, not := s["NotAction"].([]string)
	if !not {
		list = s["Action"].([]string)
	}
	hit := slices.ContainsFunc(list, func(p string) bool {
		return tries(plainTokens(strings.ToLower(p)), []rune(strings.ToLower(action)))
	})
	return hit != not
}

func (r reference) covers(s map[string]any, topic string) bool {
	list, not := s["NotResource"].([]string)
	if !not {
		list = s["Resource"].([]string)
	}
	hit, open := false, false
	for _, text := range list {
		if text == "*" {
			hit = true
			continue
		}
		fields := strings.SplitN(text, ":", 6)
		fits := true
		for i, own := range []string{"arn", "aws", "iot", home.Region, home.Account} {
			fits = fits && tries(plainTokens(fields[i]), []rune(own))
		}
		last, resolved := r.tokens(fields[5])
		open = open || fits && !resolved
		hit = hit || fits && resolved && tries(last, []rune(topic))
	}
	// An Allow that does not know what it spares does not apply.
	if not && open && s["Effect"] == "Allow" {
		return false
	}
	return hit != not
}

func (r reference) meets(s map[string]any) bool {
	conditions, _ := s["Condition"].(map[string]map[string][]string)
	for operator, keys := range conditions {
		for key, wanted := range keys {
			values, known := r.known[strings.ToLower(key)]
			if !r.holds(operator, values, known, wanted) {
				return false
			}
		}
	}
	return true
}

func (r reference) holds(operator string, values []string, known bool, wanted []string) bool {
	name, set := operator, ""
	if before, after, found := strings.Cut(operator, ":"); found {
		set, name = before, after
	}
	name, ifExists := strings.CutSuffix(name, "IfExists")
	negated := strings.Contains(name, "Not")
	name = strings.Replace(name, "Not", "", 1)
	if name == "Null" {
		return slices.Contains(wanted, strconv.FormatBool(!known))
	}
	if !known {
		return ifExists || set == "ForAllValues" || set == "" && negated
	}
	fits := func(value string) bool {
		return slices.ContainsFunc(wanted, func(want string) bool { return r.compares(name, value, want) }) != negated
	}
	if set == "ForAnyValue" || set == "" && !negated {
		return slices.ContainsFunc(values, fits)
	}
	return !slices.ContainsFunc(values, func(v string) bool { return !fits(v) })
}

func (r reference) compares(name, value, want string) bool {
	tokens, resolved := r.tokens(want)
	if !resolved {
		return false
	}
	switch name {
	case "StringLike":
		return tries(tokens, []rune(value))
	case "NumericLessThan":
		a, err1 := strconv.ParseFloat(value, 64)
		b, err2 := strconv.ParseFloat(want, 64)
		return err1 == nil && err2 == nil && a < b
	case "IpAddress":
		network, err1 := netip.ParsePrefix(want)
		address, err2 := netip.ParseAddr(value)
		return err1 == nil && err2 == nil && network.Contains(address)
	}
	return value == textOf(tokens)
}

// token is a letter, or a wildcard.
type token struct {
	letter rune
	wild   bool
}

func plainTokens(text string) (all []token) {
	for _, c := range text {
		all = append(all, token{c, c == '*' || c == '?'})
	}
	return all
}

func textOf(tokens []token) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteRune(t.letter)
	}
	return b.String()
}

// tokens fills in the variables; what they hold are letters.
func (r reference) tokens(text string) (all []token, resolved bool) {
	for text != "" {
		name, rest, found := "", "", false
		if r.vars && strings.HasPrefix(text, "${") {
			name, rest, found = strings.Cut(text[2:], "}")
		}
		if !found {
			first := []rune(text)[0]
			all, text = append(all, plainTokens(string(first))...), text[len(string(first)):]
			continue
		}
		value := name // the escapes ${*} ${?} ${$}
		if len(name) > 1 {
			values := r.known[strings.ToLower(name)]
			if len(values) == 0 {
				return nil, false
			}
			value = values[0]
		}
		for _, c := range value {
			all = append(all, token{c, false})
		}
		text = rest
	}
	return all, true
}

func tries(p []token, s []rune) bool {
	switch {
	case len(p) == 0:
		return len(s) == 0
	case p[0].wild && p[0].letter == '*':
		return tries(p[1:], s) || len(s) > 0 && tries(p, s[1:])
	}
	return len(s) > 0 && (p[0].wild || p[0].letter == s[0]) && tries(p[1:], s[1:])
}

// dice draws documents and connections from few words, so that they often meet.
type dice struct{ *rand.Rand }

func (d dice) one(words ...string) string { return words[d.IntN(len(words))] }

func (d dice) some(words ...string) []string {
	list := make([]string, 1+d.IntN(2))
	for i := range list {
		list[i] = d.one(words...)
	}
	return list
}

func (d dice) resource() string {
	head := d.one("arn:aws:iot:*:*:", "arn:aws:iot:us-east-1:000000000000:", "arn:*:iot:us-?ast-1:*:", "arn:aws:iot:eu-west-1:000000000000:")
	return head + "topic/" + d.one("", "*/", "?/", "${iot:ClientId}/", "${iot:Connection.Thing.ThingName}/", "${IOT:Certificate.Subject.OrganizationalUnit}/", "${*}/", "a/") +
		d.one("a", "*", "?", "b*", "${iot:ClientId}", "${aws:SourceIp}", "x${?}")
}

func (d dice) statement() map[string]any {
	s := map[string]any{"Effect": d.one("Allow", "Allow", "Deny")}
	s[d.one("Action", "Action", "Action", "NotAction")] = d.some("iot:Publish", "iot:publish", "iot:*", "iot:Pub?ish", "*", "iot:Receive")
	resources := d.some(d.resource(), d.resource(), d.resource(), "*")
	s[d.one("Resource", "Resource", "Resource", "NotResource")] = resources
	if d.IntN(2) == 0 {
		s["Condition"] = d.conditions()
	}
	return s
}

func (d dice) conditions() map[string]map[string][]string {
	all := make(map[string]map[string][]string)
	for range 1 + d.IntN(2) {
		key := d.one("iot:ClientId", "iot:clientid", "aws:SourceIp", "iot:Connection.Thing.ThingName", "iot:Certificate.Subject.OrganizationalUnit.List",
			"iot:Connection.Thing.Attributes[n]", "iot:Nothing")
		operator := d.one("StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "NumericLessThan", "IpAddress", "NotIpAddress")
		values := d.some("a", "b", "*", "?", "10.0.0.0/8", "5", "7", "${iot:ClientId}", "${iot:Connection.Thing.ThingName}", "${*}", "a*")
		operator = d.one("", "", "ForAllValues:", "ForAnyValue:") + operator + d.one("", "", "IfExists")
		if d.IntN(6) == 0 {
			operator, values = "Null", d.some("true", "false")
		}
		all[operator] = map[string][]string{key: values}
	}
	return all
}

func (d dice) connection() Connection {
	c := Connection{ClientID: d.one("a", "b", "*", "a/a"), SourceIP: d.one("10.1.2.3", "192.168.0.1")}
	if d.IntN(3) > 0 {
		c.Thing = &Thing{Name: d.one("a", "b"), Attached: d.IntN(4) > 0, Exclusive: d.IntN(4) == 0, Attributes: map[string]string{"n": d.one("3", "6", "x")}}
	}
	if d.IntN(3) > 0 {
		c.Subject = map[string][]string{"OrganizationalUnit": d.some("a", "b", "x?")}
	}
	return c
}

// TestEvaluate_AgreesWithTheReference compares random policies on random
// connections with the reference above.
func TestEvaluate_AgreesWithTheReference(t *testing.T) {
	d, seen := dice{rand.New(rand.NewPCG(4, 7))}, make(map[string]int)
	for range gwtest.Rounds(20_000, 5_000_000) {
		var plain []map[string]any
		var named []Named
		for range 1 + d.IntN(2) {
			document := map[string]any{"Version": d.one("2012-10-17", "2012-10-17", "2012-10-17", "2008-10-17"), "Statement": []map[string]any{d.statement(), d.statement()}}
			text, err := json.Marshal(document)
			if err != nil {
				t.Fatal(err)
			}
			plain, named = append(plain, document), append(named, Named{Name: "p", Document: mustParse(t, string(text))})
		}
		conn, topic := d.connection(), "topic/"+d.one("a/", "b/", "*/", "", "x?/")+d.one("a", "b", "ba", "10.1.2.3", "x?", "*")
		action := d.one("iot:Publish", "iot:Publish", "iot:Receive")
		got := Compile(named, conn, home).Evaluate(Request{Action: action, Resource: topic}).Reason()
		want := referenceOf(conn).evaluate(plain, action, topic)
		if got != want {
			text, _ := json.MarshalIndent(plain, "", " ")
			t.Fatalf("%s on %s with %+v (thing %+v): got %s, want %s\n%s", action, topic, conn, conn.Thing, got, want, text)
		}
		seen[want]++
	}
	for _, outcome := range []string{"allowed", "explicitDeny", "implicitDeny"} {
		if seen[outcome] < 1000 {
			t.Errorf("only %d times %s: the test says little", seen[outcome], outcome)
		}
	}
}

// FuzzCondition: whatever key and value say, an operator and its Not are never
// of one mind, and nothing panics.
func FuzzCondition(f *testing.F) {
	pairs := []string{"StringEquals", "StringEqualsIgnoreCase", "StringLike", "NumericEquals", "DateEquals", "IpAddress", "ArnEquals", "ArnLike"}
	f.Add(0, "iot:ClientId", "c*", "c*")
	f.Add(2, "iot:Certificate.Subject.OrganizationalUnit.List", "${*}?", "a")
	f.Add(3, "iot:Connection.Thing.Attributes[n]", "1e400", "7")
	f.Add(4, "aws:CurrentTime", "2026-01-01T00:00:00Z", "")
	f.Add(5, "aws:SourceIp", "::ffff:10.0.0.0/104", "10.0.0.1")
	f.Add(6, "iot:LastWillTopic", "arn:aws:iot:*:*:topic/${iot:ClientId}", "a:b")
	f.Fuzz(func(t *testing.T, operator int, key, value, text string) {
		positive := pairs[uint(operator)%uint(len(pairs))]
		negative := strings.Replace(strings.Replace(positive, "String", "StringNot", 1), "Arn", "ArnNot", 1)
		if negative == positive {
			negative = map[string]string{"NumericEquals": "NumericNotEquals", "DateEquals": "DateNotEquals", "IpAddress": "NotIpAddress"}[positive]
		}
		conn := Connection{ClientID: text, SourceIP: text, LastWillTopic: text, ConnectAttributes: []string{text},
			Subject: map[string][]string{"OrganizationalUnit": {text, "b"}}, Thing: &Thing{Name: text, Attached: true, Attributes: map[string]string{"n": text}}}
		allowed := 0
		for _, name := range []string{positive, negative} {
			condition, err := json.Marshal(map[string]any{name: map[string]string{key: value}})
			if err != nil {
				return
			}
			d, err := Parse([]byte(statementOf(`"Effect":"Allow","Action":"*","Resource":"*","Condition":` + string(condition))))
			if err != nil {
				return
			}
			if d.Evaluate(Request{Action: "iot:Connect", Resource: "client/c", Now: time.Unix(1e9, 0)}, conn, home).Allowed {
				allowed++
			}
		}
		if allowed != 1 {
			t.Errorf("%s and %s of %q against %q with %q: %d of them allow", positive, negative, key, value, text, allowed)
		}
	})
}
