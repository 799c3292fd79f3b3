package local

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/pki"
)

// world is what a keeper sees of the host.
type world struct {
	clock.Fixed

	mu    sync.Mutex
	names pki.Names
}

// Names are those the host has now.
func (w *world) Names() pki.Names {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.names
}

// rename gives the host other names.
func (w *world) rename(dns ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names.DNS = dns
}

func open(t testing.TB, dir string, w *world) *Keeper {
	t.Helper()
	k, err := Open(Config{Dir: dir, Gateway: "gw", Names: w.Names}, w, ids.New(rand.Reader), metrics.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func today() *world {
	return &world{Fixed: clock.Fixed{Wall: time.Now()}, names: pki.Names{DNS: []string{"gw.local"}}}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpen_MakesTheAuthorityOnceWithPrivateKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	k := open(t, dir, today())
	for _, name := range append(pki.Files(), serverKey) {
		info, err := os.Stat(filepath.Join(dir, name))
		ok(t, err)
		if strings.HasSuffix(name, ".key") && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	again := open(t, dir, today())
	if string(again.RootPEM()) != string(k.RootPEM()) || string(again.own.Load().Certificate[0]) != string(k.own.Load().Certificate[0]) {
		t.Error("the second start made another authority or server certificate")
	}
	ok(t, os.Remove(filepath.Join(dir, pki.RootKey)))
	if _, err := Open(k.cfg, today(), ids.New(rand.Reader), metrics.New(), nil); err == nil || !strings.Contains(err.Error(), pki.RootKey) {
		t.Errorf("without %s: %v", pki.RootKey, err)
	}
}

func TestFloor_AClockOf1970IsNotBelieved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	k := open(t, dir, today())
	k.stamp()
	w := &world{Fixed: clock.Fixed{Wall: time.Unix(0, 0), Unsynched: true}, names: pki.Names{DNS: []string{"gw.local"}}}
	k = open(t, dir, w)
	if since := time.Since(k.Moment().Time()); since > time.Minute || since < -time.Minute {
		t.Errorf("the time is %v", k.Moment().Time())
	}
	w.rename("gw.local", "new.local")
	ok(t, k.Refresh())
	if leaf := k.server.Load().Chain[0]; leaf.NotBefore.Before(time.Now().Add(-2*time.Hour)) || leaf.NotAfter.Before(time.Now()) {
		t.Errorf("made from %v to %v", leaf.NotBefore, leaf.NotAfter)
	}
}

// server echoes on a TLS listener.
func server(t testing.TB, cfg *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	ok(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	return l.Addr().String()
}

// echo sends a byte and waits for it.
func echo(c net.Conn) error {
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

func (k *Keeper) client(certificates ...tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(k.Authority().Root())
	return &tls.Config{RootCAs: roots, ServerName: "gw.local", Certificates: certificates, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
}

func dial(address string, cfg *tls.Config) (*tls.Conn, error) {
	c, err := tls.Dial("tcp", address, cfg)
	if err != nil {
		return nil, err
	}
	return c, echo(c)
}

func selfSigned(t testing.TB, key crypto.Signer) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dev"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ok(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLS_AResumedSessionOfARevokedCertificateIsRefused(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		k := open(t, t.TempDir(), today())
		var revoked atomic.Bool
		admit := func(_ context.Context, state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 || revoked.Load() {
				return iot.Errorf(iot.Unauthorized, "revoked")
			}
			return nil
		}
		address := server(t, k.TLS(Listener{Protocols: []string{"mqtt", "x-amzn-mqtt-ca"}, Admit: admit}))
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ok(t, err)
		cfg := k.client(selfSigned(t, key))
		cfg.MaxVersion = version
		for i := range 2 {
			c, err := dial(address, cfg)
			ok(t, err)
			if resumed := c.ConnectionState().DidResume; resumed != (i == 1) {
				t.Errorf("TLS %x, connection %d: resumed %v", version, i, resumed)
			}
			c.Close()
		}
		revoked.Store(true)
		if _, err := dial(address, cfg); err == nil {
			t.Errorf("TLS %x: a revoked client came back", version)
		}
	}
}

func TestTLS_TheServerCertificateIsSwappedUnderLiveConnections(t *testing.T) {
	w := today()
	k := open(t, t.TempDir(), w)
	address := server(t, k.TLS(Listener{}))
	var live []*tls.Conn
	for range 100 {
		c, err := dial(address, k.client())
		ok(t, err)
		live = append(live, c)
	}
	before := live[0].ConnectionState().PeerCertificates[0].SerialNumber
	w.rename("gw.local", "other.local")
	ok(t, k.Refresh())
	for i, c := range live {
		if err := echo(c); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		c.Close()
	}
	cfg := k.client()
	cfg.ServerName = "other.local"
	c, err := dial(address, cfg)
	ok(t, err)
	if c.ConnectionState().PeerCertificates[0].SerialNumber.Cmp(before) == 0 {
		t.Error("a new connection sees the old certificate")
	}
	c.Close()
}

func TestTLS_KeysOfAllKindsConnectAndWeakOnesDoNot(t *testing.T) {
	k := open(t, t.TempDir(), today())
	verdicts := make(chan error, 10)
	address := server(t, k.TLS(Listener{Admit: func(_ context.Context, state tls.ConnectionState) error {
		err := pki.CheckCertificate(state.PeerCertificates[0])
		verdicts <- err
		return err
	}}))
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	ok(t, err)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	for name, key := range map[string]crypto.Signer{"rsa2048": rsa2048, "p256": p256, "p384": p384, "ed25519": ed} {
		if c, err := dial(address, k.client(selfSigned(t, key))); err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			c.Close()
		}
		<-verdicts
	}
	if _, err := dial(address, k.client()); err == nil {
		t.Error("a client without certificate came in")
	}
	gwtest.Need(t, "openssl")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	ok(t, os.WriteFile(ca, k.RootPEM(), 0o644))
	for name, c := range map[string]struct {
		args string
		in   bool
	}{
		"rsa1024": {"-newkey rsa:1024", false}, "sha1": {"-newkey rsa:2048 -sha1", false}, "rsa2048": {"-newkey rsa:2048", true},
	} {
		dir := t.TempDir()
		args := append([]string{"req", "-x509", "-nodes", "-subj", "/CN=x", "-keyout", dir + "/k", "-out", dir + "/c"}, strings.Fields(c.args)...)
		if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		client := exec.Command("openssl", "s_client", "-connect", address, "-servername", "gw.local", "-verify_hostname", "gw.local", "-verify_return_error",
			"-CAfile", ca, "-cert", dir+"/c", "-key", dir+"/k", "-cipher", "DEFAULT@SECLEVEL=0", "-quiet", "-no_ign_eof")
		client.Stdin = strings.NewReader("hello\n")
		out, err := client.CombinedOutput()
		// The client may end before it reads the alert: the server's word counts.
		if verdict := <-verdicts; (verdict == nil) != c.in || c.in && err != nil {
			t.Errorf("openssl with %s: %v, %v\n%s", name, verdict, err, out)
		}
	}
}

func TestRefresh_ABadCustomPairKeepsTheOldOne(t *testing.T) {
	k := open(t, t.TempDir(), today())
	k.cfg.Custom = func() ([]byte, []byte, error) { return []byte("x"), []byte("y"), nil }
	if err := k.Refresh(); err == nil || k.custom.Load() != nil {
		t.Errorf("bad pair: %v", err)
	}
	custom := k.serveCustom(t, "shop.example")
	k.cfg.Custom = func() ([]byte, []byte, error) { return nil, nil, os.ErrPermission }
	if err := k.Refresh(); err == nil || string(k.custom.Load().Certificate[0]) != string(custom.Raw) {
		t.Errorf("after an unreadable file: %v", err)
	}
}

// serveCustom gives the keeper a certificate of somebody else.
func (k *Keeper) serveCustom(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	other, err := pki.NewAuthority("other", k.Moment(), k.ids)
	ok(t, err)
	server, err := other.CreateServer(pki.Names{DNS: []string{name}}, k.Moment(), k.ids)
	ok(t, err)
	chain, key, err := pki.EncodeServer(server)
	ok(t, err)
	k.cfg.Custom = func() ([]byte, []byte, error) { return chain, key, nil }
	ok(t, k.Refresh())
	return server.Chain[0]
}

func TestTLS_TheNameAClientAsksForChoosesTheCertificate(t *testing.T) {
	k := open(t, t.TempDir(), today())
	custom := k.serveCustom(t, "shop.example")
	cfg := k.TLS(Listener{})
	for asked, want := range map[string]*x509.Certificate{
		"shop.example": custom, "gw.local": k.server.Load().Chain[0], "unknown.example": custom, "": custom,
	} {
		shown, err := handshake(cfg, &tls.Config{ServerName: asked, InsecureSkipVerify: true})
		if err != nil || !shown.Equal(want) {
			t.Errorf("asked for %q: %v, %v", asked, shown.DNSNames, err)
		}
	}
	k.cfg.RequireSNI = true
	if _, err := handshake(cfg, &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Error("a client without a name came in")
	}
	if _, err := handshake(cfg, &tls.Config{ServerName: "gw.local", InsecureSkipVerify: true}); err != nil {
		t.Errorf("a client with a name: %v", err)
	}
}

// handshake connects over a pipe and gives what the server showed.
func handshake(server, client *tls.Config) (*x509.Certificate, error) {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		defer far.Close()
		_ = tls.Server(far, server).Handshake()
	}()
	c := tls.Client(near, client)
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

// TestRun_AChangedNameReachesHandshakesWithinFiveSeconds (field-lessons.md
// FL-106), and the connections there are stay.
func TestRun_AChangedNameReachesHandshakesWithinFiveSeconds(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := today()
		k := open(t, dir, w)
		ctx, cancel := context.WithCancel(t.Context())
		go k.Run(ctx)
		near, far := net.Pipe()
		go func() {
			c := tls.Server(far, k.TLS(Listener{}))
			io.Copy(c, c)
		}()
		live := tls.Client(near, &tls.Config{ServerName: "gw.local", InsecureSkipVerify: true})
		ok(t, echo(live))
		w.rename("gw.local", "moved.local")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		shown, err := handshake(k.TLS(Listener{}), &tls.Config{ServerName: "moved.local", InsecureSkipVerify: true})
		if err != nil || shown.VerifyHostname("moved.local") != nil {
			t.Errorf("after 5 s: %v, %v", shown.DNSNames, err)
		}
		ok(t, echo(live))
		near.Close()
		cancel()
		synctest.Wait()
	})
}

// TestRefresh_WornCertificatesAreReplacedByAge: the leaf after two thirds of 90
// days, the issuers after two thirds of five years; clients trust the same root.
func TestRefresh_WornCertificatesAreReplacedByAge(t *testing.T) {
	dir := t.TempDir()
	w := today()
	k := open(t, dir, w)
	first, devices := k.server.Load().Chain, k.Authority().Devices()
	for _, c := range []struct {
		after         time.Duration
		unsynched     bool
		leaf, issuers bool
	}{
		{59 * 24 * time.Hour, false, false, false}, {61 * 24 * time.Hour, true, false, false}, {61 * 24 * time.Hour, false, true, false}, {4 * 365 * 24 * time.Hour, false, true, true},
	} {
		w.Wall, w.Unsynched = time.Now().Add(c.after), c.unsynched
		ok(t, k.Refresh())
		chain := k.server.Load().Chain
		if chain[0].Equal(first[0]) == c.leaf || k.Authority().Devices().Equal(devices) == c.issuers {
			t.Errorf("after %v, %+v: leaf until %v, devices until %v", c.after, c, chain[0].NotAfter, k.Authority().Devices().NotAfter)
		}
		cfg := k.client()
		cfg.Time = func() time.Time { return w.Wall }
		if shown, err := handshake(k.TLS(Listener{}), cfg); err != nil || !shown.Equal(chain[0]) {
			t.Errorf("after %v: %v", c.after, err)
		}
	}
	if again := open(t, dir, w); !again.Authority().Devices().Equal(k.Authority().Devices()) {
		t.Error("the next start has other issuers")
	}
}

func TestSystemNames_HoldLoopbackAndTheHost(t *testing.T) {
	names := SystemNames([]string{"extra.lan"})
	if len(names.DNS) < 2 || len(names.Addresses) < 2 {
		t.Errorf("names %+v", names)
	}
	for _, a := range names.Addresses {
		if a.IsLinkLocalUnicast() {
			t.Errorf("%v is link-local", a)
		}
	}
}
