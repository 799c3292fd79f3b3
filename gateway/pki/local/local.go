// Package local keeps the gateway's own authority on disk, and the server
// certificate of now: with all current names and addresses, renewed offline and
// swapped without dropping a connection (security.md 2.2, 2.4, 2.6).
//
// What it promises:
//
//   - The authority is made once, at the first start, as a whole or not at all;
//     keys are readable by their owner alone. A damaged folder is an error that
//     names the file; nothing is ever made anew over it.
//   - Handshakes get the newest server certificate; running connections stay.
//   - Every handshake, a resumed one too, asks Admit about the client's
//     certificate.
//   - A clock that starts in the past is not believed: Floor.
//
// Open reads and writes files and starts nothing; Run checks every 5 s. All
// methods may be called from any goroutine.
package local

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/pki"
)

const (
	// checkEvery is how often names and ages are looked at.
	checkEvery = 5 * time.Second // field-lessons.md FL-106
	// stampEvery is how often the time is written down.
	stampEvery = time.Hour
	// admitWait is how long Admit may take in a handshake.
	admitWait = 10 * time.Second

	serverChain = "server.pem"
	serverKey   = "server.key"
	timeStamp   = "floor"
	syncStamp   = "/var/lib/systemd/timesync/clock"
)

// Config is what a Keeper works with.
type Config struct {
	// Dir is made when missing; only its files are touched.
	Dir string
	// Gateway is part of the names of the CAs.
	Gateway string
	// Names gives the names and addresses of now: SystemNames.
	Names func() pki.Names
	// Custom gives a certificate and key in PEM to serve before our own; nil, or
	// an empty certificate, is none. A bad pair keeps the one before. Ours is still
	// shown to a client that asks for a name only ours has.
	Custom func() (chain, key []byte, err error)
	// RequireSNI refuses clients that name no server, as AWS does.
	RequireSNI bool
	// Built is when the program was built: no clock is believed below it.
	Built time.Time
}

// Keeper holds the authority and the server certificate.
type Keeper struct {
	cfg       Config
	clock     clock.Clock
	ids       *ids.Source
	log       *slog.Logger
	floor     time.Time
	authority atomic.Pointer[pki.Authority]
	server    atomic.Pointer[pki.Server]
	own       atomic.Pointer[tls.Certificate] // server, as handshakes need it
	custom    atomic.Pointer[tls.Certificate] // nil while there is none
	seen      atomic.Pointer[pki.Moment]      // of the last look at the clock
	read      []byte                          // custom, as it was read
	renewals  *metrics.Counter
	failures  *metrics.Counter
}

// Open reads the authority, or makes it at the first start, and sees to a server
// certificate.
func Open(cfg Config, clk clock.Clock, src *ids.Source, m *metrics.Registry, log *slog.Logger) (*Keeper, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{
		cfg: cfg, clock: clk, ids: src, log: log,
		renewals: m.Counter("tls_server_renewals_total", "Server certificates that were put in place."),
		failures: m.Counter("tls_server_renewal_failures_total", "Server certificates that could not be made or read; the one before is served."),
	}
	k.floor = newest(cfg.Built, filepath.Join(cfg.Dir, timeStamp), filepath.Join(cfg.Dir, serverChain), filepath.Join(cfg.Dir, pki.RootCertificate), syncStamp)
	m.GaugeFunc("clock_state", "Trust in the wall clock for certificates: 2 synchronised, 1 not below the floor, 0 below it.", k.clockState)
	a, err := k.loadOrMake()
	if err != nil {
		return nil, err
	}
	k.authority.Store(a)
	if err := k.loadServer(); err != nil {
		log.Warn("the saved server certificate cannot be used; a new one is made", "err", err)
	}
	return k, k.Refresh()
}

// newest is the latest of a time and the times of files.
func newest(t time.Time, paths ...string) time.Time {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(t) {
			t = info.ModTime()
		}
	}
	return t
}

func (k *Keeper) clockState() float64 {
	switch m := k.Moment(); {
	case m.Synced:
		return 2
	case !m.Now.Before(m.Floor):
		return 1
	}
	return 0
}

// Floor is a time that has certainly passed: of the build, of our files, or of
// the last synchronisation.
func (k *Keeper) Floor() time.Time { return k.floor }

// Moment is what is known about the time.
func (k *Keeper) Moment() pki.Moment {
	return pki.Moment{Now: k.clock.Now(), Floor: k.floor, Synced: k.clock.Synced()}
}

// lookAtClock is how often handshakes, which ask for the time again and again,
// look whether the clock can be trusted: that takes two system calls.
const lookAtClock = time.Second

// handshakeTime is Moment's time for handshakes.
func (k *Keeper) handshakeTime() time.Time {
	m := pki.Moment{Now: k.clock.Now(), Floor: k.floor}
	seen := k.seen.Load()
	if seen == nil || m.Now.Sub(seen.Now).Abs() > lookAtClock {
		now := k.Moment()
		k.seen.Store(&now)
		seen = &now
	}
	m.Synced = seen.Synced
	return m.Time()
}

// Authority makes certificates. Its issuers are renewed after two thirds of
// their five years: ask again each time.
func (k *Keeper) Authority() *pki.Authority { return k.authority.Load() }

// RootPEM is what clients must trust: `ca.pem`.
func (k *Keeper) RootPEM() []byte { return pki.EncodeCertificate(k.Authority().Root()) }

func (k *Keeper) path(name string) string { return filepath.Join(k.cfg.Dir, name) }

// loadOrMake reads the authority. It is made only when none of its files exists.
func (k *Keeper) loadOrMake() (*pki.Authority, error) {
	files, missing := make(map[string][]byte), 0
	for _, name := range pki.Files() {
		text, err := os.ReadFile(k.path(name))
		if errors.Is(err, fs.ErrNotExist) {
			missing++
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("authority: %w", err)
		}
		files[name] = text
	}
	if missing == len(pki.Files()) {
		return k.makeAuthority()
	}
	a, err := pki.LoadAuthority(files)
	if err != nil {
		return nil, fmt.Errorf("authority in %s: %w; restore the folder from a backup, or move it away and enrol all clients again", k.cfg.Dir, err)
	}
	return a, nil
}

func (k *Keeper) makeAuthority() (*pki.Authority, error) {
	a, err := pki.NewAuthority(k.cfg.Gateway, k.Moment(), k.ids)
	if err != nil {
		return nil, err
	}
	k.log.Info("a certificate authority was made", "path", k.cfg.Dir)
	return a, k.saveAuthority(a)
}

// saveAuthority writes all files under other names first: a power cut leaves no
// half authority behind under the real ones but at the very renames, and then
// the next start says which file is missing.
func (k *Keeper) saveAuthority(a *pki.Authority) error {
	files, err := a.Encode()
	if err != nil {
		return err
	}
	return k.save(files)
}

// save replaces files: keys for the owner alone.
func (k *Keeper) save(files map[string][]byte) error {
	if err := os.MkdirAll(k.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the authority: %w", err)
	}
	for name, text := range files {
		mode := os.FileMode(0o644)
		if filepath.Ext(name) == ".key" {
			mode = 0o600
		}
		if err := writeSynced(k.path(name+".new"), text, mode); err != nil {
			return fmt.Errorf("save %s: %w", name, err)
		}
	}
	for name := range files {
		if err := os.Rename(k.path(name+".new"), k.path(name)); err != nil {
			return fmt.Errorf("save %s: %w", name, err)
		}
	}
	return syncDir(k.cfg.Dir)
}

func writeSynced(path string, text []byte, mode os.FileMode) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// loadServer takes the server certificate of the last run when the authority
// still vouches for it.
func (k *Keeper) loadServer() error {
	text, err := os.ReadFile(k.path(serverChain))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	key, err2 := os.ReadFile(k.path(serverKey))
	if err = errors.Join(err, err2); err != nil {
		return err
	}
	chain, err := pki.ParseChain(text)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(text, key)
	if err != nil {
		return err
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return fmt.Errorf("key of type %T", pair.PrivateKey)
	}
	if err := pki.VerifyChain(chain[0], k.Authority().Root(), chain[1:], k.Moment()); err != nil {
		return err
	}
	k.server.Store(&pki.Server{Chain: chain, Key: signer})
	k.own.Store(&pair)
	return nil
}

// Refresh puts a new certificate in place when the names have changed, the old
// one is worn, or the custom pair is another. A failure keeps the old one.
func (k *Keeper) Refresh() error {
	err := errors.Join(k.takeCustom(), k.renew())
	if err != nil {
		k.failures.Inc()
	}
	return err
}

// renew sees to our own certificates.
func (k *Keeper) renew() error {
	a, changed, err := k.Authority().Renewed(k.cfg.Gateway, k.Moment(), k.ids)
	if err != nil {
		return err
	}
	if changed {
		if err := k.saveAuthority(a); err != nil {
			return err
		}
		k.authority.Store(a)
	}
	names, server := k.cfg.Names(), k.server.Load()
	reason := "there is none"
	if server != nil {
		reason = server.Due(names, k.Moment())
	}
	if reason == "" {
		return nil
	}
	return k.makeServer(names, reason)
}

func (k *Keeper) makeServer(names pki.Names, reason string) error {
	server, err := k.Authority().CreateServer(names, k.Moment(), k.ids)
	if err != nil {
		return err
	}
	chain, key, err := pki.EncodeServer(server)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return fmt.Errorf("server certificate: %w", err)
	}
	k.server.Store(server)
	k.own.Store(&pair)
	k.renewals.Inc()
	k.log.Info("a server certificate was made", "reason", reason, "until", server.Chain[0].NotAfter)
	return k.save(map[string][]byte{serverChain: chain, serverKey: key})
}

// takeCustom serves the configured pair, if there is one.
func (k *Keeper) takeCustom() error {
	if k.cfg.Custom == nil {
		return nil
	}
	chain, key, err := k.cfg.Custom()
	if err != nil {
		return fmt.Errorf("tls.server.cert: %w", err)
	}
	both := bytes.Join([][]byte{chain, key}, nil)
	if len(chain) == 0 || bytes.Equal(both, k.read) {
		return nil
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return fmt.Errorf("tls.server: %w", err)
	}
	k.read = both
	k.custom.Store(&pair)
	k.renewals.Inc()
	return nil
}

// Run looks after names and ages, and writes the time down, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ticker.C:
			if err := k.Refresh(); err != nil {
				k.log.Error("the server certificate could not be renewed; the old one is served", "err", err)
			}
			if n%int(stampEvery/checkEvery) == 0 {
				k.stamp()
			}
		case <-ctx.Done():
			k.stamp()
			return nil
		}
	}
}

// stamp writes down that this time has passed, once the clock is to be trusted.
func (k *Keeper) stamp() {
	if !k.clock.Synced() {
		return
	}
	if err := os.WriteFile(k.path(timeStamp), nil, 0o644); err != nil {
		k.log.Warn("the time could not be written down", "err", err)
		return
	}
	now := k.clock.Now()
	if err := os.Chtimes(k.path(timeStamp), now, now); err != nil {
		k.log.Warn("the time could not be written down", "err", err)
	}
}

// Listener says what a TLS listener offers.
type Listener struct {
	// Protocols are the names of ALPN; a client may also offer none.
	Protocols []string
	// Admit is asked in every handshake, resumed ones too, about the client: its
	// certificates and the name it asks for; nil wants no client certificate.
	Admit func(ctx context.Context, state tls.ConnectionState) error
}

// TLS is the configuration of a listener: TLS 1.2 and 1.3, session tickets with
// keys that rotate daily (crypto/tls), the server certificate of now.
func (k *Keeper) TLS(l Listener) *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: l.Protocols, Time: k.handshakeTime, GetCertificate: k.choose,
	}
	if l.Admit == nil {
		return cfg
	}
	cfg.ClientAuth = tls.RequireAnyClientCert
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		ctx, cancel := context.WithTimeout(context.Background(), admitWait)
		defer cancel()
		return l.Admit(ctx, state)
	}
	return cfg
}

// errNoSNI ends a handshake without a server name where one is required.
var errNoSNI = errors.New("the client names no server (SNI); tls.require_sni wants it")

// choose is the certificate for the name that a client asks for: the custom one,
// which is also the default, unless only ours has that name.
func (k *Keeper) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.ServerName == "" && k.cfg.RequireSNI {
		return nil, errNoSNI
	}
	custom, own := k.custom.Load(), k.own.Load()
	if custom == nil || hello.ServerName != "" && custom.Leaf.VerifyHostname(hello.ServerName) != nil && own.Leaf.VerifyHostname(hello.ServerName) == nil {
		return own, nil
	}
	return custom, nil
}
