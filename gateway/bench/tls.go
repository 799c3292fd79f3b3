package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

// way is a kind of handshake: with or without a certificate of the client.
type way struct {
	name   string
	mutual bool
}

// papers are the certificates of one way: files for the servers, and what the
// client shows to the gateway and to all others.
type papers struct {
	cert, key, ca string // ca is empty when the client shows nothing
	pool          *x509.CertPool
	toSubject     []tls.Certificate
	toOthers      []tls.Certificate
}

// curve is what every handshake here agrees on. What a client offers decides:
// Go offers a post-quantum exchange that the gateway takes and an older OpenSSL
// does not know, so that two different things would be compared.
const curve = tls.CurveP256

// client is the configuration of a client that shows what it shows to others.
func (p *papers) client(version uint16) *tls.Config {
	return &tls.Config{RootCAs: p.pool, ServerName: "localhost", MinVersion: version, MaxVersion: version,
		CurvePreferences: []tls.CurveID{curve}, Certificates: p.toOthers}
}

// tls measures handshakes with P-256 certificates, each followed by CONNECT and
// DISCONNECT, beside a Mosquitto and beside the least that Go can do.
func (b *bench) tls(ctx context.Context) error {
	if b.cfg.Against != "" {
		return nil // its certificate is unknown
	}
	for _, w := range []way{{"server", false}, {"mutual", true}} {
		if w.mutual && b.cfg.Self == "" {
			continue // nobody can be enrolled without the command line
		}
		if err := b.handshakesOf(ctx, w); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

func (b *bench) handshakesOf(ctx context.Context, w way) (err error) {
	p, err := b.papers(w)
	if err != nil {
		return err
	}
	targets, err := b.tlsTargets(ctx, w, p)
	defer func() {
		for _, t := range targets {
			err = errors.Join(err, t.stop(false))
		}
	}()
	if err != nil {
		return err
	}
	if w.mutual {
		if err := b.enrol(ctx, targets[0], p); err != nil {
			return err
		}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, resume := range []bool{false, true} {
			if err := b.compareHandshakes(ctx, w, p, targets, version, resume); err != nil {
				return err
			}
		}
	}
	return nil
}

// compareHandshakes measures the gateway beside each of the others.
func (b *bench) compareHandshakes(ctx context.Context, w way, p *papers, targets []*target, version uint16, resume bool) error {
	kind := "full"
	if resume {
		kind = "resumed"
	}
	var bars []bar
	if w.mutual && !resume {
		bars = []bar{most(cpu, .7).ofPeer()}
	}
	measure := func(t *target) (Figures, error) {
		client := p.client(version)
		if t == targets[0] {
			client.Certificates = p.toSubject
		}
		if resume {
			client.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		}
		return b.handshakes(ctx, t, client)
	}
	for _, other := range targets[1:] {
		cell := fmt.Sprintf("%s/%s/%s", w.name, tls.VersionName(version), kind)
		if other.name == floorName {
			cell, bars = "least/"+cell, nil
		}
		if _, err := b.compare(ctx, cell, []*target{targets[0], other}, bars, measure); err != nil {
			return err
		}
	}
	if len(targets) == 1 {
		_, err := b.alone(ctx, fmt.Sprintf("%s/%s/%s", w.name, tls.VersionName(version), kind), targets[0], nil, measure)
		return err
	}
	return nil
}

// floorName is the least that Go can do, in the output.
const floorName = "least"

// tlsSetup is what the gateway and a Mosquitto are configured with.
func tlsSetup(w way, p *papers) (s setup, peer string) {
	s = setup{listener: ", tls: true", yaml: fmt.Sprintf("tls: {server: {cert: %q, key: %q}}\n", p.cert, "file:"+p.key)}
	peer = fmt.Sprintf("certfile %s\nkeyfile %s\n%s", p.cert, p.key, peerPrompt)
	if w.mutual {
		s.auth = "certificate"
		s.yaml += `security: {policies: [{name: bench, document: {Version: "2012-10-17", Statement: [{Effect: Allow, Action: "iot:*", Resource: "*"}]}}]}` + "\n"
		peer += fmt.Sprintf("cafile %s\nrequire_certificate true\n", p.ca)
	}
	return s, peer
}

// tlsTargets starts the gateway, a Mosquitto when there is one, and the least
// server when there is a program for it.
func (b *bench) tlsTargets(ctx context.Context, w way, p *papers) (all []*target, err error) {
	s, peer := tlsSetup(w, p)
	add := func(t *target, err error) error {
		if err == nil {
			all = append(all, t)
		}
		return err
	}
	if err := add(b.subject(ctx, s)); err != nil {
		return all, err
	}
	if b.mosquitto != "" {
		if err := add(b.peer(ctx, peer)); err != nil {
			return all, err
		}
	}
	if b.cfg.Self == "" {
		return all, nil
	}
	address, err := freeAddress()
	if err != nil {
		return all, err
	}
	return all, add(spawn(ctx, floorName, address, b.cfg.Self, "bench", "subject", "--bind", address,
		"--cert", p.cert, "--key", p.key, "--ca", p.ca))
}

// enrol has the gateway make a certificate for the client, with a P-256 key.
func (b *bench) enrol(ctx context.Context, subject *target, p *papers) error {
	out := filepath.Join(b.dir, b.next("thing"))
	cmd := exec.CommandContext(ctx, b.cfg.Self, "thing", "create", "bench", "--policy", "bench", "--key", "p256", "--out", out, "--socket", subject.socket)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("enrol a client: %w: %s", err, said)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(out, "cert.pem"), filepath.Join(out, "private.key"))
	p.toSubject = []tls.Certificate{pair}
	return err
}

// handshakers connect at the same time.
const handshakers = 4

func (b *bench) handshakes(ctx context.Context, t *target, client *tls.Config) (Figures, error) {
	prefix, m := b.next("tls"), meter{t: t}
	var n, short atomic.Int64
	start := time.Now()
	m.begin()
	err := load.Each(handshakers, func(i int) error {
		for time.Since(start) < b.cfg.Duration && ctx.Err() == nil {
			c, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: fmt.Sprintf("%s-%d-%d", prefix, i, n.Add(1)), TLS: client})
			if err != nil {
				return err
			}
			if c.Shortened() {
				short.Add(1)
			}
			c.Close()
		}
		return nil
	})
	m.end()
	done := float64(n.Load())
	f := Figures{rate: done / time.Since(start).Seconds()}
	if done > 0 {
		f["resumed"] = float64(short.Load()) / done
	}
	if m.known && done > 0 {
		f[cpu] = float64(m.used.Nanoseconds()) / 1e3 / done
	}
	return f, err
}

// papers makes a self-signed certificate for localhost and writes it. With a
// client's it is the authority of that too.
func (b *bench) papers(w way) (*papers, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, err
	}
	p := &papers{pool: x509.NewCertPool(), cert: filepath.Join(b.dir, w.name+"-cert.pem"), key: filepath.Join(b.dir, w.name+"-key.pem")}
	own, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	p.pool.AddCert(own)
	if w.mutual {
		p.ca = p.cert
		p.toOthers, err = clientOf(own, private)
		if err != nil {
			return nil, err
		}
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	return p, errors.Join(
		os.WriteFile(p.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(p.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}

// clientOf makes a client's certificate of an authority.
func clientOf(ca *x509.Certificate, signer *ecdsa.PrivateKey) ([]tls.Certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "client"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &private.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	return []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, nil
}
