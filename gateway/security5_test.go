package gateway_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/gwtest"
)

// The acceptance list of security.md section 5, point by point. Point 1 is in
// package policy; 10 comes with operations.

// TestSecurity5_2_WhoIsPutOutStaysOutOfAResumedSession for every way in which a
// certificate loses its right. The change itself puts it out, before it is
// answered: what the log shows is the way of the last packet.
func TestSecurity5_2_WhoIsPutOutStaysOutOfAResumedSession(t *testing.T) {
	p := open(t, mutual, "", gateway.Env{})
	for name, putOut := range map[string]func(d identity){
		"deactivate": func(d identity) { p.admin("PUT", d.path()+"?newStatus=INACTIVE", nil) },
		"revoke":     func(d identity) { p.admin("PUT", d.path()+"?newStatus=REVOKED", nil) },
		"detach": func(d identity) {
			p.admin("POST", "/target-policies/all-detach", map[string]any{"target": d.ARN})
		},
		"delete": func(d identity) {
			p.admin("PUT", d.path()+"?newStatus=INACTIVE", nil)
			p.admin("DELETE", d.path()+"?forceDelete=true", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := p.device("all-"+name, allowAll)
			resumed := make(chan bool, 8)
			secure := p.secure(d.Certificate)
			secure.ClientSessionCache = tls.NewLRUClientSessionCache(4)
			secure.VerifyConnection = func(s tls.ConnectionState) error { resumed <- s.DidResume; return nil }
			options := gwtest.ClientOptions{TLS: secure}
			gwtest.Connect(t, p.addresses["mtls"], "d-"+name, options).Close()
			c := gwtest.Connect(t, p.addresses["mtls"], "d-"+name, options)
			if <-resumed || !<-resumed {
				t.Fatal("the second session was not resumed: this test would prove nothing")
			}
			putOut(d)
			answered := time.Now()
			gwtest.Eventually(t, "the live session is closed", func() bool { return !c.Connected() })
			t.Logf("closed %v after the answer", time.Since(answered).Round(time.Millisecond))
			if _, err := gwtest.Dial(t, p.addresses["mtls"], "d-"+name, options); err == nil {
				t.Error("came in again")
			}
			if !<-resumed {
				t.Error("the last attempt did not resume")
			}
		})
	}
}

// TestSecurity5_3_SilentSocketsKeepNobodyOut: no deadline ends a silent socket
// in this test, so a client that comes in proves that the oldest ones gave way.
func TestSecurity5_3_SilentSocketsKeepNobodyOut(t *testing.T) {
	address := startWith(t, t.TempDir(), "gw", "{preset: edge, connect_timeout: 1h}", "")
	before := held()
	for n := range 1100 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if n >= 1000 {
			conn.Write([]byte{0x10, 0x20, 0, 4, 'M', 'Q'})
		}
	}
	c := gwtest.Connect(t, address, "legitimate", gwtest.ClientOptions{})
	c.Publish("x", "1", 1)
	if grown := held() - before; grown > 20<<20 {
		t.Errorf("memory grew by %d bytes; at most 20 MB", grown)
	}
}

// held is what the process holds in heap and stacks.
func held() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// TestSecurity5_4_AnAnnouncedPacketTakesNoMemory before or after CONNECT.
func TestSecurity5_4_AnAnnouncedPacketTakesNoMemory(t *testing.T) {
	address := start(t, "gw", "")
	connect := []byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 1, 'x'}
	for name, sent := range map[string][]byte{
		"CONNECT": {0x10, 0xff, 0xff, 0xff, 0x7f}, "PUBLISH": append(connect, 0x30, 0xff, 0xff, 0xff, 0x7f),
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		before := held()
		if _, err := conn.Write(sent); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		for buf := make([]byte, 64); err == nil; {
			_, err = conn.Read(buf)
		}
		if timeout, is := err.(net.Error); is && timeout.Timeout() {
			t.Errorf("%s of 256 MB: the connection stays open", name)
		}
		if grown := held() - before; grown > 1<<20 {
			t.Errorf("%s of 256 MB: memory grew by %d bytes; at most 1 MB", name, grown)
		}
	}
}

// reserved are topics that nobody but the house speaks on.
var reserved = []string{
	"$aws/things/t/shadow/update/accepted", "$aws/things/t/shadow/update/rejected", "$aws/things/t/shadow/update/delta",
	"$aws/things/t/shadow/update/documents", "$aws/things/t/shadow/get/accepted", "$aws/things/t/shadow/get/rejected",
	"$aws/things/t/shadow/delete/accepted", "$aws/things/t/shadow/delete/rejected",
	"$aws/things/t/shadow/name/n/update/accepted", "$aws/things/t/shadow/name/n/update/delta", "$aws/things/t/shadow/name/n/get/accepted",
	"$aws/things/t/shadow", "$aws/things/t/shadow/other", "$aws/things/t/jobs/notify", "$aws/things/t/streams/s/data/json",
	"$aws/events/presence/connected/x", "$aws/events/presence/disconnected/x", "$aws/events/subscriptions/subscribed/x",
	"$aws/events/certificates/registered/x", "$aws/certificates/create/json/accepted", "$aws/certificates/create/cbor/rejected",
	"$aws/certificates/create-from-csr/json/accepted", "$aws/provisioning-templates/x/provision/json/accepted",
	"$aws/provisioning-templates/x/provision/cbor/rejected", "$aws/rules", "$aws", "$aws/x",
	"$SYS/broker/version", "$SYS/x", "$GW/health", "$GW/metrics/broker", "$GW/driver/d/health", "$other/x",
}

// TestSecurity5_5_ReservedTopicsCannotBeForged by a client whose policy allows
// everything: none of 10 000 messages is heard.
func TestSecurity5_5_ReservedTopicsCannotBeForged(t *testing.T) {
	p := open(t, "limits: none, "+mutual, "security: {on_denied: lenient}", gateway.Env{})
	forger := p.device("all", allowAll)
	ear := p.connect("ear", forger.Certificate)
	ear.Subscribe("$aws/#", "$SYS/#", "$GW/#", "$other/#", "#")
	c := p.connect("forger", forger.Certificate)
	for n := range 10_000 {
		c.TryPublish(reserved[n%len(reserved)], []byte("forged"), 0)
	}
	c.Publish("fence", "", 1)
	ear.Next("fence")
	for _, m := range ear.Heard() {
		if string(m.Payload) == "forged" {
			t.Fatalf("%s was delivered", m.Topic)
		}
	}
}

// TestSecurity5_6_RotationDropsNobody: 100 connections outlive a new server
// certificate, which the next handshake shows; of those that connect meanwhile,
// one after the other, each comes in by the old one or the new one.
func TestSecurity5_6_RotationDropsNobody(t *testing.T) {
	dir := t.TempDir()
	chain, key := filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	serverPair(t, 1, chain, key)
	p := open(t, mutual, fmt.Sprintf("tls: {server: {cert: %s, key: %s}}", chain, key), gateway.Env{})
	d := p.device("all", allowAll)
	secure := p.secure(d.Certificate)
	secure.InsecureSkipVerify = true // self-signed
	shown := func() int64 {
		conn, err := tls.Dial("tcp", p.addresses["mtls"], secure)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	var live []*gwtest.Client
	for n := range 100 {
		live = append(live, gwtest.Connect(t, p.addresses["mtls"], fmt.Sprint("c", n), gwtest.ClientOptions{TLS: secure}))
	}
	if got := shown(); got != 1 {
		t.Fatalf("certificate %d is served", got)
	}
	stop := p.connecting(secure)
	serverPair(t, 2, chain, key)
	gwtest.Eventually(t, "new handshakes see the new certificate", func() bool { return shown() == 2 })
	if n, err := stop(); err != nil || n == 0 {
		t.Errorf("%d came in during the rotation, then: %v", n, err)
	} else {
		t.Logf("%d came in during the rotation", n)
	}
	for n, c := range live {
		if c.Publish("x", "1", 1); !c.Connected() {
			t.Errorf("connection %d was dropped", n)
		}
	}
}

// connecting has a client connect again and again until stop, which tells how
// many times it came in and why it did not.
func (p *premises) connecting(secure *tls.Config) (stop func() (int, error)) {
	type result struct {
		n   int
		err error
	}
	end, ended := make(chan struct{}), make(chan result, 1)
	go func() {
		for r := (result{}); ; r.n++ {
			c, err := gwtest.Dial(p.t, p.addresses["mtls"], "again", gwtest.ClientOptions{TLS: secure})
			if r.err = err; err == nil {
				c.Close()
				select {
				default:
					continue
				case <-end:
				}
			}
			ended <- r
			return
		}
	}()
	return func() (int, error) {
		close(end)
		r := <-ended
		return r.n, r.err
	}
}

// serverPair writes a self-signed server certificate.
func serverPair(t *testing.T, serial int64, chain, keyFile string) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, chain, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", private)
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fresh is a board without battery clock, just booted.
type fresh struct{ clock.Clock }

func (c fresh) Now() time.Time { return time.Unix(0, 0).Add(c.Up()) }
func (fresh) Synced() bool     { return false }

// TestSecurity5_7_DevicesConnectWhileTheClockSays1970: certificates are judged by
// the time that has certainly passed. The uplink's half is in package uplink.
func TestSecurity5_7_DevicesConnectWhileTheClockSays1970(t *testing.T) {
	dir := t.TempDir()
	var d identity
	t.Run("before", func(t *testing.T) {
		p := openIn(t, dir, mutual, "", gateway.Env{})
		d = p.device("all", allowAll)
	})
	p := openIn(t, dir, mutual, "", gateway.Env{Clock: fresh{clock.NewSystem()}})
	c := p.connect("d", d.Certificate)
	c.Publish("x", "1", 1)
	young := p.device("young", allowAll)
	leaf, err := x509.ParseCertificate(young.Certificate.Certificate[0])
	if err != nil || leaf.NotBefore.Year() < 2000 {
		t.Errorf("a certificate made now is %+v, %v", leaf, err)
	}
	p.connect("young", young.Certificate)
}

// TestSecurity5_8_UnmodifiedClientsConnect on both ports, by ALPN and without.
func TestSecurity5_8_UnmodifiedClientsConnect(t *testing.T) {
	gwtest.Need(t, "openssl", "mosquitto_pub")
	p := openDoor(t)
	key := newKey(t)
	d := p.deviceWith(key, "all", allowAll)
	files := t.TempDir()
	certificate, private, ca := filepath.Join(files, "cert.pem"), filepath.Join(files, "private.key"), filepath.Join(files, "ca.pem")
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, certificate, "CERTIFICATE", d.Certificate.Certificate[0])
	writePEM(t, private, "PRIVATE KEY", der)
	if err := os.WriteFile(ca, []byte(p.rootPEM), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, way := range []struct{ port, alpn string }{{"mtls", ""}, {"mtls", "mqtt"}, {"mtls", "x-amzn-mqtt-ca"}, {"https", "x-amzn-mqtt-ca"}, {"https", "mqtt"}} {
		words := []string{"s_client", "-connect", p.addresses[way.port], "-servername", "localhost", "-verify_return_error", "-CAfile", ca, "-cert", certificate, "-key", private}
		_, port, _ := net.SplitHostPort(p.addresses[way.port])
		publish := []string{"-h", "localhost", "-p", port, "--cafile", ca, "--cert", certificate, "--key", private, "-i", "m", "-q", "1", "-t", "x", "-m", "1"}
		if way.alpn != "" {
			words, publish = append(words, "-alpn", way.alpn), append(publish, "--tls-alpn", way.alpn)
		}
		if text, err := exec.Command("openssl", words...).CombinedOutput(); err != nil || !strings.Contains(string(text), "Verify return code: 0 (ok)") {
			t.Errorf("openssl at %v: %v\n%s", way, err, text)
		}
		if text, err := exec.Command("mosquitto_pub", publish...).CombinedOutput(); err != nil {
			t.Errorf("mosquitto_pub at %v: %v\n%s", way, err, text)
		}
	}
}

// TestSecurity5_9_StrongKeysConnectAndWeakOnesAreRefused at every intake.
func TestSecurity5_9_StrongKeysConnectAndWeakOnesAreRefused(t *testing.T) {
	gwtest.Need(t, "openssl")
	p := open(t, mutual, "", gateway.Env{})
	p.device("all", allowAll)
	for name, make := range map[string]func() (crypto.Signer, error){
		"Ed25519":  func() (crypto.Signer, error) { _, key, err := ed25519.GenerateKey(rand.Reader); return key, err },
		"RSA-2048": func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
		"P-256":    func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		"P-384":    func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
		"P-521":    func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
	} {
		key, err := make()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.dial("d", p.deviceWith(key, "all", "").Certificate); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, words := range map[string][]string{
		"RSA-1024": {"-newkey", "rsa:1024", "-sha256"}, "SHA-1": {"-newkey", "rsa:2048", "-sha1"},
	} {
		made, err := exec.Command("openssl", append([]string{"req", "-x509", "-nodes", "-subj", "/CN=weak", "-keyout", os.DevNull}, words...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if status, answer := p.call("POST", "/certificate/register-no-ca", map[string]any{"certificatePem": string(made), "status": "ACTIVE"}); status != 400 {
			t.Errorf("a certificate of %s: %d %v", name, status, answer)
		}
		request, err := exec.Command("openssl", append([]string{"req", "-new", "-nodes", "-subj", "/CN=weak", "-keyout", os.DevNull}, words...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if status, answer := p.call("POST", "/certificates", map[string]any{"certificateSigningRequest": string(request)}); status != 400 {
			t.Errorf("a request of %s: %d %v", name, status, answer)
		}
	}
}
