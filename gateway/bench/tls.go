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
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

// tls measures handshakes with the server's P-256 certificate, each followed
// by CONNECT and DISCONNECT. Without a certificate of the client: a gateway
// asks for one only on listeners of its own authority.
func (b *bench) tls(ctx context.Context) (err error) {
	if b.cfg.Against != "" {
		return nil // its certificate is unknown
	}
	cert, key, pool, err := b.certificate()
	if err != nil {
		return err
	}
	subject, err := b.subject(ctx, setup{
		listener: ", tls: true", yaml: fmt.Sprintf("tls: {server: {cert: %q, key: %q}}\n", cert, "file:"+key),
	})
	if err != nil {
		return err
	}
	targets := []*target{subject}
	defer func() {
		for _, t := range targets {
			err = errors.Join(err, t.stop(false))
		}
	}()
	if b.mosquitto != "" {
		peer, err := b.peer(ctx, fmt.Sprintf("certfile %s\nkeyfile %s\n%s", cert, key, peerPrompt))
		if err != nil {
			return err
		}
		targets = append(targets, peer)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, resume := range []bool{false, true} {
			client := &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: version, MaxVersion: version}
			kind := "full"
			if resume {
				kind = "resumed"
			}
			if _, err := b.compare(ctx, fmt.Sprintf("%s/%s", tls.VersionName(version), kind), targets, nil, func(t *target) (Figures, error) {
				one := client.Clone()
				if resume {
					one.ClientSessionCache = tls.NewLRUClientSessionCache(8)
				}
				return b.handshakes(ctx, t, one)
			}); err != nil {
				return err
			}
		}
	}
	return nil
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

// certificate makes a self-signed certificate for localhost and writes it.
func (b *bench) certificate() (cert, key string, pool *x509.CertPool, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return "", "", nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return "", "", nil, err
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	cert, key = filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	return cert, key, pool, errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}
