package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var home = Scope{Region: "us-east-1", Account: "000000000000"}

func mustParse(t testing.TB, text string) *Document {
	t.Helper()
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	return d
}

// statementOf wraps the members of one statement.
func statementOf(members string) string {
	return `{"Version":"2012-10-17","Statement":[{` + members + `}]}`
}

func TestParse_MalformedDocumentsAreRefused(t *testing.T) {
	ok := `"Effect":"Allow","Action":"iot:Publish","Resource":"*"`
	for name, text := range map[string]string{
		"empty":                 ``,
		"null":                  `null`,
		"text behind":           statementOf(ok) + `x`,
		"unknown member":        `{"Version":"2012-10-17","Statement":[],"X":1}`,
		"empty statement list":  `{"Version":"2012-10-17","Statement":[]}`,
		"statement is a string": `{"Version":"2012-10-17","Statement":"x"}`,
		"member twice":          statementOf(ok + `,"Effect":"Deny"`),
		"case of a member":      statementOf(`"effect":"Allow","Action":"iot:Publish","Resource":"*"`),
		"effect missing":        statementOf(`"Action":"iot:Publish","Resource":"*"`),
		"effect null":           statementOf(`"Effect":null,"Action":"iot:Publish","Resource":"*"`),
		"both actions":          statementOf(ok + `,"NotAction":"iot:X"`),
		"both resources":        statementOf(ok + `,"NotResource":"*"`),
		"no action":             statementOf(`"Effect":"Allow","Resource":"*"`),
		"empty action list":     statementOf(`"Effect":"Allow","Action":[],"Resource":"*"`),
		"action of a number":    statementOf(`"Effect":"Allow","Action":[1],"Resource":"*"`),
		"action without vendor": statementOf(`"Effect":"Allow","Action":"Publish","Resource":"*"`),
		"not principal":         statementOf(ok + `,"NotPrincipal":"*"`),
		"unknown in statement":  statementOf(ok + `,"Extra":1`),
		"resource two stars":    statementOf(`"Effect":"Allow","Action":"iot:Publish","Resource":"**"`),
		"resource no arn":       statementOf(`"Effect":"Allow","Action":"iot:Publish","Resource":"topic/a"`),
		"resource empty last":   statementOf(`"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:a:b:"`),
		"open variable":         statementOf(`"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:a:b:topic/${iot:ClientId"`),
		"condition no object":   statementOf(ok + `,"Condition":[]`),
		"condition null value":  statementOf(ok + `,"Condition":{"Bool":{"a":null}}`),
		"condition nested":      statementOf(ok + `,"Condition":{"Bool":{"a":[["true"]]}}`),
		"operator case":         statementOf(ok + `,"Condition":{"bool":{"a":"true"}}`),
		"null if exists":        statementOf(ok + `,"Condition":{"NullIfExists":{"a":"true"}}`),
		"not UTF-8":             statementOf(ok + `,"Sid":"` + "\xff" + `"`),
		"too many bytes":        statementOf(ok) + strings.Repeat(" ", MaxBytes),
	} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

func TestParse_ErrorNamesTheStatement(t *testing.T) {
	_, err := Parse([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Publish","Resource":"*"},{"Effect":"allow"}]}`))
	want := `statement 1: Effect "allow": want "Allow" or "Deny": MalformedPolicyException`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestParseName_OnlyLegalNames(t *testing.T) {
	for _, name := range []string{"a", "device-default", "A_+=,.@-", strings.Repeat("x", 128)} {
		if _, err := ParseName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "a b", "a/b", "ä", strings.Repeat("x", 129)} {
		if _, err := ParseName(name); err == nil {
			t.Errorf("%q: want an error", name)
		}
	}
}

// allows runs one condition against a connection.
func allows(t *testing.T, condition string, c Connection, r Request) bool {
	t.Helper()
	d := mustParse(t, statementOf(`"Effect":"Allow","Action":"iot:*","Resource":"*","Condition":`+condition))
	if r.Action == "" {
		r.Action, r.Resource = "iot:Connect", "client/c1"
	}
	return d.Evaluate(r, c, home).Allowed
}

func TestConditions_Operators(t *testing.T) {
	conn := Connection{
		ClientID: "c1", SourceIP: "192.168.1.50", Domain: "Gate.local", Secure: true,
		Subject: map[string][]string{"OrganizationalUnit": {"a", "b"}, "SerialNumber": {"42"}, "Title": {"2026-01-02"}},
		Thing:   &Thing{Name: "c1", Attached: true, Attributes: map[string]string{"n": "3.5", "Big": "x*"}},
	}
	yes := []string{
		`{"StringEquals":{"iot:ClientId":"c1"}}`,
		`{"StringEquals":{"IOT:CLIENTID":["x","c1"]}}`,
		`{"StringNotEquals":{"iot:ClientId":["x","y"]}}`,
		`{"StringEqualsIgnoreCase":{"iot:DomainName":"gate.LOCAL"}}`,
		`{"StringNotEqualsIgnoreCase":{"iot:DomainName":"other"}}`,
		`{"StringLike":{"iot:ClientId":"c?"}}`,
		`{"StringNotLike":{"iot:ClientId":"d*"}}`,
		`{"NumericEquals":{"iot:Connection.Thing.Attributes[n]":3.5}}`,
		`{"NumericNotEquals":{"iot:Connection.Thing.Attributes[n]":"4"}}`,
		`{"NumericLessThan":{"iot:Connection.Thing.Attributes[n]":"4"}}`,
		`{"NumericLessThanEquals":{"iot:Connection.Thing.Attributes[n]":"3.50"}}`,
		`{"NumericGreaterThan":{"iot:Connection.Thing.Attributes[n]":"-1e3"}}`,
		`{"NumericGreaterThanEquals":{"iot:Connection.Thing.Attributes[n]":"3.5"}}`,
		`{"DateEquals":{"iot:Certificate.Subject.Title":"2026-01-02T00:00:00Z"}}`,
		`{"DateNotEquals":{"iot:Certificate.Subject.Title":"2026-01-03"}}`,
		`{"DateLessThan":{"iot:Certificate.Subject.Title":"2026-01-02T01:00:00+00:30"}}`,
		`{"DateLessThanEquals":{"iot:Certificate.Subject.Title":"2026-01-02"}}`,
		`{"DateGreaterThan":{"iot:Certificate.Subject.Title":"1500000000"}}`,
		`{"DateGreaterThanEquals":{"iot:Certificate.Subject.Title":"2026-01-02"}}`,
		`{"Bool":{"aws:SecureTransport":true}}`,
		`{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","192.168.1.50"]}}`,
		`{"IpAddress":{"iot:SourceIp":"192.168.0.0/16"}}`,
		`{"NotIpAddress":{"aws:SourceIp":"fd00::/8"}}`,
		`{"Null":{"iot:CertificateId":"true"}}`,
		`{"Null":{"iot:ClientId":"false"}}`,
		`{"StringEquals":{"iot:Certificate.Subject.OrganizationalUnit":"a"}}`,
		`{"StringEquals":{"iot:Certificate.Subject.organizationalunit.1":"b"}}`,
		`{"ForAllValues:StringLike":{"iot:Certificate.Subject.OrganizationalUnit.List":["a","?"]}}`,
		`{"ForAnyValue:StringEquals":{"iot:Certificate.Subject.OrganizationalUnit.List":"b"}}`,
		`{"ForAnyValue:StringNotEquals":{"iot:Certificate.Subject.OrganizationalUnit.List":"b"}}`,
		`{"StringEquals":{"iot:ClientId":"${iot:Connection.Thing.ThingName}"}}`,
		`{"StringLike":{"iot:Connection.Thing.Attributes[Big]":"x${*}"}}`,
		`{"StringEquals":{"iot:Connection.Thing.Attributes[Big]":"x*"}}`,
		// missing keys
		`{"StringNotEquals":{"iot:CertificateId":"x"}}`,
		`{"StringEqualsIfExists":{"iot:CertificateId":"x"}}`,
		`{"ForAllValues:StringEquals":{"iot:CertificateId":"x"}}`,
		`{"ForAnyValue:StringEqualsIfExists":{"iot:CertificateId":"x"}}`,
		`{"NotIpAddress":{"iot:CertificateId":"10.0.0.0/8"}}`,
		// an unresolved value matches nothing
		`{"StringNotEquals":{"iot:ClientId":"${iot:CertificateId}"}}`,
		`{}`,
	}
	no := []string{
		`{"StringEquals":{"iot:ClientId":"C1"}}`,
		`{"StringEquals":{"iot:ClientId":"c*"}}`,
		`{"StringEquals":{"iot:ClientId":[]}}`,
		`{"StringNotEquals":{"iot:ClientId":["x","c1"]}}`,
		`{"StringLike":{"iot:ClientId":"c"}}`,
		`{"NumericEquals":{"iot:ClientId":"1"}}`,
		`{"NumericEquals":{"iot:Connection.Thing.Attributes[n]":"many"}}`,
		`{"NumericLessThan":{"iot:Connection.Thing.Attributes[n]":"3.5"}}`,
		`{"NumericEquals":{"iot:Connection.Thing.Attributes[N]":"3.5"}}`,
		`{"DateEquals":{"iot:Certificate.Subject.Title":"yesterday"}}`,
		`{"Bool":{"aws:SecureTransport":false}}`,
		`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`,
		`{"IpAddress":{"aws:SourceIp":"nonsense"}}`,
		`{"Null":{"iot:ClientId":"true"}}`,
		`{"Null":{"iot:CertificateId":"false"}}`,
		`{"StringEquals":{"iot:Certificate.Subject.OrganizationalUnit.2":"b"}}`,
		`{"StringEquals":{"iot:Certificate.Subject.OrganizationalUnit.-1":"b"}}`,
		`{"ForAllValues:StringEquals":{"iot:Certificate.Subject.OrganizationalUnit.List":"a"}}`,
		`{"ForAllValues:StringNotEquals":{"iot:Certificate.Subject.OrganizationalUnit.List":"a"}}`,
		`{"ForAnyValue:StringEquals":{"iot:Certificate.Subject.OrganizationalUnit.List":"c"}}`,
		`{"StringLike":{"iot:ClientId":"x${*}"}}`,
		`{"StringEquals":{"iot:CertificateId":"x"}}`,
		`{"ForAnyValue:StringNotEquals":{"iot:CertificateId":"x"}}`,
		`{"StringEquals":{"iot:ClientId":"c1","iot:CertificateId":"x"}}`,
		`{"StringEquals":{"iot:ClientId":"c1"},"Bool":{"aws:SecureTransport":"false"}}`,
		`{"StringEquals":{"iot:Nonsense":"x"}}`,
	}
	for _, c := range yes {
		if !allows(t, c, conn, Request{}) {
			t.Errorf("%s: denied, want allowed", c)
		}
	}
	for _, c := range no {
		if allows(t, c, conn, Request{}) {
			t.Errorf("%s: allowed, want denied", c)
		}
	}
}

func TestConditions_TimeIsReadPerRequest(t *testing.T) {
	office := `{"DateGreaterThan":{"aws:CurrentTime":"2026-03-01T08:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2026-03-01T17:00:00Z"}}`
	at := func(hour int) Request {
		return Request{Action: "iot:Publish", Resource: "topic/a", Now: time.Date(2026, 3, 1, hour, 0, 0, 0, time.UTC)}
	}
	if !allows(t, office, Connection{}, at(9)) || allows(t, office, Connection{}, at(18)) {
		t.Error("the window of time does not hold")
	}
	if allows(t, office, Connection{}, Request{Action: "iot:Publish", Resource: "topic/a"}) {
		t.Error("allowed while the clock is not trusted")
	}
	d := mustParse(t, statementOf(`"Effect":"Allow","Action":"iot:*","Resource":"*","Condition":`+office))
	c := Compile([]Named{{Name: "p", Document: d}}, Connection{}, home)
	if !c.Volatile() || !c.Evaluate(at(9)).Volatile || !c.Evaluate(at(18)).Volatile {
		t.Error("a decision by time is not marked volatile")
	}
}

func TestConditions_ConnectKeysCountForConnectAlone(t *testing.T) {
	condition := `{"ForAnyValue:StringEquals":{"iot:ConnectAttributes":"LastWill"},"ArnLike":{"iot:LastWillTopic":"arn:aws:iot:us-east-1:*:topic/w/*"}}`
	conn := Connection{ClientID: "c1", ConnectAttributes: []string{"LastWill"}, LastWillTopic: "w/1"}
	if !allows(t, condition, conn, Request{}) {
		t.Error("connect denied")
	}
	if allows(t, condition, conn, Request{Action: "iot:Publish", Resource: "topic/a"}) {
		t.Error("publish allowed by keys of connect")
	}
	conn.LastWillTopic = "v/1"
	if allows(t, condition, conn, Request{}) {
		t.Error("connect allowed with another will topic")
	}
}

func TestEvaluate_Resources(t *testing.T) {
	conn := Connection{ClientID: "a*", SourceIP: "10.0.0.1"}
	for _, c := range []struct {
		members, action, resource string
		want                      bool
	}{
		{`"Resource":"arn:aws:iot:us-east-1:000000000000:topic/${iot:ClientId}"`, "iot:Publish", "topic/a*", true},
		{`"Resource":"arn:aws:iot:us-east-1:000000000000:topic/${iot:ClientId}"`, "iot:Publish", "topic/ab", false},
		{`"Resource":"arn:aws:iot:us-east-1:000000000000:topic/${*}${?}${$}"`, "iot:Publish", "topic/*?$", true},
		{`"Resource":"arn:aws:iot:us-east-1:000000000000:topic/${nobody:Knows}"`, "iot:Publish", "topic/", false},
		{`"Resource":"arn:aws:iot:us-east-1:000000000000:topic/a:b:c"`, "iot:Publish", "topic/a:b:c", true},
		{`"Resource":"arn:*:iot:*-1:0?0000000000:topic/ä?"`, "iot:Publish", "topic/äö", true},
		{`"Resource":"arn:aws:iot:*:topic/a:b"`, "iot:Publish", "topic/a", false},
		{`"NotResource":"arn:aws:iot:*:*:topic/a"`, "iot:Publish", "topic/b", true},
		{`"NotResource":"arn:aws:iot:*:*:topic/a"`, "iot:Publish", "topic/a", false},
		{`"NotResource":"*"`, "iot:Publish", "topic/a", false},
		{`"NotResource":"arn:aws:iot:*:*:topic/${iot:CertificateId}"`, "iot:Publish", "topic/a", false},
		{`"Resource":"arn:aws:iot:*:*:*"`, "iot:ListThings", "*", false},
		{`"Resource":"*"`, "iot:ListThings", "*", true},
	} {
		d := mustParse(t, statementOf(`"Effect":"Allow","Action":"iot:*",`+c.members))
		if got := d.Evaluate(Request{Action: c.action, Resource: c.resource}, conn, home).Allowed; got != c.want {
			t.Errorf("%s, %s on %s: got %v, want %v", c.members, c.action, c.resource, got, c.want)
		}
	}
}

func TestEvaluate_AnyAccountIgnoresRegionAndAccount(t *testing.T) {
	d := mustParse(t, statementOf(`"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:eu-west-1:123456789012:topic/a"`))
	r := Request{Action: "iot:Publish", Resource: "topic/a"}
	if d.Evaluate(r, Connection{}, home).Allowed {
		t.Error("another account's ARN matched")
	}
	open := home
	open.AnyAccount = true
	if !d.Evaluate(r, Connection{}, open).Allowed {
		t.Error("AnyAccount does not ignore the account")
	}
}

func TestEvaluate_NotAction(t *testing.T) {
	d := mustParse(t, statementOf(`"Effect":"Allow","NotAction":["iot:Publish","iot:Re*"],"Resource":"*"`))
	for action, want := range map[string]bool{"iot:Publish": false, "iot:publish": false, "iot:Receive": false, "iot:Subscribe": true, "iot:GetThingShadow": true} {
		if got := d.Evaluate(Request{Action: action, Resource: "topic/a"}, Connection{}, home).Allowed; got != want {
			t.Errorf("%s: got %v, want %v", action, got, want)
		}
	}
}

func TestEvaluate_NamesTheDecidingStatement(t *testing.T) {
	open := mustParse(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},{"Sid":"Talk","Effect":"Allow","Action":"iot:Publish","Resource":"*"}]}`)
	shut := mustParse(t, `{"Version":"2012-10-17","Statement":{"Sid":"NoCtl","Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/ctl/*"}}`)
	c := Compile([]Named{{Name: "open", Document: open}, {Name: "shut", Document: shut}}, Connection{}, home)
	for topic, want := range map[string]Decision{
		"a":     {Allowed: true, Explicit: true, Policy: "open", Statement: 1, Sid: "Talk"},
		"ctl/x": {Explicit: true, Policy: "shut", Sid: "NoCtl"},
	} {
		if got := c.Evaluate(Request{Action: "iot:Publish", Resource: "topic/" + topic}); got != want {
			t.Errorf("%s: got %+v, want %+v", topic, got, want)
		}
	}
	if got := c.Evaluate(Request{Action: "iot:Receive", Resource: "topic/a"}); got != (Decision{}) {
		t.Errorf("implicit deny: got %+v", got)
	}
}

func TestCompile_NamesMissingValues(t *testing.T) {
	d := mustParse(t, statementOf(`"Effect":"Allow","Action":"iot:*","Resource":"arn:aws:iot:*:*:topic/${iot:Connection.Thing.ThingName}","Condition":{"StringEquals":{"iot:CertificateId":"x"}}`))
	got := Compile([]Named{{Document: d}}, Connection{}, home).Missing()
	if want := []string{"iot:Connection.Thing.ThingName"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCompile_ExclusiveThingNeedsNoEqualClientID(t *testing.T) {
	d := mustParse(t, statementOf(`"Effect":"Allow","Action":"iot:*","Resource":"arn:aws:iot:*:*:topic/${iot:Connection.Thing.ThingName}"`))
	conn := Connection{ClientID: "other", Thing: &Thing{Name: "t1", Attached: true, Exclusive: true}}
	if !d.Evaluate(Request{Action: "iot:Publish", Resource: "topic/t1"}, conn, home).Allowed {
		t.Error("an exclusive attachment does not resolve the thing")
	}
}

func TestScope_ResourceUndoesARN(t *testing.T) {
	for _, resource := range []string{"*", "topic/a:b", "client/x"} {
		if got, ok := home.Resource(home.ARN(resource)); !ok || got != resource {
			t.Errorf("%s: got %s, %v", resource, got, ok)
		}
	}
	for _, arn := range []string{"", "topic/a", "arn:aws:iot:us-east-1:000000000000:", "arn:aws:iot:eu-west-1:000000000000:topic/a"} {
		if _, ok := home.Resource(arn); ok {
			t.Errorf("%q: want false", arn)
		}
	}
}

func TestLint_WarnsOfWhatIsProbablyNotMeant(t *testing.T) {
	for text, want := range map[string]string{
		`{"Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}}`:                                                                                                                       "Version is missing",
		`{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}}`:                                                                                                "Version 2008",
		statementOf(`"Effect":"Allow","Action":"*","Resource":"*"`):                                                                                                                                    "Action *",
		statementOf(`"Effect":"Allow","Action":"iot:Sub*","Resource":"*"`):                                                                                                                             "Resource *",
		statementOf(`"Effect":"Allow","Action":"iot:Subscribe","Resource":"arn:aws:iot:*:*:topicfilter/a/+"`):                                                                                          "topicfilter",
		statementOf(`"Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/${iot:Connection.Thing.ThingName}"`):                                                                     "Deny with thing",
		statementOf(`"Effect":"Allow","Action":"iot:Connect","Resource":"*","Condition":{"ForAllValues:StringEquals":{"iot:ConnectAttributes":"LastWill"}}`):                                           "ForAllValues",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/${iot:ClientId}"}]}`: "any client id",
	} {
		if got := strings.Join(mustParse(t, text).Lint(), "\n"); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", text, got, want)
		}
	}
	quiet := mustParse(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/${iot:ClientId}/*"}]}`)
	if got := quiet.Lint(); len(got) != 0 {
		t.Errorf("a good policy is warned of: %v", got)
	}
}

func ExampleDocument_Evaluate() {
	d, _ := Parse([]byte(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/dt/${iot:ClientId}/*"},
		{"Sid":"NoSecrets","Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/dt/*/secret"}]}`))
	scope := Scope{Region: "us-east-1", Account: "000000000000"}
	for _, topic := range []string{"dt/pump-1/flow", "dt/pump-2/flow", "dt/pump-1/secret"} {
		got := d.Evaluate(Request{Action: "iot:Publish", Resource: "topic/" + topic}, Connection{ClientID: "pump-1"}, scope)
		fmt.Printf("%s %s %q\n", topic, got.Reason(), got.Sid)
	}
	// Output:
	// dt/pump-1/flow allowed ""
	// dt/pump-2/flow implicitDeny ""
	// dt/pump-1/secret explicitDeny "NoSecrets"
}
