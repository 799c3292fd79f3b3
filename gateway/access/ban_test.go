package access

import (
	"fmt"
	"strings"
	"testing"

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

func TestBan_TenRefusalsShutACertificateOutAndEachBanIsLonger(t *testing.T) {
	w := connectAs(t)
	for ban := banMin; ; ban = min(2*ban, banMax) {
		for n := range failuresMax {
			if err := w.Connect(certClient("good"), nil); err != nil {
				t.Fatalf("ban of %v: shut out after %d refusals: %v", ban, n, err)
			}
			_ = w.Connect(certClient("bad"), nil)
		}
		other := certClient("good")
		other.RemoteIP = "10.0.0.77"
		if err := w.Connect(other, nil); iot.CodeOf(err) != iot.Forbidden || !strings.Contains(err.Error(), "refused too often") {
			t.Fatalf("ban of %v: from another address: %v", ban, err)
		}
		w.clk.add(ban - 1)
		if w.Connect(certClient("good"), nil) == nil {
			t.Fatalf("ban of %v ends too early", ban)
		}
		w.clk.add(1)
		if ban == banMax {
			break
		}
	}
	if err := w.Connect(certClient("good"), nil); err != nil {
		t.Errorf("after the longest ban: %v", err)
	}
}

func TestBan_SlowRefusalsAndThisHostAreSpared(t *testing.T) {
	w := connectAs(t)
	for range 3 * failuresMax {
		_ = w.Connect(certClient("bad"), nil)
		w.clk.add(failureWindow/failuresMax + failureWindow/20)
	}
	for range 3 * failuresMax {
		c := certClient("bad")
		c.RemoteIP = "127.0.0.1"
		_ = w.Connect(c, nil)
	}
	if err := w.Connect(certClient("good"), nil); err != nil {
		t.Error(err)
	}
}

func TestBan_MemoryIsBounded(t *testing.T) {
	var b bans
	for n := range 2 * offendersMax {
		b.failed(&Client{Principal: iot.Principal{Kind: iot.CertificateKind, ID: fmt.Sprint(n)}, RemoteIP: "10.0.0.1"}, 0)
	}
	if len(b.seen) != offendersMax {
		t.Errorf("%d certificates remembered", len(b.seen))
	}
	b.failed(&Client{Principal: iot.Principal{Kind: iot.CertificateKind, ID: "late"}, RemoteIP: "10.0.0.1"}, 2*banMax)
	if len(b.seen) != 1 {
		t.Errorf("%d certificates remembered after all had their time", len(b.seen))
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
