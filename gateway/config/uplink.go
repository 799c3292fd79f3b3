package config

import (
	"fmt"
	"strings"

	"github.com/tidehold/tidehold/gateway/config/tree"
	"github.com/tidehold/tidehold/gateway/config/value"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/gateway/topic/template"
	"github.com/tidehold/tidehold/gateway/uplink/profile"
)

func (l *loader) uplink(m *tree.Map) {
	defer m.Done()
	u := Uplink{Name: name(m), Profile: profileOf(m), Enabled: m.Bool("enabled", "true")}
	all := endpoints(m, u.Profile)
	u.Endpoint, u.Others = all[0], all[1:]
	u.ClientID = tree.Get(m, "client_id", "text", string(l.cfg.Gateway.ID), clientID)
	u.Username = l.secret(m, "username", "", value.Place{Public: true})
	u.Password = l.secret(m, "password", "", value.Place{})
	u.CA = l.secret(m, "ca", "", value.Place{Path: true, Public: true})
	u.Cert, u.Key = l.pair(m)
	u.Proxy = l.secret(m, "proxy", "", value.Place{Public: true})
	u.Status = l.status(m, u)
	u.Required = m.Bool("required", "true")
	d := m.Map("drain")
	u.Drain = drain(d, l.cfg.Telemetry.Drain).resolve(u.Profile)
	d.Done()
	u.ReconnectMax = m.Duration("reconnect_max", fmt.Sprintf("%ds", int(u.Profile.ReconnectMax.Seconds())))
	if sub, ok := m.Optional("shadows"); ok {
		u.Shadows = l.shadows(sub, u)
	}
	m.Each("telemetry", func(m *tree.Map) { l.route(m, &u) })
	m.Each("commands", func(m *tree.Map) { l.command(m, &u) })
	l.checkUplink(m, u)
	l.sites.uplinks = append(l.sites.uplinks, site{m, u.Name})
	l.cfg.Uplinks = append(l.cfg.Uplinks, u)
}

// profileOf reads the profile; a word that is none counts as the default.
func profileOf(m *tree.Map) Profile {
	if p, ok := profile.Of(m.Word("profile", profile.Generic, profile.Names()...)); ok {
		return p
	}
	return profile.All()[0]
}

// clientID checks MQTT's own bounds.
func clientID(s string) (string, error) {
	if s == "" || len(s) > 128 || strings.ContainsAny(s, "\x00+#/") {
		return "", fmt.Errorf("%q: want 1 to 128 bytes without + # /", s)
	}
	return s, nil
}

// status reads the topic of the last will; empty is off.
func (l *loader) status(m *tree.Map, u Uplink) string {
	def := "shadow/{gateway}/status"
	if !u.Profile.Status {
		def = "off"
	}
	return tree.Get(m, "status", "topic template, or off", def, func(s string) (string, error) {
		if s == "off" || s == "false" {
			return "", nil
		}
		return l.filledTopic(s, u.Name)
	})
}

// filledTopic is a topic with {gateway} and {name} replaced.
func (l *loader) filledTopic(text, name string) (string, error) {
	filled, err := l.filled(text, name)
	if err != nil {
		return "", err
	}
	if _, err := topic.ParseName(filled); err != nil {
		return "", err
	}
	return filled, nil
}

// filled replaces {gateway} and {name}; a missing one is reported elsewhere.
func (l *loader) filled(text, name string) (string, error) {
	t, err := template.ParseFilter(text)
	if err != nil {
		return "", err
	}
	v := template.Values{Gateway: string(l.cfg.Gateway.ID), Name: name}
	if v.Gateway == "" {
		v.Gateway = "gateway"
	}
	if v.Name == "" {
		v.Name = "name"
	}
	return t.Expand(v), nil
}

// checkUplink checks keys against each other.
func (l *loader) checkUplink(m *tree.Map, u Uplink) {
	if u.Password.IsSet() && !u.Username.IsSet() {
		m.Fail("password", "a password without username", "MQTT 3.1.1 sends none then: add username")
	}
	if !u.Endpoint.TLS && (u.CA.IsSet() || u.Cert.IsSet()) && u.Endpoint.Host != "" {
		m.Fail("endpoint", "ca and cert need TLS, and this endpoint has none", "write tls://")
	}
	if !u.Endpoint.TLS && u.Password.IsSet() && u.Endpoint.Host != "" && !loopback(u.Endpoint.Host) {
		m.Warn("endpoint", "the password travels in the clear", "write tls://")
	}
	if !u.Enabled {
		return
	}
	if u.Profile.Name == profile.AWSIoTCore && !u.Cert.IsSet() && !u.Username.IsSet() {
		m.Warn("", "aws-iot-core wants a client certificate", "add cert and key")
	}
	l.probe(m, "username", u.Username)
	l.probe(m, "password", u.Password)
	l.probe(m, "ca", u.CA)
	l.probePair(m, u.Cert, u.Key)
}

func loopback(host string) bool {
	b, err := value.ParseBind("[" + host + "]:0")
	if !strings.Contains(host, ":") {
		b, err = value.ParseBind(host + ":0")
	}
	return err == nil && b.Loopback()
}

func (l *loader) route(m *tree.Map, u *Uplink) {
	defer m.Done()
	r := Route{Name: name(m), From: tree.Get(m, "from", "topic filter", tree.Required, localFilter)}
	r.To = m.Text("to", "gw/{gateway}/t/{topic}")
	r.QoS = byte(m.Integer("qos", "1", 0, 1))
	r.Retain = m.Bool("retain", "false")
	r.Form = m.Word("form", FormAuto, FormAuto, FormRaw, FormInject, FormNative)
	b := m.Map("batch")
	r.BatchMax = int(b.Integer("max", "0", 0, 10_000))
	every := "0s"
	if r.BatchMax > 0 {
		every = "5s"
	}
	r.BatchEvery = b.Duration("every", every)
	b.Done()
	if r.BatchMax > 0 && (r.Form == FormRaw || r.Form == FormInject) {
		m.Fail("batch", "only native messages go in one, and form is "+r.Form, "take form: native or auto")
	}
	if b.Has("every") && r.BatchMax == 0 {
		m.Fail("batch.every", "every without max", "like batch: {max: 50, every: 5s}")
	}
	l.checkUpstream(m, r, u.Profile)
	for _, other := range u.Telemetry {
		if r.Name != "" && other.Name == r.Name {
			m.Fail("name", fmt.Sprintf("name %q is taken", r.Name), "names of one list differ")
		}
	}
	u.Telemetry = append(u.Telemetry, r)
}

// basicIngest begins topics of AWS that count fewer levels and bytes.
const basicIngest = "$aws/rules/"

// checkUpstream checks where a route sends its messages to.
func (l *loader) checkUpstream(m *tree.Map, r Route, p Profile) {
	if r.From == "" {
		return
	}
	t, err := template.ParseTopic(r.To, r.From)
	if err != nil {
		m.Fail("to", err.Error(), "")
		return
	}
	if strings.HasPrefix(r.To, basicIngest) {
		return
	}
	if strings.HasPrefix(r.To, "$") {
		m.Warn("to", fmt.Sprintf("topic %q begins with $: most brokers refuse it", r.To), "")
	}
	shortest := strings.TrimSuffix(strings.TrimSuffix(string(r.From), "#"), "/")
	longest := t.Expand(template.Values{Gateway: string(l.cfg.Gateway.ID), Name: r.Name, Topic: shortest})
	if n := topic.Levels(longest); p.MaxTopicLevels > 0 && n > p.MaxTopicLevels {
		m.Fail("to", fmt.Sprintf("the topic has %d levels; %s takes %d", n, p.Name, p.MaxTopicLevels), "")
	}
}

func (l *loader) command(m *tree.Map, u *Uplink) {
	defer m.Done()
	c := Command{To: m.Text("to", "cmd/{rest}")}
	c.From = tree.Get(m, "from", "topic filter template", "gw/{gateway}/cmd/#", func(s string) (topic.Filter, error) {
		filled, err := l.filled(s, u.Name)
		if err != nil {
			return "", err
		}
		return topic.ParseFilter(filled)
	})
	c.QoS = byte(m.Integer("qos", "1", 0, int64(u.Profile.MaxQoS)))
	if _, err := template.ParseTopic(c.To, c.From); err != nil && c.From != "" {
		m.Fail("to", err.Error(), "")
	}
	if strings.HasPrefix(c.To, "$") {
		m.Fail("to", fmt.Sprintf("%q: commands never go to a topic that begins with $", c.To), "shadows are synced by uplinks[].shadows")
	}
	u.Commands = append(u.Commands, c)
}

// schemes are the forms of an endpoint.
var schemes = []Endpoint{
	{Scheme: "tls", Port: 8883, TLS: true},
	{Scheme: "tcp", Port: 1883},
	{Scheme: "ws", Port: 80, WebSocket: true},
	{Scheme: "wss", Port: 443, TLS: true, WebSocket: true},
}

// aliases are schemes of other products.
var aliases = map[string]string{"mqtt": "tcp", "mqtts": "tls", "ssl": "tls", "http": "ws", "https": "wss"}

// nodesMax is how many nodes of an upstream can be listed.
const nodesMax = 16

// endpoints reads one address, or the list of a cluster's; never empty.
func endpoints(m *tree.Map, p Profile) []Endpoint {
	const form = "host, or tcp:// tls:// ws:// wss:// host[:port], or a list of these"
	if m.Kind("endpoint") != tree.List {
		return withPorts(m, p, []Endpoint{tree.Get(m, "endpoint", form, tree.Required, parseEndpoint)})
	}
	var all []Endpoint
	for i, text := range m.Texts("endpoint", form, tree.Required) {
		e, err := parseEndpoint(text)
		switch {
		case err != nil:
			m.Fail(fmt.Sprintf("endpoint[%d]", i), err.Error(), "")
		case len(all) > 0 && e.Scheme != all[0].Scheme:
			m.Fail(fmt.Sprintf("endpoint[%d]", i), fmt.Sprintf("scheme %s beside %s: nodes of one upstream speak the same", e.Scheme, all[0].Scheme), "use one scheme, or two uplinks")
		default:
			all = append(all, e)
		}
	}
	if len(all) == 0 || len(all) > nodesMax {
		m.Fail("endpoint", fmt.Sprintf("%d nodes: want 1 to %d", len(all), nodesMax), "")
		all = append(all, Endpoint{})[:1]
	}
	return withPorts(m, p, all)
}

// withPorts gives those without a port that of `port`, or the usual one.
func withPorts(m *tree.Map, p Profile, all []Endpoint) []Endpoint {
	def := ""
	for _, s := range schemes {
		if s.Scheme == all[0].Scheme {
			def = fmt.Sprint(s.Port)
		}
	}
	port := int(m.Integer("port", def, 1, 65535))
	for i := range all {
		e := &all[i]
		switch {
		case e.Port == 0:
			e.Port = port
		case m.Has("port") && port != e.Port:
			m.Fail("port", fmt.Sprintf("port %d, but the endpoint says %d", port, e.Port), "remove one of them")
		}
		if p.Name == profile.AWSIoTCore && e.Port == 443 && e.TLS && !e.WebSocket {
			e.ALPN = "x-amzn-mqtt-ca"
		}
	}
	return all
}

// parseEndpoint reads an endpoint; Port is 0 when it has none.
func parseEndpoint(s string) (Endpoint, error) {
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		scheme, rest = "tls", s
	}
	for _, e := range schemes {
		if e.Scheme != scheme {
			continue
		}
		if e.WebSocket {
			rest = strings.TrimSuffix(rest, "/mqtt")
		}
		host, port, err := hostPort(strings.TrimSuffix(rest, "/"))
		if err != nil {
			return Endpoint{}, fmt.Errorf("%q: %w", s, err)
		}
		e.Host, e.Port = host, port
		return e, nil
	}
	if as := aliases[scheme]; as != "" {
		return Endpoint{}, fmt.Errorf("%q: write %s:// for %s://", s, as, scheme)
	}
	return Endpoint{}, fmt.Errorf("%q: scheme %q is not one of tcp, tls, ws, wss", s, scheme)
}

func hostPort(s string) (host string, port int, err error) {
	if value.ValidHost(strings.Trim(s, "[]")) {
		return strings.Trim(s, "[]"), 0, nil
	}
	b, err := value.ParseBind(s)
	if err != nil || b.Host() == "" || b.Port() == 0 {
		return "", 0, fmt.Errorf("want host or host:port")
	}
	return b.Host(), b.Port(), nil
}
