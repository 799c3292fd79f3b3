package registry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/pki"
	"github.com/tidehold/tidehold/gateway/policy"
	"github.com/tidehold/tidehold/gateway/store"
)

const allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

// hand is a clock that a test moves.
type hand struct {
	clock.Fixed
	at time.Time
}

func (h *hand) Now() time.Time { return h.at }

type house struct {
	*Registry
	db    *store.DB
	clock *hand
}

func build(t testing.TB, path string, things []Thing, policies ...Static) *house {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: path, Durability: store.Normal, Schemas: []store.Schema{Schema()}, Metrics: metrics.New(), Clock: clock.NewSystem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	h := &hand{at: time.Now()}
	src := ids.New(rand.Reader)
	r := New(things, db, h, src)
	a, err := pki.NewAuthority("gw", pki.Moment{Now: h.at, Synced: true}, src)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Load(t.Context(), Config{Policies: policies, Authority: func() *pki.Authority { return a }}); err != nil {
		t.Fatal(err)
	}
	return &house{r, db, h}
}

func fresh(t testing.TB) *house { return build(t, filepath.Join(t.TempDir(), "state.db"), nil) }

func want(t testing.TB, what string, err error, code iot.Code) {
	t.Helper()
	if err == nil || iot.CodeOf(err) != code {
		t.Errorf("%s: %v; want %s", what, err, code.AWSType())
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (h *house) device(t testing.TB, status Status) Issued {
	t.Helper()
	c, err := h.CreateKeys(t.Context(), pki.Device{Key: pki.P256}, status)
	ok(t, err)
	return c
}

func TestThing_CreateTwiceIsOnceAndAnotherOneIsRefused(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	one, err := r.CreateThing(ctx, Thing{Name: "a", Attributes: map[string]string{"k": "v"}})
	ok(t, err)
	two, err := r.CreateThing(ctx, Thing{Name: "a", Attributes: map[string]string{"k": "v"}})
	if err != nil || two.ID != one.ID || two.Version != 1 {
		t.Errorf("the same again: %+v, %v", two, err)
	}
	_, err = r.CreateThing(ctx, Thing{Name: "a"})
	want(t, "other attributes", err, iot.AlreadyExists)
	_, err = r.CreateThing(ctx, Thing{Name: "b", Type: "none"})
	want(t, "unknown type", err, iot.NotFound)
	_, err = r.CreateThing(ctx, Thing{Name: "b", Attributes: map[string]string{"1": "x", "2": "x", "3": "x", "4": "x"}})
	want(t, "four attributes without a type", err, iot.InvalidRequest)
	_, err = r.CreateThing(ctx, Thing{Name: "a/b"})
	want(t, "bad name", err, iot.InvalidRequest)
}

func TestThing_UpdateMergesReplacesAndChecksTheVersion(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	_, err := r.CreateThing(ctx, Thing{Name: "a", Attributes: map[string]string{"x": "1", "y": "2"}})
	ok(t, err)
	ok(t, r.UpdateThing(ctx, "a", ThingUpdate{Attributes: map[string]string{"x": "", "z": "3"}, Merge: true, IfVersion: 1}))
	got, _ := r.Thing("a")
	if fmt.Sprint(got.Attributes) != "map[y:2 z:3]" || got.Version != 2 {
		t.Errorf("merged: %v, version %d", got.Attributes, got.Version)
	}
	want(t, "stale version", r.UpdateThing(ctx, "a", ThingUpdate{Attributes: map[string]string{}, IfVersion: 1}), iot.VersionConflict)
	ok(t, r.UpdateThing(ctx, "a", ThingUpdate{Attributes: map[string]string{"q": "9"}}))
	if got, _ = r.Thing("a"); fmt.Sprint(got.Attributes) != "map[q:9]" || got.Version != 3 {
		t.Errorf("replaced: %v, version %d", got.Attributes, got.Version)
	}
	want(t, "unknown", r.UpdateThing(ctx, "ghost", ThingUpdate{}), iot.NotFound)
	want(t, "delete of a stale version", r.DeleteThing(ctx, "a", 1), iot.VersionConflict)
	ok(t, r.DeleteThing(ctx, "a", 0))
	ok(t, r.DeleteThing(ctx, "a", 0))
}

func TestThing_SearchByAttributeFollowsUpdatesAndPages(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	for i := range 5 {
		_, err := r.CreateThing(ctx, Thing{Name: iot.ThingName(fmt.Sprintf("t%d", i)), Attributes: map[string]string{"room": fmt.Sprintf("r%d", i%2)}})
		ok(t, err)
	}
	list := func(q ThingQuery) string {
		t.Helper()
		if q.Limit == 0 {
			q.Limit = 10
		}
		all, err := r.ListThings(ctx, q)
		ok(t, err)
		text := ""
		for _, one := range all {
			text += string(one.Name) + " "
		}
		return text
	}
	for _, c := range []struct {
		q    ThingQuery
		want string
	}{
		{ThingQuery{}, "t0 t1 t2 t3 t4 "},
		{ThingQuery{After: "t1", Limit: 2}, "t2 t3 "},
		{ThingQuery{Attribute: "room", Value: "r1"}, "t1 t3 "},
		{ThingQuery{Attribute: "room", Value: "r", Prefix: true, After: "t3"}, "t4 "},
		{ThingQuery{Attribute: "room", Value: "%", Prefix: true}, ""},
		{ThingQuery{Type: "none"}, ""},
	} {
		if got := list(c.q); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.q, got, c.want)
		}
	}
	ok(t, r.UpdateThing(ctx, "t1", ThingUpdate{Attributes: map[string]string{"room": "attic"}}))
	if got := list(ThingQuery{Attribute: "room", Value: "r1"}); got != "t3 " {
		t.Errorf("after an update: %q", got)
	}
}

func TestStatic_IsReadOnlyKeepsItsIDAndGoesWithTheConfiguration(t *testing.T) {
	path, ctx := filepath.Join(t.TempDir(), "state.db"), t.Context()
	pump := Thing{Name: "pump", Type: "motor", Groups: []string{"cellar"}, Policies: []string{"house"}}
	r := build(t, path, []Thing{pump}, Static{"house", allowAll})
	want(t, "update thing", r.UpdateThing(ctx, "pump", ThingUpdate{Attributes: map[string]string{"a": "b"}}), iot.InvalidRequest)
	want(t, "delete thing", r.DeleteThing(ctx, "pump", 0), iot.InvalidRequest)
	want(t, "delete group", r.DeleteGroup(ctx, "cellar", 0), iot.InvalidRequest)
	want(t, "leave group", r.Regroup(ctx, "pump", []string{"cellar"}, nil), iot.InvalidRequest)
	want(t, "delete policy", r.DeletePolicy(ctx, "house"), iot.InvalidRequest)
	_, err := r.CreatePolicyVersion(ctx, "house", allowAll, true)
	want(t, "new policy version", err, iot.InvalidRequest)
	c := r.device(t, Active)
	ok(t, r.AttachThing(ctx, c.ID, "pump", false))
	if got := r.Rights(iot.Principal{Kind: iot.CertificateKind, ID: c.ID}, "pump"); len(got.Policies) != 1 || got.Policies[0].Group {
		t.Errorf("policies of the thing: %+v", got.Policies)
	}
	before, _ := r.Thing("pump")
	ok(t, r.db.Close())

	r = build(t, path, []Thing{pump}, Static{"house", " " + allowAll})
	after, found := r.Thing("pump")
	if !found || after.ID != before.ID || !after.Static || !slices.Equal(after.Groups, pump.Groups) {
		t.Errorf("after a restart: %+v", after)
	}
	if v, err := r.PolicyVersion(ctx, "house", 0); err != nil || v.Version != 2 || v.Document[0] != ' ' {
		t.Errorf("changed document: %+v, %v", v, err)
	}
	ok(t, r.db.Close())

	r = build(t, path, nil)
	if _, found := r.Thing("pump"); found {
		t.Error("the thing outlives its declaration")
	}
	_, err = r.PolicyVersion(ctx, "house", 0)
	want(t, "policy without declaration", err, iot.NotFound)
}

func TestType_MustBeDeprecatedAndUnusedToGo(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	_, err := r.CreateType(ctx, ThingType{Name: "motor", Searchable: []string{"kW"}})
	ok(t, err)
	_, err = r.CreateThing(ctx, Thing{Name: "m", Type: "motor"})
	ok(t, err)
	want(t, "not deprecated", r.DeleteType(ctx, "motor"), iot.InvalidRequest)
	ok(t, r.DeprecateType(ctx, "motor", false))
	want(t, "in use", r.DeleteType(ctx, "motor"), iot.InvalidRequest)
	_, err = r.CreateThing(ctx, Thing{Name: "n", Type: "motor"})
	want(t, "new thing of a deprecated type", err, iot.InvalidRequest)
	ok(t, r.UpdateThing(ctx, "m", ThingUpdate{RemoveType: true}))
	ok(t, r.DeleteType(ctx, "motor"))
	_, err = r.Type(ctx, "motor")
	want(t, "deleted", err, iot.NotFound)
}

func TestGroup_NestsListsAndRefusesToGoWithChildren(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	parent := ""
	for i := range groupDepthMax {
		name := fmt.Sprintf("g%d", i)
		_, err := r.CreateGroup(ctx, Group{Name: name, Parent: parent})
		ok(t, err)
		parent = name
	}
	_, err := r.CreateGroup(ctx, Group{Name: "deep", Parent: parent})
	want(t, "too deep", err, iot.InvalidRequest)
	_, err = r.CreateGroup(ctx, Group{Name: "g1", Parent: ""})
	want(t, "another parent", err, iot.AlreadyExists)
	want(t, "with children", r.DeleteGroup(ctx, "g0", 0), iot.InvalidRequest)
	_, err = r.CreateThing(ctx, Thing{Name: "t"})
	ok(t, err)
	ok(t, r.Regroup(ctx, "t", nil, []string{"g3"}))
	ok(t, r.Regroup(ctx, "t", nil, []string{"g3"}))
	for recursive, n := range map[bool]int{false: 0, true: 1} {
		if all, err := r.ThingsInGroup(ctx, "g0", recursive, "", 10); err != nil || len(all) != n {
			t.Errorf("things in g0, recursive %v: %v, %v", recursive, all, err)
		}
	}
	if all, err := r.ListGroups(ctx, GroupQuery{Parent: "g1", Recursive: true, Limit: 10}); err != nil || len(all) != groupDepthMax-2 {
		t.Errorf("below g1: %d groups, %v", len(all), err)
	}
	if all, err := r.ListGroups(ctx, GroupQuery{Roots: true, Limit: 10}); err != nil || len(all) != 1 {
		t.Errorf("roots: %v, %v", all, err)
	}
	if _, above, err := r.Group(ctx, "g2"); err != nil || !slices.Equal(above, []string{"g0", "g1"}) {
		t.Errorf("above g2: %v, %v", above, err)
	}
	if v, err := r.UpdateGroup(ctx, "g2", nil, ThingUpdate{Attributes: map[string]string{"a": "b"}, IfVersion: 1}); err != nil || v != 2 {
		t.Errorf("update: version %d, %v", v, err)
	}
	want(t, "unknown parent", func() error { _, err := r.CreateGroup(ctx, Group{Name: "x", Parent: "nope"}); return err }(), iot.NotFound)
}

func TestCertificate_StatesFollowTheTable(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	c := r.device(t, Inactive)
	want(t, "pending by API", r.UpdateCertificate(ctx, c.ID, Pending), iot.InvalidRequest)
	ok(t, r.UpdateCertificate(ctx, c.ID, Active))
	ok(t, r.UpdateCertificate(ctx, c.ID, Active))
	want(t, "delete active", r.DeleteCertificate(ctx, c.ID, true), iot.CertificateState)
	_, err := r.CreateThing(ctx, Thing{Name: "t"})
	ok(t, err)
	ok(t, r.AttachThing(ctx, c.ID, "t", false))
	want(t, "delete thing with principal", r.DeleteThing(ctx, "t", 0), iot.InvalidRequest)
	ok(t, r.UpdateCertificate(ctx, c.ID, Revoked))
	want(t, "back from revoked", r.UpdateCertificate(ctx, c.ID, Active), iot.CertificateState)
	want(t, "delete with thing", r.DeleteCertificate(ctx, c.ID, true), iot.DeleteConflict)
	ok(t, r.DetachThing(ctx, c.ID, "t"))
	_, err = r.CreatePolicy(ctx, "p", allowAll)
	ok(t, err)
	ok(t, r.AttachPolicy(ctx, "p", CertificateTarget(c.ID)))
	want(t, "delete with policy", r.DeleteCertificate(ctx, c.ID, false), iot.DeleteConflict)
	want(t, "delete attached policy", r.DeletePolicy(ctx, "p"), iot.DeleteConflict)
	ok(t, r.DeleteCertificate(ctx, c.ID, true))
	ok(t, r.DeletePolicy(ctx, "p"))
	want(t, "delete unknown", r.DeleteCertificate(ctx, c.ID, false), iot.NotFound)
}

func TestIdentify_OnlyActiveKnownAndCurrentCertificatesComeIn(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	c := r.device(t, Active)
	leaf, err := pki.ParseCertificate([]byte(c.PEM))
	ok(t, err)
	if p, err := r.Identify(ctx, Hello{Chain: []*x509.Certificate{leaf}}); err != nil || p.ID != c.ID || p.Kind != iot.CertificateKind {
		t.Errorf("active: %+v, %v", p, err)
	}
	ok(t, r.UpdateCertificate(ctx, c.ID, Inactive))
	_, err = r.Identify(ctx, Hello{Chain: []*x509.Certificate{leaf}})
	want(t, "inactive", err, iot.Unauthorized)
	if rights := r.Rights(iot.Principal{Kind: iot.CertificateKind, ID: c.ID}, "x"); rights.Subject != nil || rights.Everything {
		t.Errorf("rights of an inactive certificate: %+v", rights)
	}
	ok(t, r.UpdateCertificate(ctx, c.ID, Active))
	r.clock.at = time.Unix(0, 0)
	_, err = r.Identify(ctx, Hello{Chain: []*x509.Certificate{leaf}})
	want(t, "in 1970 without a floor", err, iot.Unauthorized)
	r.cfg.Floor = time.Now()
	if _, err = r.Identify(ctx, Hello{Chain: []*x509.Certificate{leaf}}); err != nil {
		t.Errorf("in 1970 with a floor: %v", err)
	}
	r.clock.at = time.Now().Add(pki.DeviceLife + time.Hour)
	_, err = r.Identify(ctx, Hello{Chain: []*x509.Certificate{leaf}})
	want(t, "expired", err, iot.Unauthorized)
}

func TestPolicy_VersionsAreAtMostFiveAndNeverReused(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	document := "{ \n" + allowAll[1:]
	_, err := r.CreatePolicy(ctx, "p", document)
	ok(t, err)
	_, err = r.CreatePolicy(ctx, "p", document)
	want(t, "taken name", err, iot.AlreadyExists)
	_, err = r.CreatePolicy(ctx, "q", "{")
	want(t, "bad document", err, iot.MalformedPolicy)
	for range policy.MaxVersions - 1 {
		_, err := r.CreatePolicyVersion(ctx, "p", allowAll, false)
		ok(t, err)
	}
	_, err = r.CreatePolicyVersion(ctx, "p", allowAll, true)
	want(t, "sixth version", err, iot.VersionsLimit)
	want(t, "delete default", r.DeletePolicyVersion(ctx, "p", 1), iot.DeleteConflict)
	ok(t, r.DeletePolicyVersion(ctx, "p", 5))
	v, err := r.CreatePolicyVersion(ctx, "p", allowAll, true)
	if err != nil || v.Version != 6 || v.Policy.Default != 6 {
		t.Errorf("version %d, default %d, %v; want 6", v.Version, v.Policy.Default, err)
	}
	want(t, "delete with versions", r.DeletePolicy(ctx, "p"), iot.DeleteConflict)
	ok(t, r.SetDefaultVersion(ctx, "p", 1))
	if v, err := r.PolicyVersion(ctx, "p", 0); err != nil || v.Document != document {
		t.Errorf("document %q, %v; want it byte for byte", v.Document, err)
	}
	want(t, "unknown version", r.SetDefaultVersion(ctx, "p", 99), iot.NotFound)
}

func TestAttachPolicy_QuotasOfAWSHold(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	c := r.device(t, Active)
	_, err := r.CreateGroup(ctx, Group{Name: "g"})
	ok(t, err)
	for i := range policiesOfPeopleMax + 1 {
		name := fmt.Sprintf("p%d", i)
		_, err := r.CreatePolicy(ctx, name, allowAll)
		ok(t, err)
		err = r.AttachPolicy(ctx, name, CertificateTarget(c.ID))
		if i < policiesOfPeopleMax {
			ok(t, err)
		} else {
			want(t, "one more on a certificate", err, iot.LimitExceeded)
		}
		if err = r.AttachPolicy(ctx, name, GroupTarget("g")); i >= policiesOfGroupMax {
			want(t, "one more on a group", err, iot.LimitExceeded)
		}
	}
	ok(t, r.AttachPolicy(ctx, "p0", CertificateTarget(c.ID)))
	want(t, "unknown policy", r.AttachPolicy(ctx, "ghost", CertificateTarget(c.ID)), iot.NotFound)
	want(t, "bad target", r.AttachPolicy(ctx, "p0", "thing/x"), iot.InvalidRequest)
	if all, err := r.Targets(ctx, "p0", "", 10); err != nil || len(all) != 2 {
		t.Errorf("targets of p0: %v, %v", all, err)
	}
}

func TestRights_GroupsOfTheThingCountWithThoseAbove(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	c := r.device(t, Active)
	for _, name := range []string{"own", "inner", "outer"} {
		_, err := r.CreatePolicy(ctx, name, allowAll)
		ok(t, err)
	}
	for _, g := range []Group{{Name: "house"}, {Name: "cellar", Parent: "house"}} {
		_, err := r.CreateGroup(ctx, g)
		ok(t, err)
	}
	_, err := r.CreateThing(ctx, Thing{Name: "pump", Attributes: map[string]string{"a": "b"}})
	ok(t, err)
	ok(t, r.Regroup(ctx, "pump", nil, []string{"cellar"}))
	ok(t, r.AttachPolicy(ctx, "own", CertificateTarget(c.ID)))
	ok(t, r.AttachPolicy(ctx, "inner", GroupTarget("cellar")))
	ok(t, r.AttachPolicy(ctx, "outer", GroupTarget("house")))
	ok(t, r.AttachThing(ctx, c.ID, "pump", false))
	rights := r.Rights(iot.Principal{Kind: iot.CertificateKind, ID: c.ID}, "pump")
	got := ""
	for _, p := range rights.Policies {
		got += fmt.Sprintf("%s:%v ", p.Name, p.Group)
	}
	if got != "own:false inner:true outer:true " {
		t.Errorf("policies %q", got)
	}
	if rights.Thing == nil || rights.Thing.Name != "pump" || !rights.Thing.Attached || rights.Thing.Exclusive || rights.Thing.Attributes["a"] != "b" {
		t.Errorf("thing %+v", rights.Thing)
	}
	if rights.Subject["CommonName"][0] != pki.DeviceName || rights.Issuer["CommonName"][0] == "" {
		t.Errorf("names %v %v", rights.Subject, rights.Issuer)
	}
	if all, err := r.Attached(ctx, CertificateTarget(c.ID), true, "", 10); err != nil || len(all) != 3 {
		t.Errorf("inherited: %v, %v", all, err)
	}
}

func TestAttachThing_ExclusiveAllowsNoOther(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	c, d := r.device(t, Active), r.device(t, Active)
	for _, name := range []iot.ThingName{"a", "b"} {
		_, err := r.CreateThing(ctx, Thing{Name: name})
		ok(t, err)
	}
	ok(t, r.AttachThing(ctx, c.ID, "a", true))
	want(t, "second thing", r.AttachThing(ctx, c.ID, "b", false), iot.InvalidRequest)
	want(t, "second certificate", r.AttachThing(ctx, d.ID, "a", false), iot.InvalidRequest)
	ok(t, r.AttachThing(ctx, d.ID, "b", false))
	want(t, "unknown thing", r.AttachThing(ctx, d.ID, "c", false), iot.NotFound)
}

func TestClaim_AnUnusedCertificateGoesWithItsToken(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	used, unused := r.device(t, Pending), r.device(t, Pending)
	if id, err := r.Owned(ctx, used.Token); err != nil || id != used.ID {
		t.Errorf("token stands for %q, %v", id, err)
	}
	_, err := r.Carry(ctx, Plan{Certificate: unused.ID, Token: used.Token, Status: Active})
	want(t, "a token of another certificate", err, iot.InvalidRequest)
	c, err := r.Carry(ctx, Plan{Certificate: used.ID, Token: used.Token, Status: Active, Thing: &Thing{Name: "dev"}, Policies: []Static{{"p", allowAll}}})
	if err != nil || c.Status != Active {
		t.Fatalf("provision: %+v, %v", c, err)
	}
	_, err = r.Owned(ctx, used.Token)
	want(t, "used token", err, iot.InvalidRequest)
	r.clock.at = r.clock.at.Add(ClaimLife + time.Second)
	_, err = r.Owned(ctx, unused.Token)
	want(t, "old token", err, iot.InvalidRequest)
	if n, err := r.Expire(ctx); err != nil || n != 1 {
		t.Errorf("expired %d, %v; want 1", n, err)
	}
	_, err = r.Certificate(ctx, unused.ID)
	want(t, "unused certificate", err, iot.NotFound)
	if things, err := r.ThingsOf(ctx, used.ID, "", 10); err != nil || len(things) != 1 {
		t.Errorf("things of the provisioned certificate: %v, %v", things, err)
	}
}

func TestCarry_FailingHalfwayChangesNothing(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	c := r.device(t, Pending)
	_, err := r.Carry(ctx, Plan{Certificate: c.ID, Token: c.Token, Status: Active, Thing: &Thing{Name: "dev"}, Policies: []Static{{Name: "ghost"}}})
	want(t, "missing policy", err, iot.NotFound)
	if _, found := r.Thing("dev"); found {
		t.Error("the thing was made")
	}
	if _, err := r.Owned(ctx, c.Token); err != nil {
		t.Errorf("the token is gone: %v", err)
	}
}

// authority is a CA of somebody else.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func foreign(t testing.TB, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ok(t, err)
	c, err := x509.ParseCertificate(der)
	ok(t, err)
	return authority{c, key}
}

func (a authority) leaf(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	ok(t, err)
	c, err := x509.ParseCertificate(der)
	ok(t, err)
	return c
}

func TestCA_NeedsTheCodeAndVouchesForItsOwn(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	acme, twin := foreign(t, "Acme"), foreign(t, "Acme")
	pem := func(c *x509.Certificate) []byte { return pki.EncodeCertificate(c) }
	code, err := r.RegistrationCode(ctx)
	ok(t, err)
	_, err = r.RegisterCA(ctx, CARegistration{PEM: pem(acme.certificate)})
	want(t, "no proof", err, iot.InvalidRequest)
	_, err = r.RegisterCA(ctx, CARegistration{PEM: pem(acme.certificate), Verification: pem(acme.leaf(t, "x"))})
	want(t, "wrong code", err, iot.RegistrationCode)
	_, err = r.RegisterCA(ctx, CARegistration{PEM: pem(acme.certificate), Verification: pem(twin.leaf(t, code))})
	want(t, "proof of another CA", err, iot.CertificateInvalid)
	_, err = r.RegisterCA(ctx, CARegistration{PEM: pem(acme.leaf(t, "y")), Mode: ModeSNIOnly})
	want(t, "no CA", err, iot.CertificateInvalid)
	ca, err := r.RegisterCA(ctx, CARegistration{PEM: pem(acme.certificate), Verification: pem(acme.leaf(t, code)), Active: true})
	ok(t, err)
	_, err = r.RegisterCA(ctx, CARegistration{PEM: pem(acme.certificate), Mode: ModeSNIOnly})
	want(t, "twice", err, iot.AlreadyExists)

	leaf := acme.leaf(t, "dev")
	c, err := r.Register(ctx, Registration{PEM: pem(leaf), Status: Active})
	if err != nil || c.CA != ca.ID || c.Mode != ModeDefault {
		t.Fatalf("registered %+v, %v", c, err)
	}
	_, err = r.Register(ctx, Registration{PEM: pem(leaf)})
	want(t, "known", err, iot.AlreadyExists)
	_, err = r.Register(ctx, Registration{PEM: pem(twin.leaf(t, "dev"))})
	want(t, "of an unknown CA of the same name", err, iot.CertificateInvalid)
	if c, err := r.Register(ctx, Registration{PEM: pem(twin.leaf(t, "dev")), WithoutCA: true}); err != nil || c.Mode != ModeSNIOnly || c.Status != Inactive {
		t.Errorf("without CA: %+v, %v", c, err)
	}
	_, err = r.Vouching(ctx, Hello{Chain: []*x509.Certificate{acme.leaf(t, "z")}})
	want(t, "no automatic registration", err, iot.Unauthorized)
	on := true
	ok(t, r.UpdateCA(ctx, ca.ID, CAUpdate{Auto: &on}))
	if found, err := r.Vouching(ctx, Hello{Chain: []*x509.Certificate{acme.leaf(t, "z")}}); err != nil || found.ID != ca.ID {
		t.Errorf("vouching: %v, %v", found.ID, err)
	}
	want(t, "delete active CA", r.DeleteCA(ctx, ca.ID), iot.CertificateState)
	ok(t, r.UpdateCA(ctx, ca.ID, CAUpdate{Status: Inactive}))
	_, err = r.Register(ctx, Registration{PEM: pem(acme.leaf(t, "late"))})
	want(t, "of an inactive CA", err, iot.CertificateState)
	if all, err := r.ListCertificates(ctx, SeqQuery{Of: ca.ID, Limit: 10}); err != nil || len(all) != 1 {
		t.Errorf("certificates of the CA: %d, %v", len(all), err)
	}
	ok(t, r.DeleteCA(ctx, ca.ID))
}

func TestWatch_TellsAfterTheCommitAndNotAfterARefusal(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	var told []Change
	r.Watch(func(c Change) {
		if _, found := r.Thing("t"); c.Kind == ThingChange && !found {
			t.Error("told before the commit")
		}
		told = append(told, c)
	})
	_, err := r.CreateThing(ctx, Thing{Name: "t"})
	ok(t, err)
	r.UpdateThing(ctx, "t", ThingUpdate{IfVersion: 9})
	if len(told) != 1 || told[0] != (Change{ThingChange, "t"}) {
		t.Errorf("told %v", told)
	}
}

func TestPages_OfCertificatesGoBothWays(t *testing.T) {
	r, ctx := fresh(t), t.Context()
	for range 3 {
		r.device(t, Inactive)
	}
	up, err := r.ListCertificates(ctx, SeqQuery{Limit: 10})
	ok(t, err)
	down, err := r.ListCertificates(ctx, SeqQuery{Limit: 2, Newest: true})
	ok(t, err)
	rest, err := r.ListCertificates(ctx, SeqQuery{Limit: 2, Newest: true, After: down[1].Seq})
	ok(t, err)
	if len(up) != 3 || down[0].ID != up[2].ID || len(rest) != 1 || rest[0].ID != up[0].ID {
		t.Errorf("up %d, down %d, rest %d", len(up), len(down), len(rest))
	}
}

func BenchmarkRights(b *testing.B) {
	r := fresh(b)
	c := r.device(b, Active)
	for i := range policiesOfPeopleMax {
		name := fmt.Sprintf("p%d", i)
		if _, err := r.CreatePolicy(context.Background(), name, allowAll); err != nil {
			b.Fatal(err)
		}
		ok(b, r.AttachPolicy(context.Background(), name, CertificateTarget(c.ID)))
	}
	for b.Loop() {
		r.Rights(iot.Principal{Kind: iot.CertificateKind, ID: c.ID}, "x")
	}
}
