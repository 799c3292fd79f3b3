package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// declared is what the configuration of TestVerbs says of identities.
const declared = `things: [{name: fixed, type: motor, attributes: {room: hall}, policies: [device-default]}]
security: {policies: [{name: reader, document: '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Get*","Resource":"*"}]}'}]}
`

// TestVerbs_OfIdentityTellAndExitAsTheContractSays walks through a device's life
// on the command line: in order, each verb with its exit code and what it tells.
func TestVerbs_OfIdentityTellAndExitAsTheContractSays(t *testing.T) {
	s := newSecureSite(t, declared)
	open, out := filepath.Join(s.dir, "open.json"), filepath.Join(s.dir, "pump")
	if err := os.WriteFile(open, []byte(`{"Version":"2012-10-17","Statement":[{"Sid":"Open","Effect":"Allow","Action":"iot:*","Resource":"*"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	id := ""
	for _, c := range []struct {
		verb string
		exit int
		says string
	}{
		{"thing create pump --key p256 --out " + out, 0, "private.key"},
		{"thing update pump --attribute kW=3", 0, `{"kW":"3"}`},
		{"thing search attributes.kW:3 -o name", 0, "pump"},
		{"thing list --attribute room=hall -o name", 0, "fixed"},
		{"thing update fixed --attribute kW=3", 1, "declared in the gateway's configuration"},
		{"thing get fixed -o json", 0, `"tideholdReadOnly": true`},
		{"thing get ghost", 3, "cannot be found"},
		{"thing delete pump", 1, "detach them first"},
		{"policy test --cert ID --action iot:Publish --resource topic/dt/pump/x", 0, `{"Effect":"Allow","Action":["iot:Publish","iot:Receive"]`},
		{"policy test --cert ID --action iot:Publish --resource topic/other", 4, "no statement fits"},
		{"policy create open " + open, 0, "warning: statement 0: Resource *"},
		{"policy create open " + open, 1, "already exists"},
		{"policy test --cert ID --action iot:Publish --resource topic/other --add open", 0, "policy open, statement 0 Open"},
		{"policy attach open ID", 0, ""},
		{"policy test --cert ID --action iot:Publish --resource topic/other -o json", 0, `"authDecision": "ALLOWED"`},
		{"policy delete open", 1, "attached to one or more principals"},
		{"policy update open " + open, 0, `"2"`},
		{"policy delete open 1", 0, ""},
		{"policy update reader " + open, 1, "read-only here"},
		{"policy get nobody", 3, "does not exist"},
		{"cert deactivate ID", 0, "INACTIVE"},
		{"policy test --cert ID --action iot:Publish --resource topic/other", 4, "IMPLICIT_DENY"},
		{"cert delete ID", 1, "detached"},
		{"thing detach pump ID", 0, ""},
		{"cert delete ID --force", 0, ""},
		{"cert get ID", 3, "does not exist"},
		{"policy delete open", 0, ""},
		{"thing delete pump", 0, ""},
		{"access-key create --policy nobody", 3, "does not exist"},
		{"access-key create --policy reader", 0, "SecretAccessKey"},
		{"access-key list", 0, "reader"},
		{"access-key delete AKIANOBODY", 3, "does not exist"},
		{"cert frobnicate", 2, "unknown command"},
	} {
		args := strings.Fields(strings.ReplaceAll(c.verb, "ID", id))
		got, exit := verb(t, append(args, "--socket", s.socket)...)
		if exit != c.exit || !strings.Contains(got, c.says) {
			t.Errorf("tidehold %s: exit %d, want %d and %q\n%s", c.verb, exit, c.exit, c.says, got)
		}
		if id == "" {
			id = ask[[]struct{ CertificateId string }](t, "cert", "list", "--socket", s.socket)[0].CertificateId[:8]
		}
	}
}

// TestCert_SignAndRegisterLetOtherKeysIn: a request made by openssl is signed,
// and a certificate of somebody else's is pinned; both connect.
func TestCert_SignAndRegisterLetOtherKeysIn(t *testing.T) {
	gwtest.Need(t, "openssl", "mosquitto_pub")
	s := newSecureSite(t, `security: {policies: [{name: open, document: '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}'}]}
`)
	for name, request := range map[string][]string{"signed": nil, "foreign": {"-x509", "-days", "5"}} {
		dir := filepath.Join(s.dir, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		text := filepath.Join(dir, "request.pem")
		made := exec.Command("openssl", append([]string{"req", "-newkey", "ed25519", "-nodes", "-subj", "/CN=" + name, "-keyout", filepath.Join(dir, "private.key"), "-out", text}, request...)...)
		if out, err := made.CombinedOutput(); err != nil {
			t.Fatalf("openssl: %v\n%s", err, out)
		}
		id, certificate := "", ""
		if request == nil {
			certificate = s.do("cert", "sign", text)
			id = ask[[]struct{ CertificateId string }](t, "cert", "list", "--socket", s.socket)[0].CertificateId
		} else {
			own, err := os.ReadFile(text)
			if err != nil {
				t.Fatal(err)
			}
			certificate, id = string(own), strings.TrimSpace(s.do("cert", "register", text))
		}
		if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte(certificate), 0o600); err != nil {
			t.Fatal(err)
		}
		s.do("ca", "get", "--out", filepath.Join(dir, "ca.pem"))
		s.do("policy", "attach", "open", id)
		if err := s.publishes(dir, "a/b"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s.do("cert", "revoke", id)
		if err := s.publishes(dir, "a/b"); err == nil {
			t.Errorf("%s: a revoked certificate came in", name)
		}
	}
}

// TestUser_APasswordHashedByTheVerbLogsIn puts what `user hash` prints into the
// configuration.
func TestUser_APasswordHashedByTheVerbLogsIn(t *testing.T) {
	gwtest.Need(t, "mosquitto_pub")
	hash := exec.Command(binary, "user", "hash", "meter", "--policy", "meters")
	hash.Stdin = strings.NewReader("correct horse\n")
	entry, err := hash.Output()
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, "gw", "")
	port := gwtest.FreePort(t)
	s.write(fmt.Sprintf(`version: 1
gateway: {id: gw}
storage: {dir: %s}
mqtt: {listeners: [{name: users, bind: "127.0.0.1:%d", auth: password}]}
http: {data_plane: {bind: off}, control: {bind: off}, metrics: {bind: off}}
%s  policies:
    - {name: meters, document: %s}
`, filepath.Join(s.dir, "state"), port, entry, mustJSON(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iot:Connect","iot:Publish"],"Resource":["arn:aws:iot:*:*:client/meter","arn:aws:iot:*:*:topic/m/*"]}]}`)))
	s.start()
	if users := s.do("user", "list"); !strings.Contains(users, "meter") || strings.Contains(users, "$argon2id") {
		t.Errorf("users: %s", users)
	}
	publish := func(password, topic string) bool {
		return exec.Command("mosquitto_pub", "-h", "127.0.0.1", "-p", fmt.Sprint(port), "-i", "meter", "-u", "meter", "-P", password, "-q", "1", "-t", topic, "-m", "1").Run() == nil
	}
	if !publish("correct horse", "m/1") {
		t.Error("the right password is refused")
	}
	if publish("wrong horse", "m/1") {
		t.Error("a wrong password is taken")
	}
	if publish("correct horse", "n/1") {
		t.Error("a forbidden topic is taken")
	}
}

// mustJSON is a text as YAML and JSON write it.
func mustJSON(t *testing.T, text string) string {
	t.Helper()
	out, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestControl_WhatScriptsRelyOnHoldsForSignedRequests asks a whole gateway with
// Debian's boto3, and once with a key whose policy allows to read alone.
func TestControl_WhatScriptsRelyOnHoldsForSignedRequests(t *testing.T) {
	python := gwtest.Python(t, "boto3")
	gwtest.Need(t, "/usr/bin/aws")
	s := newSecureSite(t, declared)
	endpoint := fmt.Sprintf("http://127.0.0.1:%d", s.control)
	script := exec.Command(python, "testdata/control.py", endpoint)
	script.Env = s.environment()
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for verb, refusal := range map[string]string{
		"get-policy --policy-name reader": "",
		"create-thing --thing-name t":     "An error occurred (AccessDeniedException) when calling the CreateThing operation",
	} {
		aws := exec.Command("/usr/bin/aws", append([]string{"iot", "--endpoint-url", endpoint}, strings.Fields(verb)...)...)
		aws.Env = s.environment("--policy", "reader")
		out, err := aws.CombinedOutput()
		if (err == nil) != (refusal == "") || !strings.Contains(string(out), refusal) {
			t.Errorf("aws iot %s: %v\n%s", verb, err, out)
		}
	}
	if keys := s.do("access-key", "list", "-o", "json"); strings.Count(keys, "LastUsedDate") != 3 {
		t.Errorf("three keys have signed: %s", keys)
	}
}

// TestControl_EveryOperationIsSentByAnUnmodifiedClient of Node.
func TestControl_EveryOperationIsSentByAnUnmodifiedClient(t *testing.T) {
	gwtest.Need(t, "node", "openssl")
	examples := gwtest.Examples(t, "@aws-sdk/client-iot")
	s := newSecureSite(t, "")
	list := filepath.Join(examples, "..", "..", "gateway", "httpapi", "control", "testdata", "operations.txt")
	script := exec.Command("node", filepath.Join(examples, "play", "operations.mjs"), fmt.Sprintf("http://127.0.0.1:%d", s.control), list)
	script.Env = s.environment()
	if out, err := script.CombinedOutput(); err != nil || !strings.Contains(string(out), "every operation answered") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestCert_RenewedWorksBesideTheOldOneUntilThatIsPutOut (field-lessons.md FL-101).
func TestCert_RenewedWorksBesideTheOldOneUntilThatIsPutOut(t *testing.T) {
	gwtest.Need(t, "mosquitto_pub")
	s := newSecureSite(t, "")
	old, next := s.enrolled("pump", "--key", "p256"), filepath.Join(s.dir, "next", "pump")
	id := ask[[]struct{ CertificateId string }](t, "cert", "list", "--socket", s.socket)[0].CertificateId
	s.do("cert", "renew", id, "--key", "p256", "--out", next)
	for _, dir := range []string{next, old} {
		if err := s.publishes(dir, "dt/pump/x"); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
	s.do("cert", "revoke", id)
	if s.publishes(old, "dt/pump/x") == nil {
		t.Error("the old one still comes in")
	}
	if err := s.publishes(next, "dt/pump/x"); err != nil {
		t.Errorf("the new one: %v", err)
	}
}

// factory is a CA of somebody else, made with openssl, and the folder of one
// device of it.
type factory struct {
	t   *testing.T
	dir string
}

func newFactory(t *testing.T, s *secureSite) factory {
	t.Helper()
	f := factory{t, filepath.Join(s.dir, "pump")}
	if err := os.Mkdir(f.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=Factory", "-keyout", f.file("factory.key"), "-out", f.file("factory.pem"))
	s.do("ca", "get", "--out", f.file("ca.pem"))
	return f
}

func (f factory) file(name string) string { return filepath.Join(f.dir, name) }

func (f factory) openssl(words ...string) {
	f.t.Helper()
	if out, err := exec.Command("openssl", words...).CombinedOutput(); err != nil {
		f.t.Fatalf("openssl %v: %v\n%s", words, err, out)
	}
}

func (f factory) sign(key, out, subject string) {
	f.t.Helper()
	f.openssl("req", "-newkey", "ed25519", "-nodes", "-subj", "/CN="+subject, "-keyout", f.file(key), "-out", f.file("request"))
	f.openssl("x509", "-req", "-in", f.file("request"), "-CA", f.file("factory.pem"), "-CAkey", f.file("factory.key"), "-CAcreateserial", "-days", "1", "-out", f.file(out))
}

// TestCA_ADeviceOfARegisteredCAWaitsForItsActivation, all by our verbs.
func TestCA_ADeviceOfARegisteredCAWaitsForItsActivation(t *testing.T) {
	gwtest.Need(t, "openssl", "mosquitto_pub")
	s := newSecureSite(t, "")
	f := newFactory(t, s)
	f.sign("proof.key", "proof.pem", strings.TrimSpace(s.do("ca", "code")))
	s.do("ca", "register", f.file("factory.pem"), "--verification", f.file("proof.pem"), "--auto")
	f.sign("private.key", "cert.pem", "pump")
	if s.publishes(f.dir, "a") == nil {
		t.Error("it came in without activation")
	}
	id := ask[[]struct{ CertificateId, Status string }](t, "cert", "list", "--socket", s.socket)[0]
	if id.Status != "PENDING_ACTIVATION" {
		t.Error(id)
	}
	s.do("policy", "attach", "local-default", id.CertificateId)
	s.do("cert", "activate", id.CertificateId)
	if err := s.publishes(f.dir, "a"); err != nil {
		t.Errorf("activated: %v", err)
	}
}

// TestCA_ADeviceOfAnSNIOnlyCANamesTheServer, as at AWS: without a name it stays
// out, before and after it is registered; devices of the gateway's own CA need
// none.
func TestCA_ADeviceOfAnSNIOnlyCANamesTheServer(t *testing.T) {
	gwtest.Need(t, "openssl")
	s := newSecureSite(t, "security: {provisioning: {auto_activate: local-default}}\n")
	f := newFactory(t, s)
	s.do("ca", "register", f.file("factory.pem"), "--auto")
	f.sign("private.key", "cert.pem", "pump")
	own := s.enrolled("own", "--key", "p256")
	for _, c := range []struct {
		dir, what string
		flags     []string
		in        bool
	}{
		{f.dir, "a stranger without a name", []string{"-noservername"}, false},
		{f.dir, "a stranger with a name", []string{"-servername", "localhost"}, true},
		{f.dir, "a known one without a name", []string{"-noservername"}, false},
		{f.dir, "a known one without a name, TLS 1.2", []string{"-noservername", "-tls1_2"}, false},
		{own, "our own without a name", []string{"-noservername"}, true},
	} {
		if out, err := s.openssl(c.dir, c.flags...); strings.Contains(out, connack) != c.in {
			t.Errorf("%s: came in is %v: %v\n%q", c.what, !c.in, err, out)
		}
	}
}

// TestControl_AWSsClientsTrustItByTheRootOfTheGateway: the control endpoint that
// others than this host reach speaks TLS; `--ca-bundle` and `verify` take what
// `ca get` wrote, and nobody trusts it without.
func TestControl_AWSsClientsTrustItByTheRootOfTheGateway(t *testing.T) {
	python := gwtest.Python(t, "boto3")
	gwtest.Need(t, "/usr/bin/aws")
	s := newSite(t, "gw", "")
	port := gwtest.FreePort(t)
	s.write(fmt.Sprintf(`version: 1
gateway: {id: gw, endpoint: localhost}
storage: {dir: %s}
mqtt: {listeners: [{name: local, bind: "127.0.0.1:%d", auth: loopback}]}
http: {data_plane: {bind: off}, control: {bind: ":%d"}, metrics: {bind: off}}
`, filepath.Join(s.dir, "state"), s.port, port))
	s.start()
	site, ca := &secureSite{site: s}, filepath.Join(s.dir, "root.pem")
	s.do("ca", "get", "--out", ca)
	environment, endpoint := site.environment(), fmt.Sprintf("https://localhost:%d", port)
	boto := "import boto3, sys; print(boto3.client('iot', endpoint_url=sys.argv[1], verify=sys.argv[2]).create_thing(thingName='over-tls')['thingArn'])"
	for _, c := range []struct {
		words []string
		says  string
	}{
		{[]string{"/usr/bin/aws", "iot", "--endpoint-url", endpoint, "list-things"}, "CERTIFICATE_VERIFY_FAILED"},
		{[]string{python, "-c", boto, endpoint, ca}, "arn:aws:iot:us-east-1:000000000000:thing/over-tls"},
		{[]string{"/usr/bin/aws", "iot", "--endpoint-url", endpoint, "--ca-bundle", ca, "list-things", "--output", "text"}, "over-tls"},
		{[]string{"/usr/bin/aws", "iot-data", "--endpoint-url", endpoint, "--ca-bundle", ca, "publish", "--topic", "a/b", "--payload", "MQ=="}, ""},
	} {
		cmd := exec.Command(c.words[0], c.words[1:]...)
		cmd.Env = environment
		out, err := cmd.CombinedOutput()
		if (err != nil) != strings.Contains(c.says, "FAILED") || !strings.Contains(string(out), c.says) {
			t.Errorf("%v: %v, want %q\n%s", c.words, err, c.says, out)
		}
	}
}
