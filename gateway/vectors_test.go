package gateway_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/bench/load"
	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/gwtest/shadowvector"
	"github.com/tidehold/tidehold/gateway/topic"
)

// The shadow vectors over MQTT 5 and over HTTP: the same body as
// TestWayB_ShadowVectors, against the same whole house.

func TestWayB_ShadowVectorsOverMQTT5(t *testing.T) {
	address := start(t, "gw", "")
	shadowvector.Play(t, os.DirFS(filepath.Join("shadow", "testdata")), mqtt5Broker{address})
}

// mqtt5Broker connects clients that speak MQTT 5.
type mqtt5Broker struct{ address string }

// mqtt5Client writes packets by hand and reads them with the load generator.
type mqtt5Client struct {
	conn net.Conn
	mu   sync.Mutex
	last uint16
	acks map[uint16]chan error
}

func text(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func packet(kind byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{kind}, uint64(len(body))), body...)
}

func (b mqtt5Broker) Connect(id string, will *shadowvector.Will, hear func(shadowvector.Message)) (shadowvector.Client, error) {
	conn, err := net.Dial("tcp", b.address)
	if err != nil {
		return nil, err
	}
	flags := byte(0x02)
	if will != nil {
		flags |= 0x04 | 1<<3
	}
	body := append(text(nil, "MQTT"), 5, flags, 0, 0, 0)
	body = text(body, id)
	if will != nil {
		body = text(text(append(body, 0), will.Topic), string(will.Payload))
	}
	c := &mqtt5Client{conn: conn, acks: make(map[uint16]chan error)}
	reader := load.NewReader(conn)
	reader.Idle = func() {}
	if _, err := conn.Write(packet(load.Connect<<4, body)); err != nil {
		return nil, err
	}
	if p, err := reader.Next(); err != nil || p.Type != load.Connack || p.Body[1] != 0 {
		return nil, fmt.Errorf("CONNACK %v, %v", p, err)
	}
	go c.read(reader, hear)
	return c, nil
}

func (c *mqtt5Client) read(reader *load.Reader, hear func(shadowvector.Message)) {
	for {
		p, err := reader.Next()
		if err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			for id, ack := range c.acks {
				delete(c.acks, id)
				ack <- err
			}
			return
		}
		switch p.Type {
		case load.Puback, load.Suback:
			c.mu.Lock()
			ack := c.acks[p.ID()]
			delete(c.acks, p.ID())
			c.mu.Unlock()
			if code := p.Body[len(p.Body)-1]; len(p.Body) > 2 && code >= 0x80 {
				ack <- fmt.Errorf("refused with %#x", code)
				continue
			}
			ack <- nil
		case load.Publish:
			name, id, payload, err := p.Message(5)
			if err != nil {
				return
			}
			if p.QoS() == 1 {
				c.conn.Write([]byte{load.Puback << 4, 2, byte(id >> 8), byte(id)})
			}
			hear(shadowvector.Message{Topic: string(name), Payload: bytes.Clone(payload), Retain: p.Flags&1 != 0})
		}
	}
}

// send writes a packet and waits for its acknowledgement.
func (c *mqtt5Client) send(build func(id uint16) []byte) error {
	ack := make(chan error, 1)
	c.mu.Lock()
	c.last++
	c.acks[c.last] = ack
	p := build(c.last)
	_, err := c.conn.Write(p)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case err := <-ack:
		return err
	case <-time.After(10 * time.Second):
		return errors.New("no acknowledgement")
	}
}

func (c *mqtt5Client) Publish(name string, payload []byte, qos byte, retain bool) error {
	kind := byte(load.Publish<<4) | qos<<1
	if retain {
		kind |= 1
	}
	if qos == 0 {
		_, err := c.conn.Write(packet(kind, append(append(text(nil, name), 0), payload...)))
		return err
	}
	return c.send(func(id uint16) []byte {
		return packet(kind, append(append(binary.BigEndian.AppendUint16(text(nil, name), id), 0), payload...))
	})
}

func (c *mqtt5Client) Subscribe(filter string, qos byte) error {
	return c.send(func(id uint16) []byte {
		return packet(load.Subscribe<<4|2, append(text(append(binary.BigEndian.AppendUint16(nil, id), 0), filter), qos))
	})
}

func (c *mqtt5Client) Disconnect(clean bool) error {
	if clean {
		c.conn.Write([]byte{load.Disconnect << 4, 0})
	}
	return c.conn.Close()
}

// TestWayB_ShadowVectorsOverHTTP sends every update and delete, and every get
// without a token, to the shadow calls of the data plane, and other publishes
// to Publish. What is heard comes over MQTT: an HTTP change publishes accepted,
// delta and documents as any other. Only the answer to a get and a refusal,
// which HTTP callers alone hear, are told to the player by the client.
func TestWayB_ShadowVectorsOverHTTP(t *testing.T) {
	address, client := startHTTP(t)
	shadowvector.Play(t, os.DirFS(filepath.Join("shadow", "testdata")), httpBroker{vectorBroker{t, address}, client})
}

// startHTTP runs a gateway and gives its MQTT address and a client of its socket.
func startHTTP(t *testing.T) (address string, client *http.Client) {
	dir, err := os.MkdirTemp("", "th")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "ctl.sock")
	address = serve(t, fmt.Sprintf(`version: 1
gateway: {id: gw}
storage: {dir: %s}
mqtt: {listeners: [{name: local, bind: "127.0.0.1:0", auth: loopback}]}
http: {data_plane: {bind: off}, control: {bind: off}, metrics: {bind: off}}
`, dir), gateway.Env{Socket: socket})[0].Address
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return address, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

type httpBroker struct {
	mqtt vectorBroker
	http *http.Client
}

func (b httpBroker) Connect(id string, will *shadowvector.Will, hear func(shadowvector.Message)) (shadowvector.Client, error) {
	c, err := b.mqtt.Connect(id, will, hear)
	return httpClient{c, b.http, hear}, err
}

type httpClient struct {
	shadowvector.Client
	http *http.Client
	hear func(shadowvector.Message)
}

// Publish asks the data plane for what the message asks.
func (c httpClient) Publish(name string, payload []byte, qos byte, retain bool) error {
	r, reserved := topic.ParseReserved(name)
	var token struct{ ClientToken json.RawMessage }
	readable := json.Unmarshal(payload, &token) == nil
	if !reserved || r.Kind != topic.ShadowRequest || r.Op != topic.Update && token.ClientToken != nil {
		return c.ask(http.MethodPost, fmt.Sprintf("/topics/%s?qos=%d&retain=%t", url.PathEscape(name), min(qos, 1), retain), payload, nil)
	}
	method := map[topic.Op]string{topic.Get: http.MethodGet, topic.Update: http.MethodPost, topic.Delete: http.MethodDelete}[r.Op]
	path := "/things/" + url.PathEscape(string(r.Key.Thing)) + "/shadow?name=" + url.QueryEscape(string(r.Key.Shadow))
	return c.ask(method, path, payload, func(status int, body []byte) {
		switch {
		case status != http.StatusOK:
			c.hear(shadowvector.Message{Topic: name + "/rejected", Payload: rejection(status, body, token.ClientToken, readable)})
		case r.Op == topic.Get:
			c.hear(shadowvector.Message{Topic: name + "/accepted", Payload: body})
		}
	})
}

func (c httpClient) ask(method, path string, body []byte, answered func(status int, body []byte)) error {
	req, err := http.NewRequest(method, "http://gateway"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if answered != nil {
		answered(resp.StatusCode, answer)
	} else if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	return nil
}

// rejection words an HTTP error as MQTT has it; a token that was legal is
// echoed there, and HTTP has no place for it.
func rejection(status int, body []byte, token json.RawMessage, readable bool) []byte {
	var said struct{ Message string }
	if json.Unmarshal(body, &said) != nil {
		said.Message = string(body)
	}
	out := map[string]any{"code": status, "message": said.Message}
	var legal string
	if readable && json.Unmarshal(token, &legal) == nil && len(legal) <= 64 {
		out["clientToken"] = legal
	}
	payload, _ := json.Marshal(out)
	return payload
}

func TestDataPlane_RetainedAndConnectionsAreTheBrokers(t *testing.T) {
	address, client := startHTTP(t)
	hc := httpClient{http: client}
	watcher := gwtest.Connect(t, address, "watcher", gwtest.ClientOptions{})
	watcher.Subscribe("gone/#", "state/#", "$aws/events/presence/disconnected/#")
	if err := hc.ask("POST", "/topics/state%2Fa?qos=1&retain=true", []byte("on"), nil); err != nil {
		t.Fatal(err)
	}
	if m := watcher.Next("state/a"); string(m.Payload) != "on" || m.QoS != 1 {
		t.Errorf("heard %+v", m)
	}
	hc.ask("GET", "/retainedMessage/state%2Fa", nil, func(status int, body []byte) {
		if status != 200 || !strings.HasPrefix(string(body), `{"topic":"state/a","payload":"b24=","qos":1,"lastModifiedTime":1`) {
			t.Errorf("retained: %d %s", status, body)
		}
	})
	for _, c := range []struct {
		id, query string
		will      bool
	}{{"loud", "", true}, {"quiet", "?preventWillMessage=true&cleanSession=true", false}} {
		gwtest.Connect(t, address, c.id, gwtest.ClientOptions{WillTopic: "gone/" + c.id, WillText: "x"})
		if err := hc.ask("DELETE", "/connections/"+c.id+c.query, nil, nil); err != nil {
			t.Fatal(err)
		}
		if m := watcher.Next("$aws/events/presence/disconnected/" + c.id); !strings.Contains(string(m.Payload), "API_INITIATED_DISCONNECT") {
			t.Errorf("event %s", m.Payload)
		}
		if c.will {
			watcher.Next("gone/" + c.id)
		} else if !watcher.Silent("gone/"+c.id, 200*time.Millisecond) {
			t.Error("a will that was to be withheld was sent")
		}
	}
}

// A full store refuses what is to be retained as AWS throttles it, and counts
// it; what is there may still be replaced and removed.
func TestDataPlane_AFullStoreOfRetainedMessagesThrottles(t *testing.T) {
	p := open(t, mutual+", limits: {preset: edge, max_retained: 3}", "", gateway.Env{})
	health := p.connect("first", p.device("all", allowAll).Certificate)
	health.Subscribe("$GW/health")
	health.Next("$GW/health") // takes its place before the others
	for _, c := range []struct {
		topic, payload string
		want           int
	}{{"a", "1", 200}, {"b", "1", 200}, {"c", "1", 429}, {"b", "2", 200}, {"a", "", 200}, {"c", "1", 200}, {"d", "1", 429}} {
		status, head, answer := p.publishRetained(c.topic, c.payload)
		if status != c.want || (head.Get("x-amzn-ErrorType") == "ThrottlingException") != (c.want == 429) {
			t.Errorf("%s %q: %d %s %s, want %d", c.topic, c.payload, status, head.Get("x-amzn-ErrorType"), answer, c.want)
		}
	}
	if want := `tidehold_mqtt_messages_dropped_total{reason="retained_limit"} 2`; !strings.Contains(p.metrics(), want) {
		t.Errorf("metrics do not say %s", want)
	}
}

// publishRetained publishes by the operator's socket.
func (p *premises) publishRetained(name, payload string) (status int, head http.Header, answer string) {
	p.t.Helper()
	response, err := p.operator.Post("http://gateway/topics/"+url.PathEscape(name)+"?qos=1&retain=true", "", strings.NewReader(payload))
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

// A request of the shadow service with RETAIN is served and not kept, whoever
// brings it (shadow.md section 1).
func TestDataPlane_ARetainedRequestIsServedAndNotKept(t *testing.T) {
	address, client := startHTTP(t)
	hc := httpClient{http: client}
	request := url.PathEscape("$aws/things/p/shadow/update")
	if err := hc.ask("POST", "/topics/"+request+"?qos=1&retain=true", []byte(`{"state":{"reported":{"n":1}}}`), nil); err != nil {
		t.Fatal(err)
	}
	late := gwtest.Connect(t, address, "late", gwtest.ClientOptions{})
	late.Subscribe("$aws/things/p/shadow/#")
	late.Publish("$aws/things/p/shadow/get", "", 1)
	if m := late.Next("$aws/things/p/shadow/get/accepted"); !strings.Contains(string(m.Payload), `"n":1`) {
		t.Errorf("the shadow is %s", m.Payload)
	}
	for _, m := range late.Heard() {
		if m.Retained {
			t.Errorf("%s was kept", m.Topic)
		}
	}
	hc.ask("GET", "/retainedMessage/"+request, nil, func(status int, body []byte) {
		if status != 404 {
			t.Errorf("retained: %d %s", status, body)
		}
	})
}
