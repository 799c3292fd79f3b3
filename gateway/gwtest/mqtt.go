// Package gwtest is the test harness of the whole house: an MQTT client that
// remembers what it heard, a real Mosquitto as upstream, and the binary as a
// process that can be killed. Tests alone import it.
package gwtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// wait is how long the harness waits for what must happen.
const wait = 10 * time.Second

// Message is what a client heard.
type Message struct {
	Topic    string
	Payload  []byte
	QoS      byte
	Retained bool
}

// Client is an unmodified MQTT 3.1.1 client that keeps what it hears.
type Client struct {
	t       testing.TB
	mqtt    mqtt.Client
	through func(Message)
	conn    net.Conn

	mu    sync.Mutex
	heard []Message
	more  chan struct{}
}

// ClientOptions say how a client connects; the zero value is a clean session.
type ClientOptions struct {
	Persistent          bool
	Username, Password  string
	WillTopic, WillText string
	// TLS is nil for a plain connection.
	TLS *tls.Config
	// Hear gets every message in place of Next and its like.
	Hear func(Message)
	// Wires is the network; nil means the host's.
	Wires *Wires
}

// Connect connects to HOST:PORT and ends the test when it cannot.
func Connect(t testing.TB, address, id string, o ClientOptions) *Client {
	t.Helper()
	c, err := Dial(t, address, id, o)
	if err != nil {
		t.Fatalf("connect %q to %s: %v", id, address, err)
	}
	t.Cleanup(c.Close)
	return c
}

// Dial connects to HOST:PORT once.
func Dial(t testing.TB, address, id string, o ClientOptions) (*Client, error) {
	c := &Client{t: t, more: make(chan struct{}, 1), through: o.Hear}
	options := mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID(id).SetProtocolVersion(4).
		SetCleanSession(!o.Persistent).SetAutoReconnect(false).SetConnectTimeout(wait).SetWriteTimeout(wait).
		SetUsername(o.Username).SetPassword(o.Password).SetOrderMatters(true).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { c.hear(m) }).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			conn, err := o.dial(address)
			c.conn = conn
			if err != nil || o.TLS == nil {
				return conn, err
			}
			return tls.Client(conn, o.TLS), nil
		})
	if o.WillTopic != "" {
		options.SetWill(o.WillTopic, o.WillText, 1, false)
	}
	c.mqtt = mqtt.NewClient(options)
	return c, finish(c.mqtt.Connect())
}

func (o ClientOptions) dial(address string) (net.Conn, error) {
	if o.Wires != nil {
		return o.Wires.Dial(context.Background(), "tcp", address)
	}
	return net.DialTimeout("tcp", address, wait)
}

func finish(token mqtt.Token) error {
	if !token.WaitTimeout(wait) {
		return fmt.Errorf("no answer within %v", wait)
	}
	return token.Error()
}

func (c *Client) hear(m mqtt.Message) {
	heard := Message{m.Topic(), m.Payload(), m.Qos(), m.Retained()}
	if c.through != nil {
		c.through(heard)
		return
	}
	c.mu.Lock()
	c.heard = append(c.heard, heard)
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// Subscribe subscribes at QoS 1 and waits for the SUBACK.
func (c *Client) Subscribe(filters ...string) {
	c.t.Helper()
	for _, filter := range filters {
		if err := c.TrySubscribe(filter); err != nil {
			c.t.Fatalf("subscribe %q: %v", filter, err)
		}
	}
}

// TrySubscribe subscribes at QoS 1 and gives the outcome.
func (c *Client) TrySubscribe(filter string) error {
	token := c.mqtt.Subscribe(filter, 1, nil)
	err := finish(token)
	granted, is := token.(*mqtt.SubscribeToken)
	if !is || err != nil {
		return err
	}
	for _, code := range granted.Result() { // one, under a name without $share/GROUP/
		if code >= 0x80 {
			return fmt.Errorf("subscribe %q: refused with %#x", filter, code)
		}
	}
	return nil
}

// Publish publishes and waits for the PUBACK.
func (c *Client) Publish(topic, payload string, qos byte) {
	c.t.Helper()
	if err := finish(c.mqtt.Publish(topic, qos, false, payload)); err != nil {
		c.t.Fatalf("publish %q: %v", topic, err)
	}
}

// TryPublish publishes without waiting; the channel gives the outcome.
func (c *Client) TryPublish(topic string, payload []byte, qos byte) <-chan error {
	token := c.mqtt.Publish(topic, qos, false, payload)
	done := make(chan error, 1)
	go func() {
		<-token.Done()
		done <- token.Error()
	}()
	return done
}

// TryPublishRetain publishes and waits for the outcome.
func (c *Client) TryPublishRetain(topic string, payload []byte, qos byte, retain bool) error {
	return finish(c.mqtt.Publish(topic, qos, retain, payload))
}

// Drop cuts the TCP connection without a DISCONNECT.
func (c *Client) Drop() { c.conn.Close() }

// Connected reports whether the connection lives.
func (c *Client) Connected() bool { return c.mqtt.IsConnectionOpen() }

// Next takes the oldest message on exactly this topic, waited for.
func (c *Client) Next(topic string) Message {
	c.t.Helper()
	m, ok := c.take(func(m Message) bool { return m.Topic == topic }, wait)
	if !ok {
		c.t.Fatalf("nothing arrived on %q within %v; heard %s", topic, wait, c.topics())
	}
	return m
}

// Await takes the oldest message that fits, waited for.
func (c *Client) Await(what string, fits func(Message) bool) Message {
	c.t.Helper()
	m, ok := c.take(fits, wait)
	if !ok {
		c.t.Fatalf("%s did not arrive within %v; heard %s", what, wait, c.topics())
	}
	return m
}

// Silent reports whether nothing arrives on the topic for a while.
func (c *Client) Silent(topic string, d time.Duration) bool {
	_, heard := c.take(func(m Message) bool { return m.Topic == topic }, d)
	return !heard
}

// Heard is a copy of everything not taken yet.
func (c *Client) Heard() []Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Message(nil), c.heard...)
}

func (c *Client) take(fits func(Message) bool, d time.Duration) (Message, bool) {
	deadline := time.After(d)
	for {
		c.mu.Lock()
		for i, m := range c.heard {
			if fits(m) {
				copy(c.heard[1:i+1], c.heard[:i])
				c.heard = c.heard[1:]
				c.mu.Unlock()
				return m, true
			}
		}
		c.mu.Unlock()
		select {
		case <-c.more:
		case <-deadline:
			return Message{}, false
		}
	}
}

func (c *Client) topics() []string {
	var all []string
	for _, m := range c.Heard() {
		all = append(all, m.Topic)
	}
	return all
}

// Close disconnects cleanly.
func (c *Client) Close() { c.mqtt.Disconnect(100) }

// Poll takes the oldest message of any topic, waited for a while.
func (c *Client) Poll(d time.Duration) (Message, bool) {
	return c.take(func(Message) bool { return true }, d)
}
