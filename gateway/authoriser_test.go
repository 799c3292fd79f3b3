package gateway_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/gwtest"
)

// narrow allows one corner of everything that a policy decides.
const narrow = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":["arn:aws:iot:*:*:client/narrow","arn:aws:iot:*:*:client/other"]},
	{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/ok/*"},
	{"Effect":"Allow","Action":"iot:RetainPublish","Resource":"arn:aws:iot:*:*:topic/ok/kept"},
	{"Effect":"Allow","Action":"iot:Subscribe","Resource":["arn:aws:iot:*:*:topicfilter/ok/*","arn:aws:iot:*:*:topicfilter/mixed/*"]},
	{"Effect":"Allow","Action":"iot:Receive","Resource":["arn:aws:iot:*:*:topic/ok/*","arn:aws:iot:*:*:topic/mixed/heard"]},
	{"Effect":"Allow","Action":"iot:GetThingShadow","Resource":"arn:aws:iot:*:*:thing/own"}]}`

// attempt is one thing a client tries; it says whether it was let.
type attempt struct {
	path string
	try  func(p *premises, d identity) bool
	let  bool
}

// attempts walks every path of security.md 1.2.
func attempts() []attempt {
	return []attempt{
		{"CONNECT", func(p *premises, d identity) bool { return p.dial("narrow", d.Certificate) == nil }, true},
		{"CONNECT as another", func(p *premises, d identity) bool { return p.dial("stranger", d.Certificate) == nil }, false},
		{"will", func(p *premises, d identity) bool { return p.withWill(d, "ok/will") }, true},
		{"will on a forbidden topic", func(p *premises, d identity) bool { return p.withWill(d, "no/will") }, false},
		{"PUBLISH", func(p *premises, d identity) bool { return p.publishes(d, "ok/x", false) }, true},
		{"PUBLISH on a forbidden topic", func(p *premises, d identity) bool { return p.publishes(d, "no/x", false) }, false},
		{"retain", func(p *premises, d identity) bool { return p.publishes(d, "ok/kept", true) }, true},
		{"retain where only publishing is allowed", func(p *premises, d identity) bool { return p.publishes(d, "ok/x", true) }, false},
		{"SUBSCRIBE", func(p *premises, d identity) bool { return p.subscribes(d, "ok/+") }, true},
		{"SUBSCRIBE to a forbidden filter", func(p *premises, d identity) bool { return p.subscribes(d, "no/+") }, false},
		{"SUBSCRIBE to everything", func(p *premises, d identity) bool { return p.subscribes(d, "#") }, false},
		{"SUBSCRIBE by sharing", func(p *premises, d identity) bool { return p.subscribes(d, "$share/g/ok/+") }, false},
		{"delivery", func(p *premises, d identity) bool { return p.hears(d, "mixed/heard") }, true},
		{"delivery of a forbidden topic", func(p *premises, d identity) bool { return p.hears(d, "mixed/secret") }, false},
		{"HTTPS publish", func(p *premises, d identity) bool { return p.https(d, "POST", "/topics/ok/x") != http.StatusForbidden }, true},
		{"HTTPS publish on a forbidden topic", func(p *premises, d identity) bool { return p.https(d, "POST", "/topics/no/x") != http.StatusForbidden }, false},
		{"HTTPS retain", func(p *premises, d identity) bool {
			return p.https(d, "POST", "/topics/ok/x?retain=true") != http.StatusForbidden
		}, false},
		{"HTTPS shadow", func(p *premises, d identity) bool {
			return p.https(d, "GET", "/things/own/shadow") != http.StatusForbidden
		}, true},
		{"HTTPS shadow of another", func(p *premises, d identity) bool {
			return p.https(d, "GET", "/things/other/shadow") != http.StatusForbidden
		}, false},
		{"HTTPS update of the own shadow", func(p *premises, d identity) bool {
			return p.https(d, "POST", "/things/own/shadow") != http.StatusForbidden
		}, false},
		{"HTTPS retained", func(p *premises, d identity) bool {
			return p.https(d, "GET", "/retainedMessage/ok%2Fkept") != http.StatusForbidden
		}, false},
	}
}

// TestAuthoriser_DecidesOnEveryPath with the default of AWS and with `lenient`:
// both let and refuse the same, and every denial is counted.
func TestAuthoriser_DecidesOnEveryPath(t *testing.T) {
	for _, onDenied := range []string{"aws", "lenient"} {
		t.Run(onDenied, func(t *testing.T) {
			p := open(t, mutual, "security: {on_denied: "+onDenied+"}", gateway.Env{})
			p.device("all", allowAll)
			d := p.device("narrow", narrow)
			for _, a := range attempts() {
				if let := a.try(p, d); let != a.let {
					t.Errorf("%s: let is %v, want %v", a.path, let, a.let)
				}
			}
			text := p.metrics()
			for _, action := range []string{"Connect", "Publish", "RetainPublish", "Subscribe", "Receive", "GetThingShadow", "UpdateThingShadow", "GetRetainedMessage"} {
				if !strings.Contains(text, `tidehold_authz_denied_total{action="`+action+`"}`) {
					t.Errorf("no denial of %s in the metrics", action)
				}
			}
			c := p.connect("narrow", d.Certificate)
			select {
			case <-c.TryPublish("no/x", nil, 1):
			case <-time.After(wait):
				t.Error("no answer to a forbidden publish")
			}
			if onDenied == "lenient" {
				c.Publish("ok/x", "1", 1)
			} else {
				gwtest.Eventually(t, "a forbidden publish ends the connection", func() bool { return !c.Connected() })
			}
		})
	}
}

// TestAuthoriser_NoPathForgesReservedTopics whatever the policy says: publish,
// retain, will, HTTPS.
func TestAuthoriser_NoPathForgesReservedTopics(t *testing.T) {
	p := open(t, "limits: none, "+mutual, "security: {on_denied: lenient}", gateway.Env{})
	d := p.device("all", allowAll)
	ear := p.connect("ear", d.Certificate)
	ear.Subscribe("$aws/#", "$SYS/#", "$GW/#", "$other/#")
	forger := p.connect("forger", d.Certificate)
	for _, topic := range reserved {
		_ = forger.TryPublishRetain(topic, []byte("forged"), 1, false)
		_ = forger.TryPublishRetain(topic, []byte("forged"), 1, true)
		if p.withWill(d, topic) {
			t.Errorf("a will on %s was taken", topic)
		}
		if status := p.https(d, "POST", "/topics/"+url.PathEscape(topic)); status < 400 {
			t.Errorf("HTTPS publish to %s: %d", topic, status)
		}
	}
	ear.Publish("$aws/things/fence/shadow/get", "", 1)
	ear.Next("$aws/things/fence/shadow/get")
	for _, m := range ear.Heard() {
		if string(m.Payload) == "forged" {
			t.Errorf("%s was delivered", m.Topic)
		}
	}
	late := p.connect("late", d.Certificate)
	late.Subscribe("$aws/#", "$SYS/#", "$GW/#", "$other/#")
	late.Publish("$aws/things/fence/shadow/get", "", 1)
	late.Next("$aws/things/fence/shadow/get")
	for _, m := range late.Heard() {
		if string(m.Payload) == "forged" {
			t.Errorf("%s was retained", m.Topic)
		}
	}
}

// TestAuthoriser_TheAddressOfARequestCountsOverHTTPSToo for a certificate and for
// an access key: a Deny of an address must not end where MQTT does.
func TestAuthoriser_TheAddressOfARequestCountsOverHTTPSToo(t *testing.T) {
	const fenced = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"},
		{"Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/here","Condition":{"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}}},
		{"Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/plain","Condition":{"Bool":{"aws:SecureTransport":"false"}}},
		{"Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/named","Condition":{"StringEquals":{"iot:DomainName":"localhost"}}}]}`
	p := open(t, mutual, "", gateway.Env{})
	d := p.device("fenced", fenced)
	for topic, want := range map[string]int{"here": http.StatusForbidden, "plain": http.StatusOK, "named": http.StatusForbidden, "free": http.StatusOK} {
		if status := p.https(d, "POST", "/topics/"+topic); status != want {
			t.Errorf("certificate, %s: %d, want %d", topic, status, want)
		}
	}
	key := p.accessKey("fenced")
	for topic, want := range map[string]int{"here": http.StatusForbidden, "plain": http.StatusForbidden, "free": http.StatusOK} {
		if status := p.signed(key, "/topics/"+topic); status != want {
			t.Errorf("access key, %s: %d, want %d", topic, status, want)
		}
	}
}

// withWill connects with a will and ends without a word; it tells whether the
// connection was taken.
func (p *premises) withWill(d identity, topic string) bool {
	c, err := gwtest.Dial(p.t, p.addresses["mtls"], "other", gwtest.ClientOptions{TLS: p.secure(d.Certificate), WillTopic: topic, WillText: "forged"})
	if err == nil {
		c.Drop()
	}
	return err == nil
}

// publishes tells whether a message reaches somebody who hears everything.
func (p *premises) publishes(d identity, topic string, retain bool) bool {
	ear := p.ear()
	defer ear.Close()
	c := p.connect("narrow", d.Certificate)
	defer c.Close()
	_ = c.TryPublishRetain(topic, []byte("1"), 1, retain)
	ear.Publish("fence", "", 1)
	ear.Next("fence")
	for _, m := range ear.Heard() {
		if m.Topic == topic {
			return true
		}
	}
	return false
}

// ear hears everything.
func (p *premises) ear() *gwtest.Client {
	p.t.Helper()
	made := p.deviceWith(newKey(p.t), "all", "")
	ear := p.connect("ear", made.Certificate)
	ear.Subscribe("ok/x", "ok/kept", "no/#", "fence")
	return ear
}

func (p *premises) subscribes(d identity, filter string) bool {
	c := p.connect("narrow", d.Certificate)
	defer c.Close()
	return c.TrySubscribe(filter) == nil
}

// hears tells whether a message of somebody else is delivered.
func (p *premises) hears(d identity, topic string) bool {
	c := p.connect("narrow", d.Certificate)
	defer c.Close()
	c.Subscribe("mixed/+", "ok/fence")
	speaker := p.ear()
	defer speaker.Close()
	speaker.Publish(topic, "1", 1)
	speaker.Publish("ok/fence", "", 1)
	heard := false
	c.Await("the fence", func(m gwtest.Message) bool {
		heard = heard || m.Topic == topic
		return m.Topic == "ok/fence"
	})
	for _, m := range c.Heard() {
		heard = heard || m.Topic == topic
	}
	return heard
}

// https asks the data plane with a certificate and gives the status.
func (p *premises) https(d identity, method, path string) int {
	p.t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: p.secure(d.Certificate)}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequest(method, "https://"+p.addresses["data_plane"]+path, strings.NewReader("{}"))
	if err != nil {
		p.t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// signed posts nothing to the control endpoint, with an access key, and gives the
// status.
func (p *premises) signed(key accessKey, path string) int {
	p.t.Helper()
	host := p.addresses["control"]
	response, err := http.Post("http://"+host+path+"?"+presign(key, "POST", path, host, time.Now()), "", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func (p *premises) metrics() string {
	p.t.Helper()
	response, err := p.operator.Get("http://gateway/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}
