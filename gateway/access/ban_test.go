package access

import (
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/ban"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/policy"
)

// connectAs is a directory that lets a certificate connect as `good` alone.
func connectAs(t *testing.T) world {
	return newWorld(t, func(c *Config) {
		d := document(t, `{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/good"}`)
		c.Directory = &book{rights: map[iot.Principal]Rights{device: {Policies: []policy.Named{{Name: "p", Document: d}}}}}
	})
}

func TestBan_ACertificateRefusedTooOftenIsShutOutFromEverywhere(t *testing.T) {
	w := connectAs(t)
	for n := range ban.FailuresMax {
		if err := w.Connect(certClient("good"), nil); err != nil {
			t.Fatalf("shut out after %d refusals: %v", n, err)
		}
		_ = w.Connect(certClient("bad"), nil)
	}
	other := certClient("good")
	other.RemoteIP = "10.0.0.77"
	if err := w.Connect(other, nil); iot.CodeOf(err) != iot.Forbidden || !strings.Contains(err.Error(), "refused too often") {
		t.Fatalf("from another address: %v", err)
	}
	w.clk.add(ban.Min)
	if err := w.Connect(certClient("good"), nil); err != nil {
		t.Errorf("after the ban: %v", err)
	}
}

func TestBan_ProgramsOfThisHostAreSpared(t *testing.T) {
	w := connectAs(t)
	for range 3 * ban.FailuresMax {
		c := certClient("bad")
		c.RemoteIP = "127.0.0.1"
		_ = w.Connect(c, nil)
	}
	if err := w.Connect(certClient("good"), nil); err != nil {
		t.Error(err)
	}
}

// TestReserved_IsADenialWithNothingToSuggest: no policy would open it.
func TestReserved_IsADenialWithNothingToSuggest(t *testing.T) {
	w := newWorld(t, nil)
	w.Reserved(local(), "$SYS/x")
	told := w.Denials()
	if len(told) != 1 || told[0].Reason != "reserved topic" || told[0].Suggest != "" || told[0].Resource != "topic/$SYS/x" {
		t.Errorf("%+v", told)
	}
}

// TestDenials_SuggestTheStatementThatAllows takes the suggestion at its word.
func TestDenials_SuggestTheStatementThatAllows(t *testing.T) {
	for _, name := range []string{"dt/x", "$aws/things/t/shadow/get", "odd/${iot:ClientId}/*?"} {
		w := newWorld(t, func(c *Config) { c.Policies = nil })
		c := &Client{ID: "c", Principal: iot.Principal{Kind: iot.Local, ID: "local"}}
		if w.Publish(c, name, false) == nil {
			t.Fatal("nothing is allowed")
		}
		told := w.Denials()
		if err := w.Replace([]Policy{{LocalPolicy, document(t, told[len(told)-1].Suggest)}}, nil); err != nil {
			t.Fatal(err)
		}
		if err := w.Publish(c, name, false); err != nil {
			t.Errorf("%s: still denied with %s", name, told[len(told)-1].Suggest)
		}
		if w.Publish(c, "elsewhere", false) == nil {
			t.Errorf("%s: the suggestion allows more", told[len(told)-1].Suggest)
		}
	}
}
