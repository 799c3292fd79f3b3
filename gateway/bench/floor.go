package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
)

// Floor is the least that a server in Go can do: handshake, one read, a CONNACK,
// and the end. What a gateway needs beyond it is its own doing, and what a
// Mosquitto needs less than it is that of OpenSSL.
type Floor struct {
	Bind      string
	Cert, Key string // files of the server
	CA        string // file of the authority that clients must show a certificate of; empty wants none
}

// Serve answers until ctx ends, and waits for its connections.
func (f Floor) Serve(ctx context.Context) error {
	cfg, err := f.config()
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	l, err := tls.Listen("tcp", f.Bind, cfg)
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		serving.Go(func() { answer(c) })
	}
}

func (f Floor) config() (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
	if f.CA == "" {
		return cfg, nil
	}
	text, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, err
	}
	cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", f.CA)
	}
	return cfg, nil
}

// answer takes a CONNECT, which comes in one record, and waits for the end.
func answer(c net.Conn) {
	defer c.Close()
	var packet [512]byte
	if _, err := c.Read(packet[:]); err != nil {
		return
	}
	if _, err := c.Write([]byte{0x20, 2, 0, 0}); err != nil {
		return
	}
	for {
		if _, err := c.Read(packet[:]); err != nil {
			return
		}
	}
}
