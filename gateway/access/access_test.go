package access

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/policy"
)

// movable is a clock that a test moves.
type movable struct {
	mu     sync.Mutex
	up     time.Duration
	wall   time.Time
	synced bool
}

func (c *movable) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.wall }
func (c *movable) Up() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up
}
func (c *movable) Boot() string { return "abcdef" }
func (c *movable) Synced() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.synced }
func (c *movable) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up += d
	c.wall = c.wall.Add(d)
}

func document(t testing.TB, statements string) *policy.Document {
	t.Helper()
	d, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":[` + statements + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const allowAll = `{"Effect":"Allow","Action":"iot:*","Resource":"*"}`

var scope = policy.Scope{Region: "us-east-1", Account: "000000000000"}

type world struct {
	*Checker
	clk *movable
	log *bytes.Buffer
}

func newWorld(t testing.TB, edit func(*Config)) world {
	t.Helper()
	w := world{clk: &movable{wall: time.Unix(1e9, 0), synced: true, up: time.Hour}, log: new(bytes.Buffer)}
	cfg := Config{Scope: scope, Policies: []Policy{{LocalPolicy, document(t, allowAll)}}}
	if edit != nil {
		edit(&cfg)
	}
	k, err := New(cfg, w.clk, ids.New(rand.Reader), metrics.New(), slog.New(slog.NewTextHandler(w.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	w.Checker = k
	return w
}

func local() *Client {
	return &Client{ID: "c1", Listener: "local", Auth: AuthLoopback, RemoteIP: "127.0.0.1"}
}

// book is a directory of one certificate and one access key.
type book struct {
	rights map[iot.Principal]Rights
	docs   map[string]*policy.Document
	asked  int
}

func (b *book) Rights(p iot.Principal, _ iot.ClientID) Rights { b.asked++; return b.rights[p] }
func (b *book) Policy(name string) (*policy.Document, bool)   { d, ok := b.docs[name]; return d, ok }

var device = iot.Principal{Kind: iot.CertificateKind, ID: "cafe"}

func certClient(id string) *Client {
	return &Client{ID: iot.ClientID(id), Principal: device, Listener: "mtls", Auth: AuthCertificate, RemoteIP: "10.0.0.9", Secure: true}
}

func TestConnect_LoopbackIsLocalAndOnlyFromThisHost(t *testing.T) {
	w := newWorld(t, nil)
	for _, ip := range []string{"127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"} {
		c := local()
		c.RemoteIP = ip
		if err := w.Connect(c, nil); err != nil || c.Principal != (iot.Principal{Kind: iot.Local, ID: "local"}) {
			t.Errorf("%s: principal %+v, %v", ip, c.Principal, err)
		}
	}
	for _, ip := range []string{"10.0.0.1", "", "fe80::1", "localhost"} {
		c := local()
		c.RemoteIP = ip
		if err := w.Connect(c, nil); iot.CodeOf(err) != iot.Unauthorized {
			t.Errorf("%q: got %v, want Unauthorized", ip, err)
		}
	}
}

func TestConnect_NoIdentityIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	for _, c := range []*Client{
		{ID: "x", Auth: AuthCertificate},
		{ID: "x", Auth: AuthCertificate, Principal: iot.Principal{Kind: iot.AccessKeyKind, ID: "k"}},
		{ID: "x", Auth: AuthSigV4, Principal: device},
		{ID: "x", Auth: AuthSigV4},
		{ID: "x", Auth: "", Principal: device},
		{ID: "x", Auth: "none", RemoteIP: "127.0.0.1"},
	} {
		if err := w.Connect(c, nil); iot.CodeOf(err) != iot.Unauthorized {
			t.Errorf("auth %q, principal %+v: got %v", c.Auth, c.Principal, err)
		}
	}
}

func TestConnect_PasswordUsersHaveTheirPolicies(t *testing.T) {
	bc, err := bcrypt.GenerateFromPassword([]byte("beta"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *Config) {
		c.Policies = append(c.Policies, Policy{"talk", document(t, `{"Effect":"Allow","Action":["iot:Connect","iot:Publish"],"Resource":["arn:aws:iot:*:*:client/*","arn:aws:iot:*:*:topic/dt/${iot:ClientId}/*"]}`)})
		c.Users = []User{
			{"ann", HashPassword([]byte("alpha"), ids.New(rand.Reader)), []string{"talk"}},
			{"bob", string(bc), []string{"talk", "nowhere"}},
			{"eve", string(bc), nil},
		}
	})
	connect := func(name, password string) (*Client, error) {
		c := &Client{ID: "c1", Listener: "web", Auth: AuthPassword, RemoteIP: "10.0.0.1", Username: name}
		return c, w.Connect(c, []byte(password))
	}
	for name, password := range map[string]string{"ann": "alpha", "bob": "beta"} {
		for range 2 { // the second time from memory
			c, err := connect(name, password)
			if err != nil || c.Principal != (iot.Principal{Kind: iot.UserKind, ID: name}) {
				t.Fatalf("%s: %+v, %v", name, c.Principal, err)
			}
			if err := w.Publish(c, "dt/c1/x", false); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := w.Publish(c, "dt/c2/x", false); iot.CodeOf(err) != iot.Forbidden {
				t.Errorf("%s: got %v, want Forbidden", name, err)
			}
		}
	}
	for _, pair := range [][2]string{{"ann", "beta"}, {"bob", "alpha"}, {"bob", ""}, {"nobody", "alpha"}, {"", ""}} {
		c, err := connect(pair[0], pair[1])
		if iot.CodeOf(err) != iot.Unauthorized || iot.MessageOf(err) != "user name or password is wrong" || c.Principal.Kind != iot.Anonymous {
			t.Errorf("%v: %v, principal %+v", pair, err, c.Principal)
		}
	}
	if _, err := connect("eve", "beta"); iot.CodeOf(err) != iot.Forbidden {
		t.Errorf("a user without policies: got %v, want Forbidden", err)
	}
	if !strings.Contains(w.log.String(), "nowhere") {
		t.Error("a missing policy is not logged")
	}
}

func TestReplace_NewPasswordsCountAtOnce(t *testing.T) {
	src := ids.New(rand.Reader)
	user := func(password string) []User {
		return []User{{"ann", HashPassword([]byte(password), src), []string{LocalPolicy}}}
	}
	w := newWorld(t, func(c *Config) { c.Users = user("old") })
	connect := func(password string) error {
		return w.Connect(&Client{ID: "c", Auth: AuthPassword, Username: "ann"}, []byte(password))
	}
	if err := connect("old"); err != nil {
		t.Fatal(err)
	}
	if err := w.Replace([]Policy{{LocalPolicy, document(t, allowAll)}}, user("new")); err != nil {
		t.Fatal(err)
	}
	if connect("old") == nil || connect("new") != nil {
		t.Error("the old password still works, or the new one does not")
	}
}

func TestReplace_TakesEffectOnLiveClients(t *testing.T) {
	w := newWorld(t, nil)
	c := local()
	if err := w.Connect(c, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Publish(c, "a", false); err != nil {
		t.Fatal(err)
	}
	if err := w.Replace([]Policy{{LocalPolicy, document(t, `{"Effect":"Allow","Action":"iot:Receive","Resource":"*"}`)}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Publish(c, "a", false); iot.CodeOf(err) != iot.Forbidden {
		t.Errorf("publish after the change: %v", err)
	}
	if w.MayConnect(c) {
		t.Error("MayConnect is still true")
	}
	if !w.Receive(c, "a") {
		t.Error("receive was taken away")
	}
}

func TestReplace_BadUserChangesNothing(t *testing.T) {
	w := newWorld(t, nil)
	c := local()
	if err := w.Connect(c, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Replace(nil, []User{{"x", "secret", nil}}); err == nil || !strings.Contains(err.Error(), `user "x"`) {
		t.Fatalf("got %v", err)
	}
	if err := w.Publish(c, "a", false); err != nil {
		t.Errorf("the old policies are gone: %v", err)
	}
}

func TestPublish_RetainNeedsItsOwnAction(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Policies[0].Document = document(t, `{"Effect":"Allow","Action":["iot:Connect","iot:Publish"],"Resource":"*"}`)
	})
	c := local()
	if err := w.Connect(c, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Publish(c, "a", false); err != nil {
		t.Error(err)
	}
	if err := w.Publish(c, "a", true); iot.CodeOf(err) != iot.Forbidden || !strings.Contains(err.Error(), "iot:RetainPublish on topic/a") {
		t.Errorf("got %v", err)
	}
}

func TestConnect_CertificatesAskTheDirectory(t *testing.T) {
	b := &book{
		rights: map[iot.Principal]Rights{device: {
			Names: []string{"device-default"}, Thing: &policy.Thing{Name: "pump-1", Attached: true},
			Policies: []policy.Named{{Name: "group", Group: true, Document: document(t, `{"Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/dt/pump-1/secret"}`)}},
		}},
		docs: map[string]*policy.Document{"device-default": document(t, `
			{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},
			{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"arn:aws:iot:*:*:topic/dt/${iot:Connection.Thing.ThingName}/*"}`)},
	}
	w := newWorld(t, func(c *Config) { c.Directory = b })
	c := certClient("pump-1")
	if err := w.Connect(c, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Publish(c, "dt/pump-1/x", false); err != nil {
		t.Error(err)
	}
	if w.Publish(c, "dt/pump-1/secret", false) == nil || w.Publish(c, "dt/pump-2/x", false) == nil || w.Subscribe(c, "#") == nil {
		t.Error("more is allowed than the policies say")
	}
	if err := w.Connect(certClient("pump-2"), nil); iot.CodeOf(err) != iot.Forbidden {
		t.Errorf("another thing's client id: got %v", err)
	}
	if b.asked != 2 {
		t.Errorf("the directory was asked %d times for two connections", b.asked)
	}
}

func TestAllow_AccessKeysAndOtherActions(t *testing.T) {
	key := iot.Principal{Kind: iot.AccessKeyKind, ID: "AK"}
	narrow := iot.Principal{Kind: iot.AccessKeyKind, ID: "NK"}
	b := &book{rights: map[iot.Principal]Rights{
		key:    {Everything: true},
		narrow: {Policies: []policy.Named{{Name: "read", Document: document(t, `{"Effect":"Allow","Action":"iot:GetThingShadow","Resource":"arn:aws:iot:*:*:thing/${iot:ClientId}"}`)}}},
	}}
	w := newWorld(t, func(c *Config) { c.Directory = b })
	for _, action := range []string{"iot:GetThingShadow", "tidehold:Write"} {
		if err := w.Allow(&Client{Principal: key, HTTP: true}, action, "*"); err != nil {
			t.Errorf("%s: %v", action, err)
		}
	}
	if err := w.Allow(&Client{Principal: iot.Principal{Kind: iot.House}}, "iot:Publish", "topic/a"); err != nil {
		t.Errorf("the house itself: %v", err)
	}
	if w.Allow(&Client{}, "iot:Publish", "topic/a") == nil {
		t.Error("nobody may publish")
	}
	c := &Client{Principal: narrow, HTTP: true}
	if err := w.Allow(c, "iot:GetThingShadow", "thing/t"); iot.CodeOf(err) != iot.Forbidden {
		t.Errorf("got %v", err)
	}
	d, missing := w.Explain(c, "iot:GetThingShadow", "thing/t")
	if d.Reason() != "implicitDeny" || fmt.Sprint(missing) != "[iot:ClientId]" {
		t.Errorf("explained %s, missing %v", d.Reason(), missing)
	}
}

func TestConnect_AttributesAndWillReachThePolicy(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Policies[0].Document = document(t, `
			{"Effect":"Allow","Action":"iot:Connect","Resource":"*","Condition":{"ArnLikeIfExists":{"iot:LastWillTopic":"arn:aws:iot:*:*:topic/w/*"}}},
			{"Effect":"Deny","Action":"iot:Connect","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"iot:ConnectAttributes":"PersistentConnect"}}}`)
	})
	for want, c := range map[bool][]*Client{
		true:  {{}, {Will: true, WillTopic: "w/1"}},
		false: {{Persistent: true}, {Will: true, WillTopic: "v/1"}},
	} {
		for _, c := range c {
			c.ID, c.Auth, c.RemoteIP = "c", AuthLoopback, "::1"
			if got := w.Connect(c, nil) == nil; got != want {
				t.Errorf("persistent %v, will %q: got %v, want %v", c.Persistent, c.WillTopic, got, want)
			}
		}
	}
}

func TestConnect_ClientIDsThatWouldBeWildcards(t *testing.T) {
	uses := document(t, `{"Effect":"Allow","Action":"iot:*","Resource":"arn:aws:iot:*:*:topic/${iot:ClientId}"}`+","+allowAll)
	for name, c := range map[string]struct {
		doc    *policy.Document
		strict bool
		id     string
		ok     bool
	}{
		"plain":              {document(t, allowAll), false, "a+/#", true},
		"strict":             {document(t, allowAll), true, "a+", false},
		"used by a policy":   {uses, false, "+", false},
		"used, slash":        {uses, false, "a/b", false},
		"used, control":      {uses, false, "a\x01", false},
		"used, harmless":     {uses, true, "pump-1", true},
		"used, other script": {uses, true, "насос", true},
	} {
		w := newWorld(t, func(cfg *Config) { cfg.Policies[0].Document = c.doc; cfg.StrictClientID = c.strict })
		client := local()
		client.ID = iot.ClientID(c.id)
		if err := w.Connect(client, nil); (err == nil) != c.ok {
			t.Errorf("%s: got %v, want ok %v", name, err, c.ok)
		}
	}
}

func TestVerdict_TimeOfDayIsNeverCached(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Policies[0].Document = document(t, `{"Effect":"Allow","Action":"iot:*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2001-09-09T02:00:00Z"}}}`)
	})
	c := local() // the clock stands at 2001-09-09T01:46:40Z
	if err := w.Connect(c, nil); err != nil {
		t.Fatal(err)
	}
	w.clk.synced = false
	if w.Receive(c, "a") {
		t.Error("allowed by an untrusted clock")
	}
	w.clk.synced = true
	if !w.Receive(c, "a") {
		t.Error("denied in time")
	}
	w.clk.add(time.Hour)
	if w.Receive(c, "a") {
		t.Error("allowed too late")
	}
}

func TestVerdict_CacheIsBounded(t *testing.T) {
	w := newWorld(t, nil)
	c := local()
	if err := w.Connect(c, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * decisionsMax {
		w.Receive(c, fmt.Sprint("topic/", i))
	}
	s := c.session.Load()
	var sum int64
	for q := range s.cache {
		sum += int64(len(q.name) + decisionBytes)
	}
	if len(s.cache) != decisionsMax || s.bytes.Load() != sum || w.cacheBytes.Load() != sum {
		t.Errorf("%d decisions, %d bytes booked, %d in all, %d counted", len(s.cache), s.bytes.Load(), w.cacheBytes.Load(), sum)
	}
	w.cacheBytes.Store(cacheBytesMax)
	before := len(s.cache)
	if !w.Receive(c, "beyond the limit") || len(s.cache) > before {
		t.Error("the limit of all caches does not hold")
	}
}

func TestCurrent_OldSessionsGiveTheirMemoryBack(t *testing.T) {
	w := newWorld(t, nil)
	func() {
		c := local()
		if err := w.Connect(c, nil); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			w.Receive(c, fmt.Sprint(i))
		}
	}()
	collected(t, func() bool { return w.cacheBytes.Load() == 0 })
}

func TestDenials_AreLoggedOncePerTenSecondsWithACount(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Policies[0].Document = document(t, `{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},{"Sid":"S","Effect":"Deny","Action":"iot:Publish","Resource":"*"}`)
	})
	c := local()
	if err := w.Connect(c, nil); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		w.Publish(c, "a", false)
	}
	w.Publish(c, "b", false)
	w.Receive(c, "a")
	if n := len(w.Denials()); n != 3 {
		t.Errorf("%d told, want 3 of 7", n)
	}
	w.clk.add(denialQuiet)
	w.Publish(c, "a", false)
	got := w.Denials()
	last := got[len(got)-1]
	if len(got) != 4 || last.Count != 4 || last.Reason != "policy "+LocalPolicy || last.Resource != "topic/a" || last.Client != "c1" {
		t.Errorf("%d told, last %+v", len(got), last)
	}
	if got[2].Reason != "implicit" {
		t.Errorf("receive: reason %q", got[2].Reason)
	}
	if n := strings.Count(w.log.String(), "authz.denied"); n != 4 {
		t.Errorf("%d lines logged, want 4", n)
	}
}

// Requests over HTTP have no client id: one signer's denial must not hide
// another's.
func TestDenials_OfEverySignerAreTold(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Policies = nil })
	for _, key := range []string{"AKIA1", "AKIA2", "AKIA1"} {
		c := &Client{Principal: iot.Principal{Kind: iot.AccessKeyKind, ID: key}, Auth: AuthSigV4, HTTP: true}
		if w.Allow(c, "iot:GetThingShadow", "thing/pump") == nil {
			t.Error("allowed without a policy")
		}
	}
	told := w.Denials()
	if len(told) != 2 || told[0].Principal.ID != "AKIA1" || told[1].Principal.ID != "AKIA2" {
		t.Errorf("%+v", told)
	}
}

func TestDenials_MemoryIsBounded(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Policies = nil })
	c := &Client{ID: "c", Principal: iot.Principal{Kind: iot.Local, ID: "local"}}
	for i := range 10 * denialKeysMax {
		w.Publish(c, fmt.Sprint(i), false)
		w.clk.add(time.Millisecond)
	}
	if n := len(w.denials.marks); n > denialKeysMax+1 {
		t.Errorf("%d marks", n)
	}
	if n := len(w.Denials()); n > denialsKept {
		t.Errorf("%d kept", n)
	}
}

func TestChecker_ManyGoroutinesAskWhilePoliciesChange(t *testing.T) {
	w := newWorld(t, nil)
	doc := []Policy{{LocalPolicy, document(t, allowAll)}}
	c := local()
	if err := w.Connect(c, nil); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				if !w.Receive(c, fmt.Sprint(i%97)) {
					t.Error("denied")
					return
				}
				if g == 0 && i%50 == 0 {
					if err := w.Replace(doc, nil); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkReceive_Cached(b *testing.B) {
	w := newWorld(b, nil)
	c := local()
	if err := w.Connect(c, nil); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w.Receive(c, "dt/pump-1/flow")
	}
}

var _ clock.Clock = (*movable)(nil)
