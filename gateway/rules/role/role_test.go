package role

import (
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/iot"
)

func parse(t testing.TB, statements string) *Role {
	t.Helper()
	r, err := Parse("r", []byte(`{"Version":"2012-10-17","Statement":[`+statements+`]}`))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDefault_AllowsWhatTheSpecificationSays(t *testing.T) {
	r := BuiltIn()[0]
	for need, want := range map[Need]bool{
		{"iot:Publish", "topic/a/b"}:                   true,
		{"iot:RetainPublish", "topic/a"}:               true,
		{"iot:Publish", "topic/$aws/things/t/shadow"}:  false,
		{"edge:Forward", "topic/up"}:                   true,
		{"edge:Forward", "topic/$aws/rules/r"}:         false,
		{"iot:UpdateThingShadow", "thing/t/name"}:      true,
		{"dynamodb:PutItem", "table/rule_x"}:           true,
		{"dynamodb:PutItem", "table/xrule_"}:           false,
		{"sqlite:Query", "table/rule_x"}:               true,
		{"sqlite:Query", "table/other"}:                false,
		{"timestream:WriteRecords", "table/rule_t"}:    true,
		{"lambda:InvokeFunction", "function/f"}:        false,
		{"http:Post", "https://example.com/"}:          false,
		{"edge:DeviceWrite", "device/relay"}:           false,
		{"file:Append", "file/x"}:                      false,
		{"s3:PutObject", "b/k"}:                        false,
		{"secretsmanager:GetSecretValue", "secret/s"}:  false,
		{"iot:DescribeThing", "thing/t"}:               false,
		{"iot:publish", "topic/a"}:                     true,
		{"iot:DeleteThingShadow", "thing/t"}:           false,
		{"iot:UpdateThingShadow", "topic/thing/t"}:     false,
		{"iot:Publish", "topic/"}:                      true,
		{"dynamodb:DeleteItem", "table/rule_x/../etc"}: true, // a name, not a path
	} {
		if err := r.Allow(need); (err == nil) != want || err != nil && iot.CodeOf(err) != iot.Forbidden {
			t.Errorf("%v: got %v, want allowed %v", need, err, want)
		}
	}
}

func TestAllow_DenyWinsAndNothingIsDenied(t *testing.T) {
	r := parse(t, `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"iot:*","NotResource":"topic/ok/*"},
		{"Effect":"Deny","NotAction":["iot:*","http:Post","lambda:InvokeFunction"],"Resource":"table/secret"}`)
	for need, want := range map[Need]string{
		{"iot:Publish", "topic/ok/a"}:       "",
		{"iot:Publish", "topic/other"}:      `role "r" denies iot:Publish on "topic/other"`,
		{"sqlite:Query", "table/secret"}:    `role "r" denies sqlite:Query on "table/secret"`,
		{"sqlite:Query", "table/x"}:         "",
		{"http:Post", "https://anything/x"}: "",
	} {
		got := ""
		if err := r.Allow(need); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%v: got %q, want %q", need, got, want)
		}
	}
	if err := parse(t, `{"Effect":"Deny","Action":"*","Resource":"*"}`).Allow(Need{"a:b", "c"}); err == nil {
		t.Error("deny alone allows")
	}
}

func TestAllow_ResourcesAreReadInTheirAWSForm(t *testing.T) {
	for pattern, covers := range map[string]map[string]bool{
		"arn:aws:iot:eu-west-1:123456789012:topic/a/*":      {"topic/a/b": true, "topic/b": false},
		"arn:aws:lambda:us-east-1:1:function:f:prod":        {"function/f": true, "function/g": false},
		"arn:aws:lambda:us-east-1:1:function:f*":            {"function/f2": true},
		"arn:aws:dynamodb:us-east-1:1:table/t":              {"table/t": true, "table/tt": false},
		"arn:aws:s3:::bucket/*":                             {"bucket/a/b": true, "bucket2/a": false},
		"arn:aws:timestream:us-east-1:1:database/d/table/t": {"table/t": true},
		"arn:aws:secretsmanager:us-east-1:1:secret:db":      {"secret/db": true},
		"https://api.example.com":                           {"https://api.example.com/x": true, "https://api.example.com?x": true, "https://api.example.com.evil.org/": false, "https://api.example.com": true},
		"https://api.example.com/a/":                        {"https://api.example.com/a/b": true, "https://api.example.com/b": false},
		"https://*.example.com/*":                           {"https://a.example.com/x": true},
		"topic/a?c":                                         {"topic/abc": true, "topic/aäc": true, "topic/ac": false},
		"topic/**x*":                                        {"topic/x": true, "topic/aaxbb": true, "topic/aa": false},
	} {
		r := parse(t, `{"Effect":"Allow","Action":"a:b","Resource":"`+pattern+`"}`)
		for resource, want := range covers {
			if got := r.Allow(Need{"a:b", resource}) == nil; got != want {
				t.Errorf("%s on %s: got %v", pattern, resource, got)
			}
		}
	}
}

func TestSpells_WantsTheBeginningWithoutWildcards(t *testing.T) {
	need := Need{"http:Post", "http://127.0.0.1:9000/x"}
	for pattern, want := range map[string]bool{
		"http://127.0.0.1:9000": true, "http://127.0.0.1:9000/*": true, "http://127.0.0.1:90*": false, "*": false, "http://*": false,
	} {
		r := parse(t, `{"Effect":"Allow","Action":"http:Post","Resource":"`+pattern+`"}`)
		if got := r.Spells(need, len("http://127.0.0.1:9000")); got != want {
			t.Errorf("%s: got %v", pattern, got)
		}
	}
}

func TestParse_RefusesWhatItCannotDecide(t *testing.T) {
	for want, document := range map[string]string{
		"want a JSON object":      `[]`,
		"unknown member":          `{"version":"2012-10-17","Statement":[]}`,
		"Version":                 `{"Version":"2020-01-01","Statement":[]}`,
		"list of them":            `{"Version":"2012-10-17","Statement":[]}`,
		"given twice":             `{"Statement":[{"Effect":"Allow","Effect":"Deny","Action":"a:b","Resource":"*"}]}`,
		"Effect is missing":       `{"Statement":{"Action":"a:b","Resource":"*"}}`,
		"Effect \"allow\"":        `{"Statement":{"Effect":"allow","Action":"a:b","Resource":"*"}}`,
		"one of Action":           `{"Statement":{"Effect":"Allow","Resource":"*"}}`,
		"one of Resource":         `{"Statement":{"Effect":"Allow","Action":"a:b"}}`,
		"service:Name":            `{"Statement":{"Effect":"Allow","Action":"b","Resource":"*"}}`,
		"know no conditions":      `{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"Bool":{}}}}`,
		"know no variables":       `{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"topic/${iot:ClientId}"}}`,
		"text or a list":          `{"Statement":{"Effect":"Allow","Action":[],"Resource":"*"}}`,
		"follows the object":      `{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"*"}} {}`,
		"at most 10240":           `{"Statement":"` + strings.Repeat("x", 10240) + `"}`,
		`unknown member "Condit"`: `{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"*","Condit":1}}`,
	} {
		if _, err := Parse("r", []byte(document)); err == nil || !strings.Contains(err.Error(), want) || iot.CodeOf(err) != iot.MalformedPolicy {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, err := Parse("a b", []byte(defaultDocument)); iot.CodeOf(err) != iot.InvalidRequest {
		t.Errorf("name: %v", err)
	}
	if _, err := Parse("r", []byte(`{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{ },"Sid":"s"}}`)); err != nil {
		t.Errorf("an empty condition: %v", err)
	}
}

func TestNameOf_IsTheLastSegment(t *testing.T) {
	for arn, want := range map[string]string{"arn:aws:iam::1:role/service/r": "r", "r": "r", "": ""} {
		if got := NameOf(arn); got != want {
			t.Errorf("%q: got %q", arn, got)
		}
	}
}

func FuzzParse_NeverPanicsAndDeniesByDefault(f *testing.F) {
	f.Add(defaultDocument, "iot:Publish", "topic/a")
	f.Add(`{"Statement":{"Effect":"Allow","NotAction":"*","NotResource":["a*?b"]}}`, "a:b", "aäb")
	f.Fuzz(func(t *testing.T, document, action, resource string) {
		r, err := Parse("r", []byte(document))
		if err != nil {
			return
		}
		if r.Allow(Need{action, resource}) == nil && !strings.Contains(document, "Allow") && !strings.Contains(document, `\u`) {
			t.Errorf("%s allows %s on %s", document, action, resource)
		}
	})
}
