package gateway_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/provision/cbor"
)

// fleet is the template of AWS's documentation, shortened.
const fleet = `{
	"Parameters": {"SerialNumber": {"Type": "String"}, "AWS::IoT::Certificate::Id": {"Type": "String"}},
	"Resources": {
		"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}},
		"thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Fn::Join": ["", ["lamp-", {"Ref": "SerialNumber"}]]}}},
		"policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "device-default"}}
	},
	"DeviceConfiguration": {"site": "cellar"}
}`

// claimOnly allows what AWS tells a claim certificate to have, and nothing else.
const claimOnly = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
	{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":["arn:aws:iot:*:*:topic/$aws/certificates/create/*","arn:aws:iot:*:*:topic/$aws/certificates/create-from-csr/*","arn:aws:iot:*:*:topic/$aws/provisioning-templates/lamps/provision/*"]},
	{"Effect":"Allow","Action":"iot:Subscribe","Resource":["arn:aws:iot:*:*:topicfilter/$aws/certificates/create/*","arn:aws:iot:*:*:topicfilter/$aws/certificates/create-from-csr/*","arn:aws:iot:*:*:topicfilter/$aws/provisioning-templates/lamps/provision/*"]}]}`

// asker asks provisioning in one format.
type asker struct {
	*gwtest.Client
	t      testing.TB
	format string
}

// ask sends a request and gives the answer: accepted, or rejected.
func (a asker) ask(topic string, body map[string]any) (answer string, said map[string]any) {
	a.t.Helper()
	payload, err := json.Marshal(body)
	if a.format == "cbor" {
		payload, err = cbor.Encode(body)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	topic += "/" + a.format
	a.Publish(topic, string(payload), 1)
	m := a.Await("an answer to "+topic, func(m gwtest.Message) bool { return strings.HasPrefix(m.Topic, topic+"/") })
	var v any
	if a.format == "cbor" {
		v, err = cbor.Decode(m.Payload)
	} else {
		err = json.Unmarshal(m.Payload, &v)
	}
	said, is := v.(map[string]any)
	if err != nil || !is {
		a.t.Fatalf("%s: %v: %q", m.Topic, err, m.Payload)
	}
	return strings.TrimPrefix(m.Topic, topic+"/"), said
}

func (p *premises) template(name string, more map[string]any) {
	body := map[string]any{"templateName": name, "templateBody": fleet, "enabled": true, "provisioningRoleArn": "arn:aws:iam::000000000000:role/fleet"}
	for k, v := range more {
		body[k] = v
	}
	p.admin("POST", "/provisioning-templates", body)
}

// TestProvision_ADeviceBecomesAThingByItsClaim walks fleet provisioning with an
// unmodified client over mutual TLS, in both formats, and connects as the thing
// that it made.
func TestProvision_ADeviceBecomesAThingByItsClaim(t *testing.T) {
	p := open(t, mutual, "", gateway.Env{})
	p.template("lamps", nil)
	claim := p.device("claim", claimOnly)
	for _, format := range []string{"json", "cbor"} {
		t.Run(format, func(t *testing.T) {
			a := asker{p.connect("claim-"+format, claim.Certificate), t, format}
			a.Subscribe("$aws/certificates/create-from-csr/"+format+"/+", "$aws/provisioning-templates/lamps/provision/"+format+"/+")
			key := newKey(t)
			answer, made := a.ask("$aws/certificates/create-from-csr", map[string]any{"certificateSigningRequest": csr(t, key)})
			if answer != "accepted" {
				t.Fatal(made)
			}
			device := pair(t, made["certificatePem"].(string), key)
			if p.dial("lamp-"+format, device) == nil {
				t.Error("a certificate that no template was carried out for came in")
			}
			answer, said := a.ask("$aws/provisioning-templates/lamps/provision", map[string]any{
				"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]any{"SerialNumber": format}})
			if answer != "accepted" || said["thingName"] != "lamp-"+format || said["deviceConfiguration"].(map[string]any)["site"] != "cellar" {
				t.Fatalf("%s %v", answer, said)
			}
			lamp := p.connect("lamp-"+format, device)
			lamp.Subscribe("dt/lamp-" + format + "/x")
			lamp.Publish("dt/lamp-"+format+"/x", "1", 1)
			lamp.Next("dt/lamp-" + format + "/x")
		})
	}
}

// TestProvision_KeysReachTheAskerAlone lets a listener with every right wait for
// the private key of somebody else.
func TestProvision_KeysReachTheAskerAlone(t *testing.T) {
	p := open(t, mutual, "", gateway.Env{})
	thief, claim := p.device("all", allowAll), p.device("claim", claimOnly)
	ear := p.connect("ear", thief.Certificate)
	ear.Subscribe("$aws/certificates/#", "$aws/provisioning-templates/#", "#")
	a := asker{p.connect("claim", claim.Certificate), t, "json"}
	a.Subscribe("$aws/certificates/create/json/+")
	answer, made := a.ask("$aws/certificates/create", map[string]any{})
	if answer != "accepted" || !strings.Contains(made["privateKey"].(string), "PRIVATE KEY") {
		t.Fatalf("%s %v", answer, made)
	}
	ear.Publish("fence", "", 1)
	ear.Next("fence")
	for _, m := range ear.Heard() {
		t.Errorf("somebody else heard %s", m.Topic)
	}
}

// TestProvision_RefusesWhatIsNotInOrder: each wrong request gets AWS's word.
func TestProvision_RefusesWhatIsNotInOrder(t *testing.T) {
	p := open(t, mutual, "", gateway.Env{})
	p.template("lamps", nil)
	p.template("hooked", map[string]any{"preProvisioningHook": map[string]any{"targetArn": "arn:aws:lambda:us-east-1:000000000000:function:absent"}})
	claim := p.device("claim", strings.ReplaceAll(claimOnly, "provisioning-templates/lamps", "provisioning-templates/*"))
	for _, format := range []string{"json", "cbor"} {
		a := asker{p.connect("claim", claim.Certificate), t, format}
		a.Subscribe("$aws/certificates/create-from-csr/"+format+"/+", "$aws/provisioning-templates/+/provision/"+format+"/+")
		_, made := a.ask("$aws/certificates/create-from-csr", map[string]any{"certificateSigningRequest": csr(t, newKey(t))})
		token, serial := made["certificateOwnershipToken"], map[string]any{"SerialNumber": "1"}
		for _, c := range []struct {
			topic  string
			body   map[string]any
			status int
			code   string
		}{
			{"lamps/provision", map[string]any{"certificateOwnershipToken": "no", "parameters": serial}, 400, "InvalidCertificateOwnershipToken"},
			{"absent/provision", map[string]any{"certificateOwnershipToken": token, "parameters": serial}, 404, "ResourceNotFound"},
			{"hooked/provision", map[string]any{"certificateOwnershipToken": token, "parameters": serial}, 403, "AccessDenied"},
			{"lamps/provision", map[string]any{"certificateOwnershipToken": token}, 400, "InvalidParameters"},
		} {
			answer, said := a.ask("$aws/provisioning-templates/"+c.topic, c.body)
			if answer != "rejected" || number(said["statusCode"]) != c.status || said["errorCode"] != c.code || said["errorMessage"] == "" {
				t.Errorf("%s %s %v: %s %v", format, c.topic, c.body, answer, said)
			}
		}
		a.Close()
	}
}

// number reads a number of either format.
func number(v any) int {
	switch n := v.(type) {
	case float64:
		return int(n)
	case int64:
		return int(n)
	case uint64:
		return int(n)
	}
	return -1
}

// TestProvision_AHookDecidesWhoComesIn: a list of the configuration, or a local
// function with AWS's event and answer; one that is not there lets nobody in.
func TestProvision_AHookDecidesWhoComesIn(t *testing.T) {
	judge := script(t, `while read -r line; do case "$line" in
		*'"claimCertificateId":"'*'"certificatePem":"-----BEGIN'*'provisioningtemplate/judged'*'"SerialNumber":"7"'*) echo '{"allowProvisioning":true,"parameterOverrides":{"SerialNumber":"seven"}}' ;;
		*) echo '{"allowProvisioning":false}' ;; esac; done`)
	p := open(t, mutual, fmt.Sprintf(`functions: [{name: judge, command: [%s]}]
security: {provisioning: {allow_lists: [{name: serials, values: ["1", "2"]}]}}`, judge), gateway.Env{})
	claim := p.device("all", allowAll)
	a := asker{p.connect("claim", claim.Certificate), t, "json"}
	a.Subscribe("$aws/certificates/create-from-csr/json/+", "$aws/provisioning-templates/+/provision/json/+")
	for template, hook := range map[string]string{"listed": "serials", "judged": "judge", "closed": "nobody"} {
		p.template(template, map[string]any{"preProvisioningHook": map[string]string{"payloadVersion": "2020-04-01", "targetArn": "arn:aws:lambda:us-east-1:000000000000:function:" + hook}})
	}
	answer, made := a.ask("$aws/certificates/create-from-csr", map[string]any{"certificateSigningRequest": csr(t, newKey(t))})
	if answer != "accepted" {
		t.Fatal(made)
	}
	for _, c := range []struct{ template, serial, thing string }{
		{"listed", "3", ""}, {"judged", "8", ""}, {"closed", "1", ""}, {"judged", "7", "lamp-seven"},
	} {
		answer, said := a.ask("$aws/provisioning-templates/"+c.template+"/provision", map[string]any{
			"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]any{"SerialNumber": c.serial}})
		if c.thing == "" && (answer != "rejected" || number(said["statusCode"]) != 403) || c.thing != "" && said["thingName"] != c.thing {
			t.Errorf("%+v: %s %v", c, answer, said)
		}
	}
	_, made = a.ask("$aws/certificates/create-from-csr", map[string]any{"certificateSigningRequest": csr(t, newKey(t))})
	if answer, said := a.ask("$aws/provisioning-templates/listed/provision", map[string]any{
		"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]any{"SerialNumber": "2"}}); said["thingName"] != "lamp-2" {
		t.Errorf("a listed device: %s %v", answer, said)
	}
}

// TestProvision_AutoActivateLetsDevicesOfACAIn with one policy, at their first
// handshake.
func TestProvision_AutoActivateLetsDevicesOfACAIn(t *testing.T) {
	p := open(t, mutual, "security: {provisioning: {auto_activate: visitor}, policies: [{name: visitor, document: '"+allowAll+"'}]}", gateway.Env{})
	text, issue := newCA(t, "Factory")
	p.admin("POST", "/cacertificate?setAsActive=true&allowAutoRegistration=true", map[string]any{"caCertificate": text, "certificateMode": "SNI_ONLY"})
	c := p.connect("d1", issue("d1"))
	c.Publish("x", "1", 1)
}

// TestProvision_AClaimMayDoNothingElse keeps a claim out of every other topic.
func TestProvision_AClaimMayDoNothingElse(t *testing.T) {
	p := open(t, mutual, "", gateway.Env{})
	p.template("lamps", nil)
	made := p.admin("POST", "/provisioning-templates/lamps/provisioning-claim", nil)
	keys := made["keyPair"].(map[string]any)
	certificate, err := tls.X509KeyPair([]byte(made["certificatePem"].(string)), []byte(keys["PrivateKey"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	c := p.connect("claimed", certificate)
	if err := c.TrySubscribe("dt/#"); err == nil {
		t.Error("a claim subscribes to telemetry")
	}
	select {
	case err := <-c.TryPublish("dt/x", nil, 1):
		if err == nil && c.Connected() {
			t.Error("a claim publishes telemetry")
		}
	case <-time.After(wait):
		t.Error("no end")
	}
}

const wait = 10 * time.Second

// newCA makes a CA of somebody else, and what it issues.
func newCA(t testing.TB, name string) (text string, issue func(name string) tls.Certificate) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), func(name string) tls.Certificate {
		leafKey := newKey(t)
		leaf := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, SerialNumber: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: leafKey}
	}
}

// TestProvision_JustInTimeRegistrationTellsTheHouseAndWaits: the first handshake
// registers and is told, the activated one comes in.
func TestProvision_JustInTimeRegistrationTellsTheHouseAndWaits(t *testing.T) {
	p := open(t, mutual, "", gateway.Env{})
	watch := p.connect("watch", p.device("all", allowAll).Certificate)
	watch.Subscribe("$aws/events/certificates/registered/+")
	text, issue := newCA(t, "Factory")
	ca := p.admin("POST", "/cacertificate?setAsActive=true&allowAutoRegistration=true", map[string]any{"caCertificate": text, "certificateMode": "SNI_ONLY"})
	device := issue("d1")
	if p.dial("d1", device) == nil {
		t.Fatal("a certificate that waits for its activation came in")
	}
	m := watch.Next("$aws/events/certificates/registered/" + ca["certificateId"].(string))
	var event map[string]any
	if err := json.Unmarshal(m.Payload, &event); err != nil || event["certificateStatus"] != "PENDING_ACTIVATION" {
		t.Fatalf("%v %s", err, m.Payload)
	}
	id := event["certificateId"].(string)
	p.admin("PUT", "/target-policies/all", map[string]any{"target": "arn:aws:iot:us-east-1:000000000000:cert/" + id})
	p.admin("PUT", "/certificates/"+id+"?newStatus=ACTIVE", nil)
	p.connect("d1", device)
	if _, stranger := newCA(t, "Stranger"); p.dial("d2", stranger("d2")) == nil {
		t.Error("a device of an unknown CA came in")
	}
}

// TestProvision_JustInTimeProvisioningMakesTheThing: by the template of its CA a
// device is a thing after its first handshake; one whose certificate lacks a
// parameter stays out and leaves nothing behind.
func TestProvision_JustInTimeProvisioningMakesTheThing(t *testing.T) {
	p := open(t, mutual, "", gateway.Env{})
	text, issue := newCA(t, "Factory")
	body := strings.NewReplacer("SerialNumber", "AWS::IoT::Certificate::SerialNumber").Replace(fleet)
	p.admin("POST", "/cacertificate?setAsActive=true&allowAutoRegistration=true", map[string]any{
		"caCertificate": text, "certificateMode": "SNI_ONLY",
		"registrationConfig": map[string]any{"templateBody": body, "roleArn": "arn:aws:iam::000000000000:role/jitp"},
	})
	device := issue("77")
	c := p.connect("lamp-77", device)
	c.Publish("dt/lamp-77/x", "1", 1)
	if thing := p.admin("GET", "/things/lamp-77", nil); thing["thingName"] != "lamp-77" {
		t.Error(thing)
	}
	before := len(p.admin("GET", "/certificates", nil)["certificates"].([]any))
	if p.dial("lamp-", issue("")) == nil {
		t.Error("a device without a serial number was provisioned")
	}
	if after := len(p.admin("GET", "/certificates", nil)["certificates"].([]any)); after != before {
		t.Errorf("%d certificates, then %d", before, after)
	}
}
