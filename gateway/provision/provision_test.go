package provision

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/pki"
	"github.com/tidehold/tidehold/gateway/provision/cbor"
	"github.com/tidehold/tidehold/gateway/registry"
	"github.com/tidehold/tidehold/gateway/store"
)

const allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

// fleet is the template of AWS's documentation, shortened.
const fleet = `{
	"Parameters": {"SerialNumber": {"Type": "String"}, "Room": {"Type": "String", "Default": "cellar"}, "AWS::IoT::Certificate::Id": {"Type": "String"}},
	"Mappings": {"Rooms": {"cellar": {"floor": "-1"}}},
	"Resources": {
		"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}},
		"thing": {"Type": "AWS::IoT::Thing", "OverrideSettings": {"AttributePayload": "MERGE"}, "Properties": {
			"ThingName": {"Fn::Join": ["", ["dev-", {"Ref": "SerialNumber"}]]},
			"AttributePayload": {"room": {"Ref": "Room"}, "floor": {"Fn::FindInMap": ["Rooms", {"Ref": "Room"}, "floor"]}}}},
		"policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "device"}}
	},
	"DeviceConfiguration": {"url": {"Fn::Sub": "mqtt://${Room}/${!x}"}}
}`

// voice remembers what was said.
type voice struct {
	mu      sync.Mutex
	events  []iot.Message
	answers chan iot.Message
	to      []iot.Origin
}

func (v *voice) Publish(m iot.Message) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events = append(v.events, m)
}

func (v *voice) Answer(to iot.Origin, m iot.Message) {
	v.mu.Lock()
	v.to = append(v.to, to)
	v.mu.Unlock()
	v.answers <- m
}

type house struct {
	*Service
	reg   *registry.Registry
	voice *voice
	clock *clock.Fixed
}

func build(t testing.TB, cfg Config) *house {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "state.db"), Durability: store.Normal, Schemas: []store.Schema{registry.Schema()}, Metrics: metrics.New(), Clock: clock.NewSystem()})
	ok(t, err)
	src := ids.New(rand.Reader)
	reg := registry.New(nil, db, clock.NewSystem(), src)
	a, err := pki.NewAuthority("gw", pki.Moment{Now: time.Now(), Synced: true}, src)
	ok(t, err)
	ok(t, reg.Load(t.Context(), registry.Config{Authority: func() *pki.Authority { return a }, Policies: []registry.Static{{Name: "device", Document: allowAll}}}))
	cfg.Account, cfg.ARN = "000000000000", func(r string) string { return "arn:aws:iot:us-east-1:000000000000:" + r }
	h := &house{reg: reg, voice: &voice{answers: make(chan iot.Message, 100)}, clock: &clock.Fixed{Wall: time.Now()}}
	h.Service = New(cfg, reg, h.voice, h.clock, src, nil)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { h.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended; db.Close() })
	return h
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ask sends a request and gives its answer.
func (h *house) ask(t testing.TB, name string, body any) (string, map[string]any) {
	t.Helper()
	var payload []byte
	binary := strings.HasSuffix(name, "/cbor")
	if binary {
		payload, _ = cbor.Encode(body)
	} else {
		payload, _ = json.Marshal(body)
	}
	h.HandleTopic(iot.Message{Topic: name, Payload: payload, Origin: iot.Origin{ClientID: "asker", Principal: iot.Principal{Kind: iot.CertificateKind, ID: "claim"}}}, func(error) {})
	m := <-h.voice.answers
	var out map[string]any
	if binary {
		v, err := cbor.Decode(m.Payload)
		ok(t, err)
		out = v.(map[string]any)
	} else {
		ok(t, json.Unmarshal(m.Payload, &out))
	}
	return strings.TrimPrefix(m.Topic, name+"/"), out
}

func TestFleet_ADeviceBecomesAThingByItsClaimInBothFormats(t *testing.T) {
	for _, format := range []string{"json", "cbor"} {
		t.Run(format, func(t *testing.T) {
			h, ctx := build(t, Config{}), t.Context()
			_, err := h.reg.CreateTemplate(ctx, registry.Template{Name: "fleet", Body: fleet, Enabled: true, Kind: "FLEET_PROVISIONING"})
			ok(t, err)
			said, made := h.ask(t, "$aws/certificates/create/"+format, map[string]any{})
			if said != "accepted" || !strings.HasPrefix(made["privateKey"].(string), "-----BEGIN RSA PRIVATE KEY-----") {
				t.Fatalf("create: %s %v", said, made)
			}
			id := made["certificateId"].(string)
			if c, err := h.reg.Certificate(ctx, id); err != nil || c.Status != registry.Pending || c.PEM != made["certificatePem"] {
				t.Errorf("certificate: %+v, %v", c, err)
			}
			said, done := h.ask(t, "$aws/provisioning-templates/fleet/provision/"+format, map[string]any{
				"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]any{"SerialNumber": "7"},
			})
			if said != "accepted" || done["thingName"] != "dev-7" || done["deviceConfiguration"].(map[string]any)["url"] != "mqtt://cellar/${x}" {
				t.Fatalf("provision: %s %v", said, done)
			}
			thing, found := h.reg.Thing("dev-7")
			if !found || thing.Attributes["floor"] != "-1" {
				t.Errorf("thing: %+v", thing)
			}
			if c, err := h.reg.Certificate(ctx, id); err != nil || c.Status != registry.Active {
				t.Errorf("certificate: %v, %v", c.Status, err)
			}
			if names, err := h.reg.Attached(ctx, registry.CertificateTarget(id), false, "", 9); err != nil || fmt.Sprint(names) != "[device]" {
				t.Errorf("policies %v, %v", names, err)
			}
			said, no := h.ask(t, "$aws/provisioning-templates/fleet/provision/"+format, map[string]any{
				"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]any{"SerialNumber": "8"},
			})
			if said != "rejected" || no["errorCode"] != "InvalidCertificateOwnershipToken" || fmt.Sprint(no["statusCode"]) != "400" {
				t.Errorf("the token again: %s %v", said, no)
			}
			if h.voice.to[0].ClientID != "asker" {
				t.Errorf("answers went to %v", h.voice.to)
			}
		})
	}
}

func signingRequest(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}}, key)
	ok(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func TestFleet_RejectionsCarryAWSsMembers(t *testing.T) {
	no := func(context.Context, HookRequest) (bool, map[string]string, error) { return false, nil, nil }
	h, ctx := build(t, Config{Hook: func(arn string) Hook {
		return map[string]Hook{"no": no, "list": AllowList("SerialNumber", []string{"1"})}[arn]
	}}), t.Context()
	for name, hook := range map[string]string{"fleet": "", "guarded": "no", "listed": "list", "lost": "gone"} {
		_, err := h.reg.CreateTemplate(ctx, registry.Template{Name: name, Body: fleet, Enabled: name != "off", Hook: hook})
		ok(t, err)
	}
	// A parameter's name must not be taken for what is wrong.
	_, err := h.reg.CreateTemplate(ctx, registry.Template{Name: "odd", Body: strings.Replace(fleet, `"Parameters":`, `"Parameters":{"a signing request":{"Type":"String"}},"Spare":`, 1), Enabled: true})
	ok(t, err)
	said, made := h.ask(t, "$aws/certificates/create-from-csr/json", map[string]any{"certificateSigningRequest": signingRequest(t)})
	if said != "accepted" || made["privateKey"] != nil {
		t.Fatalf("create from CSR: %s %v", said, made)
	}
	token := made["certificateOwnershipToken"]
	with := func(serial string) map[string]any {
		return map[string]any{"certificateOwnershipToken": token, "parameters": map[string]any{"SerialNumber": serial}}
	}
	for _, c := range []struct {
		topic string
		body  any
		code  string
	}{
		{"$aws/certificates/create-from-csr/json", map[string]any{"certificateSigningRequest": "nonsense"}, "InvalidCertificateSigningRequest"},
		{"$aws/certificates/create/json", map[string]any{}, "Throttling"},
		{"$aws/provisioning-templates/none/provision/json", with("1"), "ResourceNotFound"},
		{"$aws/provisioning-templates/fleet/provision/json", "text", "InvalidParameters"},
		{"$aws/provisioning-templates/fleet/provision/json", map[string]any{"certificateOwnershipToken": token}, "InvalidParameters"},
		{"$aws/provisioning-templates/fleet/provision/json", map[string]any{"certificateOwnershipToken": token, "parameters": map[string]any{"SerialNumber": 7}}, "InvalidParameters"},
		{"$aws/provisioning-templates/fleet/provision/json", with("a/b"), "InvalidParameters"},
		{"$aws/provisioning-templates/odd/provision/json", with("1"), "InvalidParameters"},
		{"$aws/provisioning-templates/fleet/provision/json", map[string]any{"certificateOwnershipToken": "nobody's", "parameters": map[string]any{"SerialNumber": "1"}}, "InvalidCertificateOwnershipToken"},
		{"$aws/provisioning-templates/guarded/provision/json", with("1"), "AccessDenied"},
		{"$aws/provisioning-templates/lost/provision/json", with("1"), "AccessDenied"},
		{"$aws/provisioning-templates/listed/provision/json", with("2"), "AccessDenied"},
	} {
		if said, body := h.ask(t, c.topic, c.body); said != "rejected" || body["errorCode"] != c.code || body["errorMessage"] == "" {
			t.Errorf("%s: %s %v; want %s", c.topic, said, body, c.code)
		}
	}
	if said, body := h.ask(t, "$aws/provisioning-templates/listed/provision/json", with("1")); said != "accepted" {
		t.Errorf("an allowed serial number: %v", body)
	}
}

// ca is somebody else's authority.
type ca struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newCA(t testing.TB) ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	return ca{sign(t, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Acme"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, key, key), key}
}

func sign(t testing.TB, template, parent *x509.Certificate, own, signer *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, own.Public(), signer)
	ok(t, err)
	c, err := x509.ParseCertificate(der)
	ok(t, err)
	return c
}

func (a ca) leaf(t testing.TB, subject pkix.Name) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	return sign(t, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, a.certificate, key, a.key)
}

func (h *house) trust(t testing.TB, a ca, p registry.Provision) registry.CA {
	t.Helper()
	made, err := h.reg.RegisterCA(t.Context(), registry.CARegistration{PEM: pki.EncodeCertificate(a.certificate), Mode: registry.ModeSNIOnly, Active: true, Auto: true, Provision: p})
	ok(t, err)
	return made
}

// hello is what a client with a certificate shows when it connects by name.
func hello(leaf *x509.Certificate) registry.Hello {
	return registry.Hello{Chain: []*x509.Certificate{leaf}, ServerName: "gw.local"}
}

func TestAdmit_AStrangerOfAKnownCAWaitsAndIsAnnounced(t *testing.T) {
	h, ctx, a := build(t, Config{}), t.Context(), newCA(t)
	known := h.trust(t, a, registry.Provision{})
	leaf := a.leaf(t, pkix.Name{CommonName: "dev"})
	if _, err := h.Admit(ctx, hello(leaf)); iot.CodeOf(err) != iot.Unauthorized {
		t.Fatalf("first connection: %v", err)
	}
	if len(h.voice.events) != 1 || h.voice.events[0].Topic != "$aws/events/certificates/registered/"+known.ID {
		t.Fatalf("events: %+v", h.voice.events)
	}
	var event map[string]any
	ok(t, json.Unmarshal(h.voice.events[0].Payload, &event))
	if event["certificateId"] != pki.ID(leaf) || event["certificateStatus"] != "PENDING_ACTIVATION" || event["awsAccountId"] != "000000000000" {
		t.Errorf("event: %v", event)
	}
	if _, err := h.Admit(ctx, hello(leaf)); iot.CodeOf(err) != iot.Unauthorized || len(h.voice.events) != 1 {
		t.Errorf("second connection: %v, %d events", err, len(h.voice.events))
	}
	ok(t, h.reg.UpdateCertificate(ctx, pki.ID(leaf), registry.Active))
	if p, err := h.Admit(ctx, hello(leaf)); err != nil || p.ID != pki.ID(leaf) {
		t.Errorf("activated: %+v, %v", p, err)
	}
	if _, err := h.Admit(ctx, hello(newCA(t).leaf(t, pkix.Name{CommonName: "dev"}))); iot.CodeOf(err) != iot.Unauthorized {
		t.Errorf("a stranger of a strange CA: %v", err)
	}
	if _, err := h.Admit(ctx, registry.Hello{}); iot.CodeOf(err) != iot.Unauthorized {
		t.Errorf("no certificate: %v", err)
	}
}

// TestAdmit_ADeviceOfAnSNIOnlyCANamesTheServer: at its first connection and at
// every other one.
func TestAdmit_ADeviceOfAnSNIOnlyCANamesTheServer(t *testing.T) {
	h, ctx, a := build(t, Config{AutoActivate: "device"}), t.Context(), newCA(t)
	h.trust(t, a, registry.Provision{})
	named := hello(a.leaf(t, pkix.Name{CommonName: "dev"}))
	nameless := registry.Hello{Chain: named.Chain}
	for range 2 {
		if _, err := h.Admit(ctx, nameless); iot.CodeOf(err) != iot.Unauthorized || !strings.Contains(iot.MessageOf(err), "SNI_ONLY") {
			t.Errorf("without a name: %v", err)
		}
		if _, err := h.Admit(ctx, named); err != nil {
			t.Errorf("with a name: %v", err)
		}
	}
}

const jitp = `{"Parameters": {"AWS::IoT::Certificate::CommonName": {"Type": "String"}, "AWS::IoT::Certificate::Organization": {"Type": "String"}, "AWS::IoT::Certificate::Id": {"Type": "String"}},
	"Resources": {"thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "AWS::IoT::Certificate::CommonName"}}},
	"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"}},
	"policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}]}}}}}`

func TestAdmit_ATemplateProvisionsAtTheFirstConnection(t *testing.T) {
	h, ctx, a := build(t, Config{}), t.Context(), newCA(t)
	h.trust(t, a, registry.Provision{Body: jitp})
	poor := a.leaf(t, pkix.Name{CommonName: "poor"})
	for range 2 {
		if _, err := h.Admit(ctx, hello(poor)); iot.CodeOf(err) != iot.InvalidRequest {
			t.Errorf("a subject without Organization: %v", err)
		}
	}
	if _, found := h.reg.Thing("poor"); found {
		t.Error("a thing was made")
	}
	rich := a.leaf(t, pkix.Name{CommonName: "rich", Organization: []string{"Acme"}})
	p, err := h.Admit(ctx, hello(rich))
	if err != nil || p.ID != pki.ID(rich) {
		t.Fatalf("admit: %+v, %v", p, err)
	}
	rights := h.reg.Rights(p, "rich")
	if len(rights.Policies) != 1 || rights.Thing == nil || rights.Thing.Name != "rich" {
		t.Errorf("rights: %+v", rights)
	}
}

func TestAdmit_AutoActivateLetsDevicesOfTheCAIn(t *testing.T) {
	h, ctx, a := build(t, Config{AutoActivate: "device"}), t.Context(), newCA(t)
	h.trust(t, a, registry.Provision{})
	if _, err := h.Admit(ctx, hello(a.leaf(t, pkix.Name{CommonName: "dev"}))); err != nil {
		t.Error(err)
	}
}

func TestClaim_MayProvisionAndNothingElse(t *testing.T) {
	h, ctx := build(t, Config{}), t.Context()
	_, err := h.reg.CreateTemplate(ctx, registry.Template{Name: "fleet", Body: fleet, Enabled: true})
	ok(t, err)
	made, err := h.Claim(ctx, "fleet")
	ok(t, err)
	if left := time.Until(made.Until); left > pki.ClaimLife || left < pki.ClaimLife-time.Minute {
		t.Errorf("lives %v", left)
	}
	rights := h.reg.Rights(iot.Principal{Kind: iot.CertificateKind, ID: made.ID}, "x")
	if len(rights.Policies) != 1 {
		t.Fatalf("rights: %+v", rights)
	}
	if _, err := h.Claim(ctx, "none"); iot.CodeOf(err) != iot.NotFound {
		t.Errorf("unknown template: %v", err)
	}
}

func TestRegister_MakesACertificateOfARequest(t *testing.T) {
	h, ctx := build(t, Config{}), t.Context()
	body := `{"Parameters":{"CSR":{"Type":"String"},"Name":{"Type":"String"}},"Resources":{
		"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Ref":"Name"}}},
		"c":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateSigningRequest":{"Ref":"CSR"}}},
		"p":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":{"Fn::Select":["1",{"Fn::Split":["|","none|device"]}]}}}}}`
	c, resources, err := h.Register(ctx, body, map[string]string{"CSR": signingRequest(t), "Name": "a"})
	if err != nil || c.Status != registry.Active || resources["t"] != "thing/a" || resources["c"] != "cert/"+c.ID || resources["p"] != "policy/device" {
		t.Errorf("register: %v %v, %v", c.Status, resources, err)
	}
	if _, _, err := h.Register(ctx, strings.ReplaceAll(body, "none|device", "none|ghost"), map[string]string{"CSR": signingRequest(t), "Name": "b"}); iot.CodeOf(err) != iot.RegistrationFailure {
		t.Errorf("missing policy: %v", err)
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add(fleet, "7")
	f.Add(jitp, "x")
	f.Add(`{"Resources":{"c":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Fn::Join":["",[{"Fn::Sub":["${a}",{"a":{"Ref":"SerialNumber"}}]}]]}}}}}`, "q")
	f.Fuzz(func(t *testing.T, body, value string) {
		parsed, err := ParseTemplate(body)
		if err != nil {
			if iot.CodeOf(err) != iot.InvalidRequest {
				t.Errorf("%v", err)
			}
			return
		}
		filled, err := parsed.Fill(map[string]string{"SerialNumber": value, "AWS::IoT::Certificate::Id": "i"})
		if err == nil && filled.Plan.Status == "" {
			t.Error("a plan without status")
		}
	})
}
