package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// newDataSite is a site whose data plane takes certificates, as AWS's port
// 8443, and the files of a thing `mine` with the policy narrow.
func newDataSite(t *testing.T) (s *site, folder string, port int) {
	t.Helper()
	s, port = newSite(t, "gw", ""), gwtest.FreePort(t)
	s.write(fmt.Sprintf(`version: 1
gateway: {id: gw, endpoint: localhost}
storage: {dir: %s}
mqtt: {listeners: [{name: local, bind: "127.0.0.1:%d", auth: loopback}]}
http: {data_plane: {bind: "127.0.0.1:%d"}, control: {bind: off}, metrics: {bind: off}}
`, filepath.Join(s.dir, "state"), s.port, port))
	s.start()
	document := filepath.Join(s.dir, "narrow.json")
	if err := os.WriteFile(document, []byte(narrow), 0o600); err != nil {
		t.Fatal(err)
	}
	s.do("policy", "create", "narrow", document)
	folder = filepath.Join(s.dir, "mine")
	s.do("thing", "create", "mine", "--out", folder, "--policy", "narrow")
	return s, folder, port
}

// caller asks the data plane with the files of `tidehold thing create`.
type caller struct {
	t    *testing.T
	base string
	http *http.Client
}

func newCaller(t *testing.T, folder string, port int, alpn ...string) caller {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "private.key"))
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	dial := &tls.Dialer{Config: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, NextProtos: alpn}}
	client := &http.Client{Transport: &http.Transport{DialTLSContext: dial.DialContext}}
	t.Cleanup(client.CloseIdleConnections)
	return caller{t, fmt.Sprintf("https://localhost:%d", port), client}
}

// ask gives the status, with the type of the error when there is one, and the body.
func (c caller) ask(method, path, body string, head ...string) (said, answer string) {
	c.t.Helper()
	r, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	response, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(fmt.Sprint(response.StatusCode, " ", response.Header.Get("x-amzn-ErrorType"))), string(text)
}

// narrow allows every operation of the data plane on what belongs to `mine`.
const narrow = `{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Action":["iot:GetThingShadow","iot:UpdateThingShadow","iot:DeleteThingShadow","iot:ListNamedShadowsForThing"],"Resource":["arn:aws:iot:*:*:thing/mine","arn:aws:iot:*:*:thing/mine/*"]},
 {"Effect":"Allow","Action":["iot:Publish","iot:RetainPublish","iot:GetRetainedMessage"],"Resource":"arn:aws:iot:*:*:topic/mine/*"},
 {"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/fleeting/*"},
 {"Effect":"Allow","Action":"iot:DeleteConnection","Resource":"arn:aws:iot:*:*:client/mine"}]}`

// TestDataPlane_ACertificateDoesWhatItsPolicyAllows: each operation once
// allowed and once denied, by real TLS, without ALPN and with AWS's name.
func TestDataPlane_ACertificateDoesWhatItsPolicyAllows(t *testing.T) {
	s, folder, port := newDataSite(t)
	defer s.stop()
	gwtest.Connect(t, s.at(), "mine", gwtest.ClientOptions{})
	for _, alpn := range [][]string{nil, {"x-amzn-http-ca"}} {
		c := newCaller(t, folder, port, alpn...)
		for _, one := range []struct{ call, body, want, says string }{
			{"POST /things/mine/shadow", `{"state":{"reported":{"n":1}}}`, "200", `"version":`},
			{"POST /things/mine/shadow?name=cfg", `{"state":{"desired":{"n":1}}}`, "200", `"version":`},
			{"GET /things/mine/shadow", "", "200", `"n":1`},
			{"GET /api/things/shadow/ListNamedShadowsForThing/mine", "", "200", `"results":["cfg"]`},
			{"DELETE /things/mine/shadow?name=cfg", "", "200", `"version":`},
			{"GET /things/mine/shadow?name=cfg", "", "404 ResourceNotFoundException", "mine~cfg"},
			{"GET /things/other/shadow", "", "403 ForbiddenException", ""},
			{"POST /things/other/shadow", `{"state":{}}`, "403 ForbiddenException", ""},
			{"DELETE /things/other/shadow", "", "403 ForbiddenException", ""},
			{"GET /api/things/shadow/ListNamedShadowsForThing/other", "", "403 ForbiddenException", ""},
			{"POST /topics/mine%2Fa?qos=1&retain=true", "hi", "200", `"message":"OK"`},
			{"POST /topics/other%2Fa?qos=1", "hi", "403 ForbiddenException", ""},
			{"POST /topics/fleeting%2Fa?qos=1", "hi", "200", ""},
			{"POST /topics/fleeting%2Fa?qos=1&retain=true", "hi", "403 ForbiddenException", ""},
			{"GET /retainedMessage/mine%2Fa", "", "200", `"payload":"aGk="`},
			{"GET /retainedMessage/other%2Fa", "", "403 ForbiddenException", ""},
			{"GET /retainedMessage", "", "403 ForbiddenException", ""},
			{"DELETE /connections/other", "", "403 ForbiddenException", ""},
			{"GET /things/mine", "", "404 ResourceNotFoundException", ""}, // the control plane is elsewhere
		} {
			method, path, _ := strings.Cut(one.call, " ")
			if said, answer := c.ask(method, path, one.body); said != one.want || !strings.Contains(answer, one.says) {
				t.Errorf("ALPN %v: %s: %s %s, want %s %s", alpn, one.call, said, answer, one.want, one.says)
			}
		}
	}
	c := newCaller(t, folder, port)
	for _, want := range []string{"200", "404 ResourceNotFoundException"} {
		if said, answer := c.ask("DELETE", "/connections/mine?cleanSession=true", ""); said != want {
			t.Errorf("end the connection: %s %s, want %s", said, answer, want)
		}
	}
}

// TestDataPlane_ASubscriberOfMQTT5HearsEveryHeader of a publish over HTTP, the
// correlation data as the bytes that were meant.
func TestDataPlane_ASubscriberOfMQTT5HearsEveryHeader(t *testing.T) {
	gwtest.Need(t, "mosquitto_sub")
	s, folder, port := newDataSite(t)
	defer s.stop()
	c := newCaller(t, folder, port)
	heard := gwtest.Start(t, "mosquitto_sub", "-h", "127.0.0.1", "-p", fmt.Sprint(s.port), "-V", "mqttv5", "-q", "1", "-t", "mine/#",
		"-F", "%t|%F|%C|%R|%D|%E|%P|%p.")
	defer heard.Kill()
	gwtest.Eventually(t, "the subscriber listens", func() bool {
		c.ask("POST", "/topics/mine%2Ffence", "")
		return strings.Contains(heard.Output(), "fence")
	})
	said, answer := c.ask("POST", "/topics/mine%2Fx?qos=1&contentType=text%2Fplain&responseTopic=mine%2Fanswer&messageExpiry=600", "hi",
		"x-amz-mqtt5-payload-format-indicator", "UTF8_DATA", "x-amz-mqtt5-correlation-data", "aWT/AQ==",
		"x-amz-mqtt5-user-properties", base64.StdEncoding.EncodeToString([]byte(`[{"unit":"C"},{"unit":"K"},{"by":"é"}]`)))
	if said != "200" {
		t.Fatal(said, answer)
	}
	const want = "mine/x|1|text/plain|mine/answer|id\xff\x01|600|unit:C unit:K by:é|hi."
	gwtest.Eventually(t, "the message arrives", func() bool { return strings.Contains(heard.Output(), "hi.") })
	if got := heard.Output(); !strings.Contains(got, want) {
		t.Errorf("heard %q, want %q", got, want)
	}
}
