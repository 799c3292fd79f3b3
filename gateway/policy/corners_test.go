package policy

import (
	"strings"
	"testing"
)

// corner is one statement, or several with `},{` between them, and what it says
// of requests: `action resource` each.
type corner struct {
	statements string
	allowed    []string
	denied     []string
}

const anywhere = "arn:aws:iot:us-east-1:000000000000:"

// corners are what documents may hold and vectors rarely do; @ stands for the
// beginning of an ARN of ours.
var corners = []corner{
	{`"Effect":"Allow","NotAction":"iot:Publish","NotResource":"@topic/a"`,
		[]string{"iot:Receive topic/b", "iot:Connect client/x"}, []string{"iot:Receive topic/a", "iot:Publish topic/b"}},
	{`"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","NotAction":["iot:Connect","iot:rec*"],"Resource":"*"`,
		[]string{"iot:Connect client/x", "iot:Receive topic/a"}, []string{"iot:Publish topic/a", "iot:ListThings *"}},
	{`"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"iot:Publish","NotResource":["@topic/dt/*","@topic/cmd/*"]`,
		[]string{"iot:Publish topic/dt/x", "iot:Publish topic/cmd/", "iot:Receive topic/a"}, []string{"iot:Publish topic/a", "iot:Publish topic/dt"}},
	{`"Effect":"Allow","Action":["IOT:PUB*","iot:?eceive"],"Resource":"@topic/*"`,
		[]string{"iot:Publish topic/a", "iot:publish topic/a", "iot:Receive topic/"}, []string{"iot:Subscribe topicfilter/a", "iot:RetainPublish topic/a"}},
	{`"Effect":"Allow","Action":"iot:Subscribe","Resource":"@topicfilter/a/+/c"`,
		[]string{"iot:Subscribe topicfilter/a/+/c"}, []string{"iot:Subscribe topicfilter/a/b/c", "iot:Subscribe topicfilter/a/#", "iot:Subscribe topicfilter/a/*/c"}},
	{`"Effect":"Allow","Action":"iot:Subscribe","Resource":"@topicfilter/a/#"`,
		[]string{"iot:Subscribe topicfilter/a/#"}, []string{"iot:Subscribe topicfilter/a/b", "iot:Subscribe topicfilter/a/", "iot:Subscribe topicfilter/#"}},
	{`"Effect":"Allow","Action":"iot:Subscribe","Resource":"@topicfilter/a/*"`,
		[]string{"iot:Subscribe topicfilter/a/#", "iot:Subscribe topicfilter/a/+/c", "iot:Subscribe topicfilter/a/"}, []string{"iot:Subscribe topicfilter/a", "iot:Subscribe topicfilter/+/b", "iot:Subscribe topicfilter/$share/g/a/b"}},
	{`"Effect":"Allow","Action":"iot:Subscribe","Resource":"@topicfilter/$share/g/*"`,
		[]string{"iot:Subscribe topicfilter/$share/g/a"}, []string{"iot:Subscribe topicfilter/$share/h/a", "iot:Subscribe topicfilter/a"}},
	{`"Effect":"Allow","Action":["iot:Publish","iot:RetainPublish"],"Resource":"@topic/kept/?"`,
		[]string{"iot:Publish topic/kept/a", "iot:RetainPublish topic/kept//"}, []string{"iot:RetainPublish topic/kept/", "iot:RetainPublish topic/kept/ab"}},
	{`"Effect":"Allow","Action":"iot:Publish","Resource":"@topic/${*}/${?}/${$}{x}"`,
		[]string{"iot:Publish topic/*/?/${x}"}, []string{"iot:Publish topic/a/?/${x}", "iot:Publish topic/*/b/${x}"}},
	{`"Effect":"Allow","Action":"iot:Publish","Resource":"@topic/$5/$"`,
		[]string{"iot:Publish topic/$5/$"}, []string{"iot:Publish topic/5/"}},
	{`"Effect":"Allow","Action":"iot:Publish","Resource":"@topic/${IOT:clientid}/${iot:Connection.Thing.Attributes[Room]}"`,
		[]string{"iot:Publish topic/pump-1/hall"}, []string{"iot:Publish topic/pump-1/Hall", "iot:Publish topic/Pump-1/hall"}},
	{`"Effect":"Allow","Action":"iot:Publish","Resource":["@topic/x/${iot:Connection.Thing.Attributes[room]}","@topic/y"]`,
		[]string{"iot:Publish topic/y"}, []string{"iot:Publish topic/x/hall", "iot:Publish topic/x/"}},
	{`"Effect":"Allow","Action":"iot:Publish","Resource":"@topic/${iot:Certificate.Subject.OrganizationalUnit}/${iot:Certificate.Subject.organizationalunit.1}/${iot:Certificate.Issuer.CommonName}"`,
		[]string{"iot:Publish topic/a/b/Factory"}, []string{"iot:Publish topic/b/a/Factory", "iot:Publish topic/a/b/factory"}},
	{`"Effect":"Allow","Action":"iot:Publish","Resource":"@topic/${iot:Certificate.Subject.OrganizationalUnit.List}"`,
		nil, []string{"iot:Publish topic/a", "iot:Publish topic/a,b", "iot:Publish topic/"}},
	{`"Effect":"Allow","Action":"iot:*","Resource":"*"},{"Effect":"Deny","Action":"iot:Publish","Resource":"@topic/${iot:Connection.Thing.Attributes[none]}*"`,
		[]string{"iot:Publish topic/a"}, nil},
	{`"Effect":"Allow","Action":"iot:Publish","Resource":"@topic/${aws:SourceIp}/${iot:DomainName}/${iot:CertificateId}"`,
		[]string{"iot:Publish topic/192.168.1.50/gw.local/c0ffee"}, []string{"iot:Publish topic/192.168.1.51/gw.local/c0ffee"}},
	{`"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:us-east-?:0*0:topic/a"`,
		[]string{"iot:Publish topic/a"}, []string{"iot:Publish topic/b"}},
	{`"Effect":"Allow","Action":"iot:Publish","Resource":["arn:aws-cn:iot:*:*:topic/a","arn:aws:s3:*:*:topic/b","arn:aws:iot:eu-*:*:topic/c"]`,
		nil, []string{"iot:Publish topic/a", "iot:Publish topic/b", "iot:Publish topic/c"}},
}

func cornerConnection() Connection {
	return Connection{
		ClientID: "pump-1", SourceIP: "192.168.1.50", Domain: "gw.local", Secure: true, CertificateID: "c0ffee",
		Subject: map[string][]string{"OrganizationalUnit": {"a", "b"}, "SerialNumber": {"Inf"}, "Title": {"2026-03"}, "Initials": {"0x10"}},
		Issuer:  map[string][]string{"CommonName": {"Factory"}},
		Thing:   &Thing{Name: "pump-1", Attached: true, Attributes: map[string]string{"Room": "hall", "Level": "7"}},
	}
}

func TestEvaluate_TheCornersOfTheGrammarHold(t *testing.T) {
	for _, c := range corners {
		text := strings.ReplaceAll(statementOf(c.statements), `"@`, `"`+anywhere)
		compiled := Compile([]Named{{Name: "p", Document: mustParse(t, text)}}, cornerConnection(), home)
		for want, requests := range map[bool][]string{true: c.allowed, false: c.denied} {
			for _, request := range requests {
				action, resource, _ := strings.Cut(request, " ")
				if got := compiled.Evaluate(Request{Action: action, Resource: resource}); got.Allowed != want {
					t.Errorf("%s: %s: %s", c.statements, request, got.Reason())
				}
			}
		}
	}
}

// TestConditions_InTheirCorners: what a value of a condition may look like, and
// what looks like one and is none.
func TestConditions_InTheirCorners(t *testing.T) {
	for condition, want := range map[string]bool{
		// numbers are decimal
		`{"NumericEquals":{"iot:Connection.Thing.Attributes[Level]":["6",7]}}`:            true,
		`{"NumericEquals":{"iot:Connection.Thing.Attributes[Level]":"0.7e1"}}`:            true,
		`{"NumericEquals":{"iot:Connection.Thing.Attributes[Level]":"0x7"}}`:              false,
		`{"NumericEquals":{"iot:Certificate.Subject.Initials":"16"}}`:                     false,
		`{"NumericGreaterThan":{"iot:Certificate.Subject.SerialNumber":"1"}}`:             false,
		`{"NumericLessThan":{"iot:Connection.Thing.Attributes[Level]":"Infinity"}}`:       false,
		`{"NumericNotEquals":{"iot:Connection.Thing.Attributes[Level]":["6","7"]}}`:       false,
		`{"NumericLessThanEqualsIfExists":{"iot:Connection.Thing.Attributes[none]":"1"}}`: true,
		// dates: a month begins with its first day
		`{"DateEquals":{"iot:Certificate.Subject.Title":"2026-03-01"}}`:             true,
		`{"DateLessThan":{"iot:Certificate.Subject.Title":"2026-03-01T00:00:01Z"}}`: true,
		`{"DateGreaterThanEquals":{"iot:Certificate.Subject.Title":"2026-04"}}`:     false,
		`{"DateNotEquals":{"iot:ClientId":"2026-03"}}`:                              true,
		// addresses: of both families, and of one written as the other
		`{"IpAddress":{"aws:SourceIp":"192.168.1.99/24"}}`:                   true,
		`{"IpAddress":{"aws:SourceIp":"::ffff:192.168.1.0/120"}}`:            true,
		`{"IpAddress":{"aws:SourceIp":"::/0"}}`:                              false,
		`{"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","192.168.1.50/32"]}}`: false,
		`{"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","192.168.1.51"]}}`:    true,
		// texts: wildcards only where the operator says so, escapes too
		`{"StringLike":{"iot:ClientId":"pump-?"}}`:                                    true,
		`{"StringLike":{"iot:ClientId":"PUMP-*"}}`:                                    false,
		`{"StringLike":{"iot:ClientId":"pump-${?}"}}`:                                 false,
		`{"StringEquals":{"iot:ClientId":"pump-?"}}`:                                  false,
		`{"StringEqualsIgnoreCase":{"iot:ClientId":"Pump-1"}}`:                        true,
		`{"StringNotLike":{"iot:ClientId":["lamp-*","pump-*"]}}`:                      false,
		`{"StringEquals":{"iot:ClientId":"${iot:Connection.Thing.ThingName}"}}`:       true,
		`{"StringLike":{"iot:ClientId":"${iot:Connection.Thing.Attributes[none]}*"}}`: false,
		// ARNs match field by field
		`{"ArnLike":{"iot:ClientId":"arn:aws:iot:*:*:*"}}`:    false,
		`{"ArnNotLike":{"iot:ClientId":"arn:aws:iot:*:*:*"}}`: true,
		// sets
		`{"ForAllValues:StringEquals":{"iot:Certificate.Subject.OrganizationalUnit.List":["a","b","c"]}}`: true,
		`{"ForAnyValue:StringLike":{"iot:Certificate.Subject.OrganizationalUnit.List":["?"]}}`:            true,
		`{"ForAllValues:StringEqualsIfExists":{"iot:CertificateId":["c0ffee"]}}`:                          true,
		`{"ForAnyValue:StringNotLike":{"iot:Certificate.Subject.OrganizationalUnit.List":["a*","b*"]}}`:   false,
		// Null asks for the key, whatever its value
		`{"Null":{"iot:Connection.Thing.Attributes[none]":true,"iot:ClientId":false}}`: true,
		`{"Null":{"iot:Connection.Thing.Attributes[none]":["true","false"]}}`:          true,
		`{"Null":{"iot:ClientId":"yes"}}`:                                              false,
		// all operators and keys must hold
		`{"StringLike":{"iot:ClientId":"pump-*"},"Bool":{"aws:SecureTransport":"TRUE"},"IpAddress":{"aws:SourceIp":"192.168.0.0/16"}}`: true,
		`{"StringLike":{"iot:ClientId":"pump-*"},"Bool":{"aws:SecureTransport":"false"}}`:                                              false,
	} {
		if got := allows(t, condition, cornerConnection(), Request{}); got != want {
			t.Errorf("%s: allowed is %v, want %v", condition, got, want)
		}
	}
}

// TestParse_SaysWhatIsWrongAndWhere: the sentence that CreatePolicy answers with.
func TestParse_SaysWhatIsWrongAndWhere(t *testing.T) {
	ok := `"Effect":"Allow","Action":"iot:Publish","Resource":"*"`
	for text, want := range map[string]string{
		`[]`:                       `policy is not a JSON object`,
		`{"Version":"2012-10-17"}`: `policy: Statement is missing`,
		`{"Version":"2012-10-18","Statement":{` + ok + `}}`: `policy Version "2012-10-18": want "2012-10-17" or "2008-10-17"`,
		`{"Statement":[]}`:                                                          `policy: Statement is an empty list`,
		`{"Statement":{` + ok + `},"statement":{}}`:                                 `policy: unknown member "statement" (want Version and Statement)`,
		`{"Statement":{` + ok + `},"Statement":{}}`:                                 `policy: member "Statement" is given twice`,
		statementOf(ok + `},{` + ok + `,"Principal":"*"`):                           `statement 1: Principal is not allowed: a policy is attached to its principal`,
		statementOf(`"Effect":"Allow","Action":"iot:Publish"`):                      `statement 0: want exactly one of Resource and NotResource`,
		statementOf(ok + `,"NotAction":"iot:X"`):                                    `statement 0: want exactly one of Action and NotAction`,
		statementOf(`"Effect":"allow","Action":"iot:Publish","Resource":"*"`):       `statement 0: Effect "allow": want "Allow" or "Deny"`,
		statementOf(`"Effect":"Allow","Action":"iot:Publish","Resource":"topic/a"`): `statement 0: Resource "topic/a": want * or an ARN of six fields, arn:aws:iot:REGION:ACCOUNT:RESOURCE`,
		statementOf(ok + `,"Condition":{"StringSortOf":{"a":"b"}}`):                 `statement 0: condition operator "StringSortOf" is unknown`,
		statementOf(ok + `,"Condition":{"StringEquals":{"a":{}}}`):                  `statement 0: condition key a: want a string, a number or a boolean`,
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
