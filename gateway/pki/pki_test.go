package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
)

var today = Moment{Now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), Floor: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Synced: true}

func source() *ids.Source { return ids.New(rand.Reader) }

func authority(t testing.TB) *Authority {
	t.Helper()
	a, err := NewAuthority("gw-1", today, source())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func pool(c ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, one := range c {
		p.AddCert(one)
	}
	return p
}

func TestAuthority_SurvivesItsFilesAndRefusesMixedOnes(t *testing.T) {
	a := authority(t)
	files, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := LoadAuthority(files)
	if err != nil || !b.Root().Equal(a.Root()) || !b.Devices().Equal(a.Devices()) {
		t.Fatalf("loaded %v; want the same authority", err)
	}
	files[DevicesKey] = files[ServersKey]
	if _, err := LoadAuthority(files); err == nil || !strings.Contains(err.Error(), DevicesCertificate) {
		t.Errorf("a foreign key: %v; want an error naming %s", err, DevicesCertificate)
	}
	if _, err := LoadAuthority(nil); err == nil {
		t.Error("no files: want an error")
	}
}

func TestAuthority_ADeviceCannotPoseAsTheGateway(t *testing.T) {
	a := authority(t)
	device, _, err := a.CreateDevice(Device{CommonName: "gw.local", Key: P256}, today, source())
	if err != nil {
		t.Fatal(err)
	}
	server, err := a.CreateServer(Names{DNS: []string{"gw.local"}}, today, source())
	if err != nil {
		t.Fatal(err)
	}
	verify := func(c *x509.Certificate, usage x509.ExtKeyUsage) error {
		_, err := c.Verify(x509.VerifyOptions{
			Roots: pool(a.Root()), Intermediates: pool(a.Devices(), server.Chain[1]), CurrentTime: today.Now, KeyUsages: []x509.ExtKeyUsage{usage},
		})
		return err
	}
	if err := verify(device, x509.ExtKeyUsageClientAuth); err != nil {
		t.Errorf("device as client: %v", err)
	}
	if err := verify(device, x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("a device certificate is good as a server's")
	}
	if err := verify(server.Chain[0], x509.ExtKeyUsageServerAuth); err != nil {
		t.Errorf("server: %v", err)
	}
	if a.servers.key.Public().(*ecdsa.PublicKey).Equal(a.devices.key.Public()) {
		t.Error("both issuers have one key")
	}
}

func TestCreateDevice_WritesPKCS1AndAGoodSerial(t *testing.T) {
	a := authority(t)
	c, pair, err := a.CreateDevice(Device{}, today, source())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(pair.Private), "-----BEGIN RSA PRIVATE KEY-----\n") || !strings.HasPrefix(string(pair.Public), "-----BEGIN PUBLIC KEY-----\n") {
		t.Errorf("key forms: %.40q, %.40q", pair.Private, pair.Public)
	}
	if _, err := tls.X509KeyPair(EncodeCertificate(c), pair.Private); err != nil {
		t.Errorf("key and certificate do not fit: %v", err)
	}
	if c.Subject.CommonName != DeviceName || c.SerialNumber.BitLen() != 127 || c.IsCA || len(c.DNSNames) != 0 {
		t.Errorf("certificate: %v, serial of %d bits, CA %v, names %v", c.Subject, c.SerialNumber.BitLen(), c.IsCA, c.DNSNames)
	}
	if c.NotAfter.Sub(today.Now) != DeviceLife || today.Now.Sub(c.NotBefore) != time.Hour {
		t.Errorf("valid %v to %v", c.NotBefore, c.NotAfter)
	}
	sum := sha256.Sum256(c.Raw)
	if ID(c) != hex.EncodeToString(sum[:]) {
		t.Errorf("id %s", ID(c))
	}
	if _, _, err := a.CreateDevice(Device{Key: "rsa512"}, today, source()); iot.CodeOf(err) != iot.InvalidRequest {
		t.Errorf("an unknown kind of key: %v", err)
	}
}

func request(t testing.TB, key crypto.Signer, tweak func(*x509.CertificateRequest)) []byte {
	t.Helper()
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "sensor", Organization: []string{"Acme"}}}
	if tweak != nil {
		tweak(template)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE REQUEST", der)
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSignCSR_KeepsSubjectAndKeyAndNothingElse(t *testing.T) {
	a, key := authority(t), ecKey(t, elliptic.P384())
	text := request(t, key, func(r *x509.CertificateRequest) { r.DNSNames = []string{"gw.local"} })
	csr, err := ParseCSR(text)
	if err != nil {
		t.Fatal(err)
	}
	one, err := a.SignCSR(csr, today, source())
	if err != nil {
		t.Fatal(err)
	}
	two, err := a.SignCSR(csr, today, source())
	if err != nil || ID(one) == ID(two) {
		t.Errorf("the same request twice: %v, want two certificates", err)
	}
	if !key.PublicKey.Equal(one.PublicKey) || one.Subject.CommonName != "sensor" || len(one.DNSNames) != 0 {
		t.Errorf("signed: %v, names %v", one.Subject, one.DNSNames)
	}
}

func TestKeys_WeakOnesAreRefusedStrongOnesTaken(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	strongRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{
		"rsa2048": strongRSA, "p256": ecKey(t, elliptic.P256()), "p384": ecKey(t, elliptic.P384()), "p521": ecKey(t, elliptic.P521()), "ed25519": ed,
	} {
		if _, err := ParseCSR(request(t, key, nil)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if Movable(ed.Public()) || !Movable(strongRSA.Public()) {
		t.Error("Ed25519 alone cannot move to AWS")
	}
	weak := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
	if iot.CodeOf(CheckKey(weak)) != iot.CertificateInvalid {
		t.Error("RSA-1024 is taken")
	}
	huge := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 16383), E: 65537}
	if iot.CodeOf(CheckKey(huge)) != iot.CertificateInvalid {
		t.Error("RSA-16384 is taken")
	}
	if _, err := ParseCSR(request(t, ecKey(t, elliptic.P224()), nil)); iot.CodeOf(err) != iot.InvalidRequest {
		t.Errorf("P-224: %v", err)
	}
	for _, a := range []x509.SignatureAlgorithm{x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.MD5WithRSA, x509.DSAWithSHA256, 0} {
		if checkSignature(a) == nil {
			t.Errorf("%v is taken", a)
		}
	}
}

func TestParseCSR_AForgedProofIsRefused(t *testing.T) {
	text := request(t, ecKey(t, elliptic.P256()), nil)
	block, _ := pem.Decode(text)
	block.Bytes[len(block.Bytes)-1] ^= 1
	if _, err := ParseCSR(pem.EncodeToMemory(block)); iot.CodeOf(err) != iot.InvalidRequest {
		t.Errorf("forged: %v", err)
	}
}

// foreign makes a CA of somebody else and a leaf below it.
func foreign(t testing.TB, from, to time.Time) (ca, leaf *x509.Certificate) {
	t.Helper()
	key := ecKey(t, elliptic.P256())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Acme CA"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca, err := sign(template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leafKey := ecKey(t, elliptic.P256())
	leaf, err = sign(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: from, NotAfter: to}, ca, leafKey.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return ca, leaf
}

func TestVerifyChain_UsesTheFloorWhenTheClockStartsIn1970(t *testing.T) {
	ca, leaf := foreign(t, today.Floor.Add(-24*time.Hour), today.Now.AddDate(1, 0, 0))
	boot := Moment{Now: time.Unix(0, 0), Floor: today.Floor}
	if err := VerifyChain(leaf, ca, nil, boot); err != nil {
		t.Errorf("at boot in 1970: %v", err)
	}
	if err := CheckValidity(leaf, boot); err != nil {
		t.Errorf("validity at boot: %v", err)
	}
	if err := VerifyChain(leaf, ca, nil, Moment{Now: time.Unix(0, 0)}); iot.CodeOf(err) != iot.CertificateInvalid {
		t.Errorf("without a floor: %v", err)
	}
	if err := CheckValidity(leaf, Moment{Now: today.Now.AddDate(2, 0, 0)}); iot.CodeOf(err) != iot.Unauthorized {
		t.Errorf("two years on: %v", err)
	}
	other, _ := foreign(t, today.Floor, today.Now.AddDate(1, 0, 0))
	if err := VerifyChain(leaf, other, nil, today); iot.CodeOf(err) != iot.CertificateInvalid {
		t.Errorf("another CA of the same name: %v", err)
	}
	if CheckCA(leaf) == nil || CheckCA(ca) != nil {
		t.Error("CheckCA takes a leaf, or refuses a CA")
	}
}

func TestIssue_AnUntrustedClockIssuesFromTheFloor(t *testing.T) {
	boot := Moment{Now: time.Unix(0, 0), Floor: today.Floor}
	a, err := NewAuthority("gw", boot, source())
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Root().NotBefore; !got.Equal(today.Floor.Add(-time.Hour)) {
		t.Errorf("root valid from %v; want the floor minus 1 h", got)
	}
	ahead := Moment{Now: today.Now.AddDate(30, 0, 0), Floor: today.Floor}
	s, err := a.CreateServer(Names{DNS: []string{"gw.local"}}, ahead, source())
	if err != nil || !s.Chain[0].NotBefore.Equal(today.Floor.Add(-time.Hour)) {
		t.Errorf("a clock that runs ahead: %v, %v", s, err)
	}
}

func TestServer_IsDueForNewNamesAtOnceAndForAgeOnceSynced(t *testing.T) {
	a := authority(t)
	names := Names{DNS: []string{"GW.local", "localhost", "gw.local."}, Addresses: []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("::1")}}
	s, err := a.CreateServer(names, today, source())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Chain[0].DNSNames, []string{"gw.local", "localhost"}) || s.Chain[0].VerifyHostname("10.0.0.1") != nil {
		t.Errorf("names %v %v", s.Chain[0].DNSNames, s.Chain[0].IPAddresses)
	}
	if due := s.Due(names, today); due != "" {
		t.Errorf("fresh: %s", due)
	}
	more := Names{DNS: names.DNS, Addresses: append(slices.Clone(names.Addresses), netip.MustParseAddr("10.0.0.2"))}
	if due := s.Due(more, Moment{Now: time.Unix(0, 0)}); due == "" {
		t.Error("a new address is not due")
	}
	old := Moment{Now: today.Now.Add(61 * 24 * time.Hour), Floor: today.Floor}
	if due := s.Due(names, old); due != "" {
		t.Errorf("age with a clock that is not synchronised: %s", due)
	}
	old.Synced = true
	if due := s.Due(names, old); due == "" {
		t.Error("two thirds of its life are not due")
	}
	next, changed, err := a.Renewed("gw-1", old, source())
	if err != nil || changed || next != a {
		t.Errorf("issuers after two months: changed %v, %v", changed, err)
	}
	old.Now = today.Now.Add(4 * 365 * 24 * time.Hour)
	if next, changed, err = a.Renewed("gw-1", old, source()); err != nil || !changed || !next.Root().Equal(a.Root()) || next.Devices().Equal(a.Devices()) {
		t.Errorf("issuers after four years: changed %v, %v", changed, err)
	}
}

// TestServer_ServesTLSToAClientThatTrustsTheRoot goes through a real handshake.
func TestServer_ServesTLSToAClientThatTrustsTheRoot(t *testing.T) {
	a := authority(t)
	s, err := a.CreateServer(Names{DNS: []string{"gw.local"}}, today, source())
	if err != nil {
		t.Fatal(err)
	}
	chain, key, err := EncodeServer(s)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	go tls.Server(far, &tls.Config{Certificates: []tls.Certificate{pair}}).Handshake()
	client := tls.Client(near, &tls.Config{RootCAs: pool(a.Root()), ServerName: "gw.local", Time: func() time.Time { return today.Now }})
	if err := client.Handshake(); err != nil {
		t.Error(err)
	}
}

func TestNameValues_KeepTheOrderOfTheCertificate(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "c", Organization: []string{"b", "a"}, Province: []string{"s"}, SerialNumber: "7"}, NotAfter: today.Now}
	c, err := sign(template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	got := NameValues(c.Subject)
	if len(got["Organization"]) != 2 || got["CommonName"][0] != "c" || got["State"][0] != "s" || got["SerialNumber"][0] != "7" {
		t.Errorf("values: %v", got)
	}
}

func TestParseChain_LimitsAndStrangers(t *testing.T) {
	a := authority(t)
	one := EncodeCertificate(a.Root())
	if chain, err := ParseChain(append([]byte("subject=x\n"), one...)); err != nil || len(chain) != 1 {
		t.Errorf("text before the block: %v", err)
	}
	files, _ := a.Encode()
	for name, text := range map[string][]byte{
		"empty": nil, "key": files[RootKey], "too many": slices.Repeat(one, ChainMax+1), "too long": slices.Repeat([]byte("x"), PEMBytesMax+1),
		"garbage": encode("CERTIFICATE", []byte("x")),
	} {
		if _, err := ParseChain(text); iot.CodeOf(err) != iot.CertificateInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzIntake(f *testing.F) {
	a := authority(f)
	f.Add(EncodeCertificate(a.Root()))
	f.Add(request(f, ecKey(f, elliptic.P256()), nil))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if chain, err := ParseChain(text); err == nil {
			for _, c := range chain {
				CheckCertificate(c)
				NameValues(c.Subject)
				VerifyChain(c, a.Root(), chain, today)
			}
		} else if iot.CodeOf(err) != iot.CertificateInvalid {
			t.Errorf("a bad certificate is %v", err)
		}
		if csr, err := ParseCSR(text); err == nil {
			if _, err := a.SignCSR(csr, today, source()); err != nil && iot.CodeOf(err) != iot.InvalidRequest {
				t.Error(err)
			}
		} else if iot.CodeOf(err) != iot.InvalidRequest {
			t.Errorf("a bad request is %v", err)
		}
	})
}
