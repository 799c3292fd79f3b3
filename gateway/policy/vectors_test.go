package policy

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/iot"
)

type vectorFile struct {
	Region, Account string
	Vectors         []struct {
		ID, Title string
		Policies  []struct {
			Name, AttachedTo string
			Document         json.RawMessage
		}
		Connection vectorConnection
		Checks     []struct{ Action, Resource, Expect, Reason string }
	}
}

type vectorConnection struct {
	ClientID, Transport, SourceIP string
	Thing                         *struct {
		Name                string
		Type                *string
		Attributes          map[string]string
		Attached, Exclusive bool
	}
	Certificate struct {
		Subject, Issuer map[string][]string
	}
	ConnectAttributes []string
	LastWillTopic     string
}

func (v vectorConnection) connection() Connection {
	c := Connection{
		ClientID: v.ClientID, HTTP: v.Transport == "http", SourceIP: v.SourceIP,
		Subject: v.Certificate.Subject, Issuer: v.Certificate.Issuer,
		ConnectAttributes: v.ConnectAttributes, LastWillTopic: v.LastWillTopic,
	}
	if v.Thing != nil {
		c.Thing = &Thing{Name: v.Thing.Name, Attributes: v.Thing.Attributes, Attached: v.Thing.Attached, Exclusive: v.Thing.Exclusive}
		if v.Thing.Type != nil {
			c.Thing.Type = *v.Thing.Type
		}
	}
	return c
}

func readVectors(t testing.TB, name string, into any) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func TestSecurity5_1_AllPolicyVectorsHold(t *testing.T) {
	var file vectorFile
	readVectors(t, "policy-vectors.json", &file)
	scope := Scope{Region: file.Region, Account: file.Account}
	checks := 0
	for _, v := range file.Vectors {
		t.Run(v.ID, func(t *testing.T) {
			var named []Named
			for _, p := range v.Policies {
				d, err := Parse(p.Document)
				if err != nil {
					t.Fatalf("policy %s: %v", p.Name, err)
				}
				named = append(named, Named{Name: p.Name, Document: d, Group: strings.HasPrefix(p.AttachedTo, "thingGroup:")})
			}
			compiled := Compile(named, v.Connection.connection(), scope)
			for _, c := range v.Checks {
				checks++
				got := compiled.Evaluate(Request{Action: c.Action, Resource: c.Resource})
				want := Decision{Allowed: c.Expect == "allow", Explicit: c.Expect == "allow" || c.Reason == "explicit"}
				if got.Allowed != want.Allowed || got.Explicit != want.Explicit {
					t.Errorf("%s: %s on %s: got %s, want %s %s", v.Title, c.Action, c.Resource, got.Reason(), c.Expect, c.Reason)
				}
				if got.Explicit && got.Policy == "" {
					t.Errorf("%s on %s: no deciding policy named", c.Action, c.Resource)
				}
			}
		})
	}
	if len(file.Vectors) != 52 || checks != 113 {
		t.Errorf("got %d vectors and %d checks, want 52 and 113", len(file.Vectors), checks)
	}
}

func TestParse_DocumentVectorsHold(t *testing.T) {
	var file struct {
		Cases []struct{ ID, Document, Expect string }
	}
	readVectors(t, "policy-documents.json", &file)
	for _, c := range file.Cases {
		switch c.ID {
		case "too-long":
			c.Document = documentOf(2049)
		case "exact-limit":
			c.Document = documentOf(2048) + strings.Repeat(" \n\t", 3400)
		}
		_, err := Parse([]byte(c.Document))
		if c.Expect == "accepted" {
			if err != nil {
				t.Errorf("%s: %v", c.ID, err)
			}
			continue
		}
		if !errors.Is(err, ErrMalformed) || iot.CodeOf(err) != iot.InvalidRequest {
			t.Errorf("%s: got %v, want %s", c.ID, err, c.Expect)
		}
	}
}

// documentOf gives a document of n characters besides white space.
func documentOf(n int) string {
	head := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Publish","Resource":["arn:aws:iot:us-east-1:000000000000:topic/`
	tail := `"]}]}`
	return head + strings.Repeat("a", n-len(head)-len(tail)) + tail
}
