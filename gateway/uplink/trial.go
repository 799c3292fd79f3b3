package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/tidehold/tidehold/gateway/uplink/profile"
)

// Step is one line of `tidehold uplink test` (upstream.md 1.11).
type Step struct {
	Step   string `json:"step"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	// Hint says what to do about a step that failed.
	Hint   string `json:"hint,omitempty"`
	TookMS int64  `json:"took_ms"`
}

// trialWait is how long an answer of the upstream is waited for, once connected.
const trialWait = 10 * time.Second

// expirySoon: a certificate with less left is worth a word.
const expirySoon = 14 * 24 * time.Hour

// trial tries a link step by step; the first that fails ends it.
type trial struct {
	l     *Link
	node  Endpoint
	steps []Step
	conn  net.Conn
	paho  mqtt.Client
	wire  *wire
	id    string
}

// Try connects to the upstream beside the link's own connection, and tells each
// step: names, TCP, TLS, MQTT, limits, a publish to a topic with its
// acknowledgement, the link's subscriptions; of the other nodes of a cluster,
// whether they take connections. It takes the link's client id while
// that is offline, without touching what waits for it there, and one of its own
// (with "-test") while it is online. It blocks for at most about 30 s.
func (l *Link) Try(ctx context.Context, topic string) []Step {
	t := &trial{l: l, node: l.node(), id: l.cfg.ClientID}
	if l.Status().State.Up() {
		t.id += "-test"
	}
	defer t.close()
	for _, do := range []struct {
		name string
		step func(context.Context) (detail, hint string, err error)
	}{
		{"resolve", t.resolve}, {"tcp", t.dial}, {"tls", t.handshake}, {"websocket", t.upgrade}, {"connect", t.connect}, {"limits", t.limits},
		{"publish", func(ctx context.Context) (string, string, error) { return t.publish(ctx, topic) }}, {"subscribe", t.subscribe},
	} {
		began := time.Now()
		detail, hint, err := do.step(ctx)
		if detail == "" && err == nil {
			continue // not part of this link's way
		}
		s := Step{Step: do.name, OK: err == nil, Detail: detail, Hint: hint, TookMS: time.Since(began).Milliseconds()}
		if err != nil {
			s.Detail = strings.TrimSpace(detail + " " + err.Error())
		}
		if t.steps = append(t.steps, s); err != nil {
			break
		}
	}
	for _, node := range append([]Endpoint{l.cfg.Endpoint}, l.cfg.Others...) {
		if node != t.node {
			t.steps = append(t.steps, l.knock(ctx, node))
		}
	}
	return t.steps
}

// knock looks whether another node of the upstream takes connections.
func (l *Link) knock(ctx context.Context, node Endpoint) Step {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, l.profile.ConnectTimeout)
	defer cancel()
	s := Step{Step: "other node", OK: true, Detail: node.String()}
	conn, err := l.dial(ctx, node, func() {})
	if err != nil {
		s.OK, s.Detail, s.Hint = false, err.Error(), "the link works without this node; it is tried when another is lost"
	} else {
		conn.Close()
	}
	s.TookMS = time.Since(began).Milliseconds()
	return s
}

func (t *trial) close() {
	if t.paho != nil {
		t.paho.Disconnect(uint(quiesce.Milliseconds()))
	}
	if t.conn != nil {
		t.conn.Close()
	}
}

func (t *trial) resolve(ctx context.Context) (string, string, error) {
	host := t.node.Host
	if t.l.cfg.Proxy.IsSet() {
		return fmt.Sprintf("%s is resolved by the proxy %s", host, t.l.cfg.Proxy), "", nil
	}
	if t.l.cfg.Dial != nil || net.ParseIP(host) != nil {
		return host, "", nil
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return "", "check the name, the network, and the DNS servers of this host (resolvectl status)", err
	}
	return host + " is " + strings.Join(addresses, ", "), "", nil
}

func (t *trial) dial(ctx context.Context) (detail, hint string, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.l.profile.ConnectTimeout)
	defer cancel()
	if t.conn, err = t.l.opener(func() {})(ctx, "tcp", t.node.Address()); err != nil {
		hint = "a firewall, or nobody listens there: check host and port; behind a proxy set uplinks[].proxy"
		if t.l.cfg.Proxy.IsSet() {
			hint = "check uplinks[].proxy, its credentials, and whether the proxy may reach the upstream's port"
		}
		return "", hint, err
	}
	return fmt.Sprintf("%s from %s", t.conn.RemoteAddr(), t.conn.LocalAddr()), "", nil
}

func (t *trial) handshake(ctx context.Context) (string, string, error) {
	c := t.l.tlsConfig(t.node)
	if c == nil {
		return "", "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.l.profile.ConnectTimeout)
	defer cancel()
	secure := tls.Client(t.conn, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		detail, hint := t.refusedTLS(err)
		return detail, hint, err
	}
	t.conn = secure
	state := secure.ConnectionState()
	protocol := state.NegotiatedProtocol
	if protocol == "" {
		protocol = "none"
	}
	detail := fmt.Sprintf("%s, ALPN %s, %s", tls.VersionName(state.Version), protocol, chain(state.PeerCertificates))
	hint := ""
	if left := state.PeerCertificates[0].NotAfter.Sub(t.l.clk.Now()); left < expirySoon {
		hint = fmt.Sprintf("the upstream's certificate ends in %.0f hours", left.Hours())
	}
	return detail, hint, nil
}

// refusedTLS shows the certificate that was not taken.
func (t *trial) refusedTLS(err error) (detail, hint string) {
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) {
		detail = chain(unverified.UnverifiedCertificates) + ":"
	}
	var unknown x509.UnknownAuthorityError
	var wrongName x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		hint = "set uplinks[].ca to the certificate authority of the upstream"
	case errors.As(err, &wrongName):
		hint = "use the name in the certificate as the endpoint"
	case certificateTime(err) && !t.l.clk.Synced():
		hint = "the clock of this gateway is not synchronised; the link waits for it"
	case certificateTime(err):
		hint = "the upstream must renew its certificate"
	case tlsRefused(err):
		hint = "the upstream refuses us: check uplinks[].cert and key, and that the certificate is active there"
	default:
		hint = "is that a TLS port? tcp:// and ws:// have none"
	}
	return detail, hint
}

// chain names the certificates a server sent.
func chain(certs []*x509.Certificate) string {
	if len(certs) == 0 {
		return "no certificate"
	}
	c := certs[0]
	names := strings.Join(append(c.DNSNames, texts(c.IPAddresses)...), " ")
	if names == "" {
		names = c.Subject.CommonName
	}
	return fmt.Sprintf("certificate for %s, by %s, valid %s to %s", names, c.Issuer.CommonName, c.NotBefore.UTC().Format(time.DateOnly), c.NotAfter.UTC().Format(time.DateOnly))
}

func texts(ips []net.IP) (all []string) {
	for _, ip := range ips {
		all = append(all, ip.String())
	}
	return all
}

func (t *trial) upgrade(ctx context.Context) (string, string, error) {
	e := t.node
	if e.Scheme != "ws" && e.Scheme != "wss" {
		return "", "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.l.profile.ConnectTimeout)
	defer cancel()
	conn, err := upgrade(ctx, e, t.conn)
	if err != nil {
		return "", "check the path in uplinks[].endpoint; the upstream must speak MQTT over WebSocket there", err
	}
	t.conn = conn
	return e.Path + ", subprotocol mqtt", "", nil
}

func (t *trial) connect(ctx context.Context) (string, string, error) {
	ctx, cancel := context.WithTimeout(ctx, t.l.profile.ConnectTimeout)
	defer cancel()
	t.wire = newWire(t.conn)
	e := &epoch{link: t.l, node: t.node, wire: t.wire, in: newWindow()}
	o := e.options(ctx)
	o.SetClientID(t.id).SetCleanSession(t.id != t.l.cfg.ClientID)
	o.SetDefaultPublishHandler(func(mqtt.Client, mqtt.Message) {}) // not acknowledged: it comes again to the link
	present, err := e.connectWith(ctx, o)
	if err != nil {
		return fmt.Sprintf("as %q:", t.id), t.refusedConnect(err), err
	}
	t.paho = e.client
	session := "a new session"
	if present {
		session = "the session was kept there"
	}
	return fmt.Sprintf("accepted as %q, %s", t.id, session), "", nil
}

func (t *trial) refusedConnect(err error) string {
	var refused *refusedError
	errors.As(err, &refused)
	switch {
	case t.id != t.l.cfg.ClientID && (refused == nil || refused.code != 4):
		return fmt.Sprintf("perhaps only the client id %q is allowed: `tidehold uplink cut %s`, test again, restore", t.l.cfg.ClientID, t.l.cfg.Name)
	case refused == nil:
		return "the upstream closed without an answer: client id and policy, or no MQTT on that port"
	case refused.code == 4:
		return "check uplinks[].username and password"
	case refused.code == 3:
		return "the upstream is there and not ready; try again later"
	}
	return "check what the upstream's policy allows to this client id"
}

func (t *trial) limits(context.Context) (string, string, error) {
	p := t.l.profile
	limit := func(n int, unit string) string {
		if n == 0 {
			return "any " + unit
		}
		return fmt.Sprintf("%d %s", n, unit)
	}
	return fmt.Sprintf("profile %s: payload %s, topic %s and %s, %s, keep alive %v", p.Name, limit(p.MaxPayload, "bytes"), limit(p.MaxTopicBytes, "bytes"),
		limit(p.MaxTopicLevels, "levels"), limit(p.MaxSubscriptions, "subscriptions"), t.l.cfg.KeepAlive), "", nil
}

func (t *trial) publish(ctx context.Context, topic string) (string, string, error) {
	const hint = "the upstream's policy must allow publishing to that topic"
	began := time.Now()
	body := fmt.Sprintf(`{"test":%q}`, t.l.cfg.Name)
	if err := t.l.profile.Check(topic, len(body)); err != nil {
		return "", "choose another topic", err
	}
	if err := t.await(ctx, t.paho.Publish(topic, 1, false, body)); err != nil {
		return topic + ":", hint, err
	}
	return fmt.Sprintf("%s was acknowledged after %v", topic, time.Since(began).Round(10*time.Microsecond)), "", nil
}

func (t *trial) subscribe(ctx context.Context) (string, string, error) {
	t.l.mu.Lock()
	subs := append([]subscription(nil), t.l.subs...)
	t.l.mu.Unlock()
	if len(subs) == 0 {
		return "nothing to subscribe to: no commands and no shadows come down", "", nil
	}
	var granted []string
	for _, s := range subs {
		token := t.paho.Subscribe(s.filter, s.qos, nil)
		if err := t.await(ctx, token); err != nil {
			return s.filter + ":", "the upstream's policy must allow subscribing to and receiving from that filter", err
		}
		if code := token.(*mqtt.SubscribeToken).Result()[s.filter]; code > 2 {
			return s.filter + ":", "the upstream's policy must allow subscribing to that filter", errors.New("refused")
		}
		granted = append(granted, s.filter)
	}
	return "granted: " + strings.Join(granted, " "), "", nil
}

// await waits for a token, the end of the connection, or too long.
func (t *trial) await(ctx context.Context, token mqtt.Token) error {
	timer := time.NewTimer(trialWait)
	defer timer.Stop()
	select {
	case <-token.Done():
		return token.Error()
	case <-t.wire.dead:
		return fmt.Errorf("the upstream closed the connection: %w", t.wire.why)
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("no answer within %v", trialWait)
	}
}

// needsALPN reports whether the way is AWS IoT Core's on port 443.
func (l *Link) needsALPN(e Endpoint) bool {
	return l.profile.Name == profile.AWSIoTCore && e.Scheme == "tls" && e.Port == 443
}
