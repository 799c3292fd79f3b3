package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/policy"
)

// decide asks a built-in policy about a device that is attached to its thing.
func decide(t *testing.T, document, client, action, resource string, attached bool) bool {
	t.Helper()
	d, err := policy.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	conn := policy.Connection{ClientID: client, Thing: &policy.Thing{Name: "pump-1", Attached: attached}}
	scope := policy.Scope{Region: "eu-west-1", Account: "123456789012"}
	return d.Evaluate(policy.Request{Action: action, Resource: resource}, conn, scope).Allowed
}

func TestDeviceDefault_AllowsTheOwnThingAndNothingElse(t *testing.T) {
	for request, want := range map[[2]string]bool{
		{"iot:Connect", "client/pump-1"}:                                        true,
		{"iot:Connect", "client/pump-2"}:                                        false,
		{"iot:Publish", "topic/dt/pump-1/reading"}:                              true,
		{"iot:Publish", "topic/dt/pump-2/reading"}:                              false,
		{"iot:Publish", "topic/dt/pump-1"}:                                      false,
		{"iot:Receive", "topic/cmd/pump-1/fan"}:                                 true,
		{"iot:Subscribe", "topicfilter/cmd/pump-1/#"}:                           true,
		{"iot:Subscribe", "topicfilter/#"}:                                      false,
		{"iot:Subscribe", "topicfilter/dt/+/reading"}:                           false,
		{"iot:Publish", "topic/$aws/things/pump-1/shadow/update"}:               true,
		{"iot:Publish", "topic/$aws/things/pump-1/shadow/name/x/get"}:           true,
		{"iot:Publish", "topic/$aws/things/pump-2/shadow/update"}:               false,
		{"iot:Subscribe", "topicfilter/$aws/things/pump-1/shadow/update/delta"}: true,
		{"iot:Receive", "topic/$aws/things/pump-1/shadow/update/accepted"}:      true,
		{"iot:CreateThing", "thing/pump-1"}:                                     false,
	} {
		if got := decide(t, DeviceDefaultDocument, "pump-1", request[0], request[1], true); got != want {
			t.Errorf("%s on %s: got %v, want %v", request[0], request[1], got, want)
		}
	}
	if decide(t, DeviceDefaultDocument, "pump-1", "iot:Connect", "client/pump-1", false) {
		t.Error("a certificate that is not attached may connect")
	}
}

func TestLocalDefault_AllowsEverything(t *testing.T) {
	if !decide(t, LocalDefaultDocument, "x", "iot:Publish", "topic/a", false) {
		t.Error("refused")
	}
}

func TestBuiltInPolicies_HaveNothingToLint(t *testing.T) {
	d, err := policy.Parse([]byte(DeviceDefaultDocument))
	if err != nil || len(d.Lint()) != 0 {
		t.Errorf("got %v, %v", d.Lint(), err)
	}
}

func TestLoad_ChecksOfOtherRoomsAreListedAtTheirPlace(t *testing.T) {
	opt := quiet()
	opt.Parts = oneDriver{}
	opt.CheckRule = func(c *Config, r Rule) ([]Doubt, error) {
		return []Doubt{{"actions[0]", "may fail in " + string(c.Gateway.ID), "add it"}}, errors.New("rule " + r.Name + " has no role")
	}
	opt.CheckRole = func(r Role) error { return errors.New("role " + r.Name + " is malformed " + r.Document) }
	opt.CheckFunction = func(f Function) error { return errors.New("function " + f.Name + " has no command") }
	opt.CheckPolicy = func(document string) ([]string, error) {
		return []string{"too wide"}, errors.New("malformed " + document)
	}
	opt.CheckSimulated = func(drivers.SensorConfig, drivers.Info) []drivers.Problem {
		return []drivers.Problem{{Path: "simulate.temperature", Message: "no signal", Hint: "sine"}}
	}
	opt.CheckInput = func(drivers.InputConfig) []drivers.Problem {
		return []drivers.Problem{{Path: "pin", Message: "no such line"}}
	}
	opt.CheckOutput = func(drivers.OutputConfig) []drivers.Problem {
		return []drivers.Problem{{Path: "require[0]", Message: "no guard"}}
	}
	_, problems := LoadBytes("t.yaml", []byte(smallest+`
buses: [{name: b, type: sim}]
sensors:
  - {name: s, driver: bme280, bus: b, simulate: {temperature: {cosine: 1}}}
inputs: [{name: i, pin: {chip: b, line: 1}}]
outputs: [{name: o, pin: {chip: b, line: 2}, require: ["> 3"]}]
security: {policies: [{name: p, document: {a: 1}}]}
rules: [{name: r, sql: "SELECT * FROM 'a'", actions: [{republish: {topic: b}}]}]
roles: [{name: w, document: '{"a":2}'}]
functions: [{name: f}]
`), opt)
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	want := []string{
		"t.yaml:6:63: error: sensors[s].simulate.temperature: no signal (sine)",
		"t.yaml:7:25: error: inputs[i].pin: no such line",
		"t.yaml:8:56: error: outputs[o].require[0]: no guard",
		`t.yaml:9:43: error: security.policies[p].document: malformed {"a":1}`,
		"t.yaml:9:43: warning: security.policies[p].document: too wide",
		"t.yaml:10:9: error: rules[r]: rule r has no role",
		"t.yaml:10:55: warning: rules[r].actions[0]: may fail in gw (add it)",
		`t.yaml:11:29: error: roles[w].document: role w is malformed {"a":2}`,
		"t.yaml:12:13: error: functions[f]: function f has no command",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// certificate makes a self-signed pair in PEM.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}))
}

func TestLoad_CertificateAndKeyMustBeAPair(t *testing.T) {
	cert, key := certificate(t)
	_, other := certificate(t)
	dir := writeFiles(t, map[string]string{
		"good.yaml": smallest + "tls: {server: {cert: c.pem, key: 'file:k.pem'}}\n",
		"bad.yaml":  smallest + "uplinks: [{name: u, endpoint: h, cert: c.pem, key: other.pem}]\n",
		"off.yaml":  smallest + "uplinks: [{name: u, endpoint: h, enabled: off, cert: c.pem, key: other.pem}]\n",
		"c.pem":     cert, "k.pem": key, "other.pem": other,
	})
	for name, want := range map[string]string{"good": "", "bad": "are no pair", "off": ""} {
		_, problems := Load(filepath.Join(dir, name+".yaml"), quiet())
		switch {
		case want == "" && len(problems) != 0:
			t.Errorf("%s: got %v", name, problems)
		case want != "" && (len(problems) != 1 || !strings.Contains(problems[0].Message, want)):
			t.Errorf("%s: got %v", name, problems)
		}
	}
}

func TestLoad_PathsStartAtTheFilesFolder(t *testing.T) {
	dir := writeFiles(t, map[string]string{"tidehold.yaml": smallest + `
storage: {dir: state}
buses: [{name: b, type: sim}]
sensors: [{name: s, driver: bme280, bus: b, simulate: {temperature: {replay: day.csv}}}]
`})
	cfg, problems := Load(filepath.Join(dir, "tidehold.yaml"), quiet())
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	replay := cfg.Sensors[0].Simulate["temperature"].(map[string]any)["replay"]
	if cfg.Storage.Dir != filepath.Join(dir, "state") || replay != filepath.Join(dir, "day.csv") || cfg.Folder != dir {
		t.Errorf("got %s, %s, %s", cfg.Storage.Dir, replay, cfg.Folder)
	}
}

func TestLoad_StateDirectoryIsTheDefault(t *testing.T) {
	opt := quiet()
	opt.Environ = []string{"STATE_DIRECTORY=/srv/a:/srv/b"}
	if cfg, _ := LoadBytes("t.yaml", []byte(smallest), opt); cfg.Storage.Dir != "/srv/a" {
		t.Errorf("got %s", cfg.Storage.Dir)
	}
}

func TestPatternCovers_StarIsAnyRun(t *testing.T) {
	for pair, want := range map[[2]string]bool{
		{"*", "a"}: true, {"a*", "a"}: true, {"a*c", "abbc"}: true, {"a*c", "abbd"}: false, {"*b*", "abc"}: true, {"a", "ab"}: false, {"", ""}: true, {"a**", "a"}: true,
	} {
		if got := patternCovers(pair[0], pair[1]); got != want {
			t.Errorf("%v: got %v", pair, got)
		}
	}
}
