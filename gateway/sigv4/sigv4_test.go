package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// The key, date and scope of AWS's published test suite.
const (
	suiteKey    = "AKIDEXAMPLE"
	suiteSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	suiteDate   = "20150830T123600Z"
)

var suiteNow = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)

func suiteLookup(id, token string) (string, bool) { return suiteSecret, id == suiteKey && token == "" }

// suiteCase is a request of the test suite: host example.amazonaws.com, service
// `service`, region us-east-1.
type suiteCase struct {
	name, method, path, query, body string
	headers                         [][2]string // besides host and x-amz-date
	signature                       string
}

// The signatures are those the suite publishes.
var suite = []suiteCase{
	{"get-vanilla", "GET", "/", "", "", nil, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-vanilla-empty-query-key", "GET", "/", "Param1=value1", "", nil, "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
	{"get-vanilla-query", "GET", "/", "", "", nil, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-vanilla-query-order-key-case", "GET", "/", "Param2=value2&Param1=value1", "", nil, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
	{"get-vanilla-utf8-query", "GET", "/", "%E1%88%B4=bar", "", nil, "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
	{"get-unreserved", "GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "", "", nil, "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
	{"get-relative", "GET", "/example/..", "", "", nil, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-relative-relative", "GET", "/example1/example2/../..", "", "", nil, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-slash", "GET", "//", "", "", nil, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-slash-dot-slash", "GET", "/./", "", "", nil, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"post-vanilla", "POST", "/", "", "", nil, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{"post-vanilla-query", "POST", "/", "Param1=value1", "", nil, "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
	{"post-x-www-form-urlencoded", "POST", "/", "", "Param1=value1", [][2]string{{"content-type", "application/x-www-form-urlencoded"}}, "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
	{"get-header-value-trim", "GET", "/", "", "", [][2]string{{"my-header1", " value1"}, {"my-header2", ` "a   b   c"`}}, "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
	{"get-header-key-duplicate", "GET", "/", "", "", [][2]string{{"my-header1", "value2"}, {"my-header1", "value2"}, {"my-header1", "value1"}}, "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
}

func (c suiteCase) request(signature string) Request {
	r := Request{Method: c.method, Path: c.path, Query: c.query, Host: "example.amazonaws.com", Header: http.Header{"X-Amz-Date": {suiteDate}}}
	signed := []string{"host", "x-amz-date"}
	for _, h := range c.headers {
		http.Header(r.Header).Add(h[0], h[1])
		if !slices.Contains(signed, h[0]) {
			signed = append(signed, h[0])
		}
	}
	sort.Strings(signed)
	if c.body != "" {
		r.Body = func() ([]byte, error) { return []byte(c.body), nil }
		r.ContentLength = int64(len(c.body))
	}
	r.Header["Authorization"] = []string{fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/20150830/us-east-1/service/aws4_request, SignedHeaders=%s, Signature=%s", suiteKey, strings.Join(signed, ";"), signature)}
	return r
}

func TestVerify_PublishedSuite(t *testing.T) {
	for _, c := range suite {
		if _, err := verify(c.request(c.signature), suiteLookup, suiteNow, Skew, []string{"service"}); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		flipped := "0" + c.signature[1:]
		if _, err := verify(c.request(flipped), suiteLookup, suiteNow, Skew, []string{"service"}); typeOf(err) != invalidSignature.name && c.signature[0] != '0' {
			t.Errorf("%s with another signature: %v", c.name, err)
		}
	}
}

func typeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Type
	}
	return fmt.Sprint(err)
}

// The example of the AWS General Reference: ListUsers of IAM.
func TestVerify_GeneralReferenceExample(t *testing.T) {
	r := Request{
		Method: "GET", Path: "/", Query: "Action=ListUsers&Version=2010-05-08", Host: "iam.amazonaws.com",
		Header: http.Header{
			"Content-Type":  {"application/x-www-form-urlencoded; charset=utf-8"},
			"X-Amz-Date":    {suiteDate},
			"Authorization": {"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
		},
	}
	if _, err := verify(r, suiteLookup, suiteNow, Skew, []string{"iam"}); err != nil {
		t.Error(err)
	}
}

// signer is the client's side, written from the specification without a line of
// the verifier.
type signer struct {
	key, secret, token, region, service string
	at                                  time.Time
}

var local = signer{key: "AKLOCAL", secret: "s3cret/+", region: "eu-west-1", service: "iotdata", at: suiteNow}

func (s signer) lookup(id string) (string, bool) { return s.secret, id == s.key }

func (s signer) session(id, token string) (string, bool) {
	return s.secret, id == s.key && token == s.token
}

func hmacOf(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexOf(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

// strict is percent-encoding as AWS wants it.
func strict(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func (s signer) signature(method, path, query, host string, headers map[string]string, names []string, hash string) string {
	segments := strings.Split(path, "/")
	for i := range segments {
		segments[i] = strict(segments[i])
	}
	var pairs []string
	for _, p := range strings.Split(query, "&") {
		if p == "" {
			continue
		}
		name, value, _ := strings.Cut(p, "=")
		n, _ := url.PathUnescape(name)
		v, _ := url.PathUnescape(value)
		pairs = append(pairs, strict(n)+"="+strict(v))
	}
	sort.Slice(pairs, func(i, j int) bool {
		return strings.Replace(pairs[i], "=", "\x00", 1) < strings.Replace(pairs[j], "=", "\x00", 1)
	})
	var lines string
	for _, n := range names {
		v := headers[n]
		if n == "host" {
			v = host
		}
		lines += n + ":" + v + "\n"
	}
	canonical := method + "\n" + strings.Join(segments, "/") + "\n" + strings.Join(pairs, "&") + "\n" + lines + "\n" + strings.Join(names, ";") + "\n" + hash
	day := s.at.Format("20060102")
	scope := day + "/" + s.region + "/" + s.service + "/aws4_request"
	text := "AWS4-HMAC-SHA256\n" + s.at.Format("20060102T150405Z") + "\n" + scope + "\n" + hexOf([]byte(canonical))
	key := hmacOf(hmacOf(hmacOf(hmacOf([]byte("AWS4"+s.secret), day), s.region), s.service), "aws4_request")
	return hex.EncodeToString(hmacOf(key, text))
}

// signed gives a request signed in its header, with a body and extra headers.
func (s signer) signed(method, path, query, body string, extra map[string]string) Request {
	headers := map[string]string{"x-amz-date": s.at.Format("20060102T150405Z")}
	for n, v := range extra {
		headers[n] = v
	}
	if s.token != "" {
		headers["x-amz-security-token"] = s.token
	}
	names := []string{"host"}
	r := Request{Method: method, Path: path, Query: query, Host: "gate.local:8444", ContentLength: int64(len(body)), Header: http.Header{}}
	for n, v := range headers {
		names = append(names, n)
		http.Header(r.Header).Set(n, v)
	}
	sort.Strings(names)
	if body != "" {
		r.Body = func() ([]byte, error) { return []byte(body), nil }
	}
	http.Header(r.Header).Del("Content-Length") // Go keeps it in ContentLength
	signature := s.signature(method, path, query, r.Host, headers, names, hexOf([]byte(body)))
	r.Header["Authorization"] = []string{fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s/%s/%s/aws4_request, SignedHeaders=%s, Signature=%s",
		s.key, s.at.Format("20060102"), s.region, s.service, strings.Join(names, ";"), signature)}
	return r
}

// presigned gives a WebSocket handshake signed in its query. order says whether
// the token is appended after signing.
func (s signer) presigned(host string, headers map[string]string, expires int, appendToken bool) Request {
	names := []string{"host"}
	r := Request{Method: "GET", Path: "/mqtt", Host: host, Header: http.Header{}}
	for n, v := range headers {
		names = append(names, n)
		http.Header(r.Header).Set(n, v)
	}
	sort.Strings(names)
	q := "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + strict(fmt.Sprintf("%s/%s/%s/%s/aws4_request", s.key, s.at.Format("20060102"), s.region, s.service)) +
		"&X-Amz-Date=" + s.at.Format("20060102T150405Z") + "&X-Amz-SignedHeaders=" + strict(strings.Join(names, ";"))
	if expires > 0 {
		q += fmt.Sprint("&X-Amz-Expires=", expires)
	}
	if s.token != "" && !appendToken {
		q += "&X-Amz-Security-Token=" + strict(s.token)
	}
	signature := s.signature("GET", "/mqtt", q, host, headers, names, emptySHA256)
	r.Query = q + "&X-Amz-Signature=" + signature
	if s.token != "" && appendToken {
		r.Query += "&X-Amz-Security-Token=" + strict(s.token)
	}
	return r
}

func TestVerify_WhatClientsSend(t *testing.T) {
	for name, r := range map[string]Request{
		"get shadow":           local.signed("GET", "/things/a%3Ab/shadow", "name=x%20y", "", nil),
		"double encoding":      local.signed("POST", "/topics/t%2Fa%20b%2Fc%2B%C3%A9", "qos=1&retain=true", "payload", nil),
		"unencoded topic":      local.signed("POST", "/topics/a/b", "qos=1", "", nil),
		"empty level":          local.signed("POST", "/topics//a", "", "x", nil),
		"plus in query":        local.signed("GET", "/x", "a=1%2B1&b=+", "", nil),
		"equal sign in value":  local.signed("GET", "/x", "a=b=c&a=b", "", nil),
		"no value":             local.signed("GET", "/x", "flag&b=", "", nil),
		"names that sort ugly": local.signed("GET", "/x", "a-b=1&a=2&a%3Db=3", "", nil),
		"go sdk":               local.signed("PUT", "/x", "", "{}", map[string]string{"content-length": "2", "content-type": "application/json", "amz-sdk-invocation-id": "1", "amz-sdk-request": "attempt=1"}),
		"js sdk":               local.signed("PUT", "/x", "", "{}", map[string]string{"x-amz-content-sha256": hexOf([]byte("{}"))}),
	} {
		got, err := Verify(r, local.lookup, suiteNow, Skew)
		if want := (Identity{"AKLOCAL", "eu-west-1", "iotdata", suiteNow}); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestVerify_EveryServiceOfOursAndNoOther(t *testing.T) {
	for _, service := range append(Services(), "s3", "") {
		s := local
		s.service = service
		_, err := Verify(s.signed("GET", "/", "", "", nil), local.lookup, suiteNow, Skew)
		if ok := slices.Contains(Services(), service); (err == nil) != ok {
			t.Errorf("service %q: got %v", service, err)
		}
	}
}

func TestVerify_WebSocketHandshakes(t *testing.T) {
	s := local
	s.service = "iotdevicegateway"
	temporary := s
	temporary.token = "to/ken+=="
	for name, r := range map[string]Request{
		"v1 sdk":          s.presigned("localhost:8444", nil, 0, false),
		"v2 sdk":          s.presigned("localhost", map[string]string{"connection": "Upgrade"}, 0, false),
		"expires":         s.presigned("localhost", nil, 60, false),
		"token appended":  temporary.presigned("localhost", nil, 0, true),
		"token is signed": temporary.presigned("localhost", nil, 0, false),
	} {
		who := s
		if strings.Contains(name, "token") {
			who = temporary
		}
		if got, err := VerifySession(r, who.session, suiteNow, Skew); err != nil || got.Service != "iotdevicegateway" {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		r.Host = "other"
		if _, err := VerifySession(r, who.session, suiteNow, Skew); typeOf(err) != invalidSignature.name {
			t.Errorf("%s for another host: got %v", name, err)
		}
	}
	if _, err := Verify(temporary.presigned("localhost", nil, 0, true), s.lookup, suiteNow, Skew); typeOf(err) != unrecognizedClient.name {
		t.Errorf("a token nobody issued: got %v", err)
	}
}

func TestVerify_SessionTokenInTheHeaderMustBeSigned(t *testing.T) {
	temporary := local
	temporary.token = "token"
	if _, err := VerifySession(temporary.signed("GET", "/", "", "", nil), temporary.session, suiteNow, Skew); err != nil {
		t.Error(err)
	}
	r := local.signed("GET", "/", "", "", nil)
	r.Header["X-Amz-Security-Token"] = []string{"token"}
	if _, err := VerifySession(r, temporary.session, suiteNow, Skew); typeOf(err) != incompleteSignature.name {
		t.Errorf("not signed: got %v", err)
	}
}

func TestVerify_Time(t *testing.T) {
	header := local.signed("GET", "/", "", "", nil)
	ws := local.presigned("h", nil, 0, false)
	long := local.presigned("h", nil, 3600, false)
	for _, c := range []struct {
		name string
		r    Request
		off  time.Duration
		want string
	}{
		{"exactly old", header, 5 * time.Minute, ""},
		{"too old", header, 5*time.Minute + time.Second, "Signature expired"},
		{"exactly early", header, -5 * time.Minute, ""},
		{"too early", header, -5*time.Minute - time.Second, "Signature not yet current"},
		{"handshake old", ws, 5*time.Minute + time.Second, "Signature expired"},
		{"presigned alive", long, time.Hour, ""},
		{"presigned expired", long, time.Hour + time.Second, "Signature expired"},
		{"presigned early", long, -6 * time.Minute, "Signature not yet current"},
	} {
		_, err := Verify(c.r, local.lookup, suiteNow.Add(c.off), Skew)
		if c.want == "" && err != nil || c.want != "" && (typeOf(err) != invalidSignature.name || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := Verify(header, local.lookup, suiteNow.Add(24*time.Hour), 48*time.Hour); err != nil {
		t.Errorf("a wide window: %v", err)
	}
}

func TestVerify_AnyChangeBreaksTheSignature(t *testing.T) {
	base := func() Request {
		return local.signed("POST", "/topics/a", "qos=1", "body", map[string]string{"content-type": "text/plain", "content-length": "4"})
	}
	for name, change := range map[string]func(*Request){
		"method":         func(r *Request) { r.Method = "PUT" },
		"path":           func(r *Request) { r.Path = "/topics/b" },
		"path encoding":  func(r *Request) { r.Path = "/topics/%61" },
		"path slash":     func(r *Request) { r.Path = "/topics/a/" },
		"query value":    func(r *Request) { r.Query = "qos=0" },
		"query more":     func(r *Request) { r.Query = "qos=1&retain=true" },
		"host":           func(r *Request) { r.Host = "gate.local" },
		"header":         func(r *Request) { r.Header["Content-Type"] = []string{"text/html"} },
		"header gone":    func(r *Request) { delete(r.Header, "Content-Type") },
		"header twice":   func(r *Request) { r.Header["Content-Type"] = []string{"text/plain", "text/plain"} },
		"content length": func(r *Request) { r.ContentLength = 5 },
		"body":           func(r *Request) { r.Body = func() ([]byte, error) { return []byte("Body"), nil } },
		"no body":        func(r *Request) { r.Body = nil },
		"date":           func(r *Request) { r.Header["X-Amz-Date"] = []string{"20150830T123601Z"} },
	} {
		r := base()
		change(&r)
		if _, err := Verify(r, local.lookup, suiteNow, Skew); typeOf(err) != invalidSignature.name {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := Verify(base(), func(string) (string, bool) { return "other", true }, suiteNow, Skew); typeOf(err) != invalidSignature.name {
		t.Errorf("another secret: got %v", err)
	}
	for name, change := range map[string]func(*Request){
		"unsigned header": func(r *Request) { r.Header["X-Other"] = []string{"x"} },
		"query order":     func(r *Request) { r.Query = "&qos=%31" },
		"inner spaces":    func(r *Request) { r.Header["Content-Type"] = []string{"  text/plain "} },
	} {
		r := base()
		change(&r)
		if _, err := Verify(r, local.lookup, suiteNow, Skew); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerify_PayloadHashThatDoesNotFit(t *testing.T) {
	for name, hash := range map[string]string{
		"another body": hexOf([]byte("other")), "unsigned": "UNSIGNED-PAYLOAD", "streaming": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "nothing": "",
	} {
		r := local.signed("PUT", "/", "", "body", map[string]string{"x-amz-content-sha256": hash})
		if _, err := Verify(r, local.lookup, suiteNow, Skew); typeOf(err) != invalidSignature.name {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestVerify_BodyIsReadOnlyForAKnownKeyInTime(t *testing.T) {
	r := local.signed("PUT", "/", "", "body", nil)
	r.Body = func() ([]byte, error) { t.Error("the body was read"); return nil, nil }
	Verify(r, func(string) (string, bool) { return "", false }, suiteNow, Skew)
	Verify(r, local.lookup, suiteNow.Add(time.Hour), Skew)
	broken := errors.New("too large")
	r.Body = func() ([]byte, error) { return nil, broken }
	if _, err := Verify(r, local.lookup, suiteNow, Skew); !errors.Is(err, broken) {
		t.Errorf("got %v, want the body's error", err)
	}
}

func TestVerify_Malformed(t *testing.T) {
	good := local.signed("GET", "/", "", "", nil)
	auth := good.Header["Authorization"][0]
	swap := func(old, new string) Request {
		r := local.signed("GET", "/", "", "", nil)
		r.Header["Authorization"] = []string{strings.Replace(auth, old, new, 1)}
		return r
	}
	query := local.presigned("h", nil, 60, false)
	inQuery := func(old, new string) Request {
		r := query
		r.Query = strings.Replace(r.Query, old, new, 1)
		return r
	}
	with := func(f func(*Request)) Request {
		r := local.signed("GET", "/", "", "", nil)
		f(&r)
		return r
	}
	for name, c := range map[string]struct {
		r    Request
		want kind
	}{
		"nothing":              {Request{Method: "GET", Path: "/"}, missingToken},
		"basic":                {swap("AWS4-HMAC-SHA256", "Basic"), incompleteSignature},
		"other algorithm":      {swap("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), incompleteSignature},
		"algorithm alone":      {swap(auth, Algorithm), incompleteSignature},
		"no credential":        {swap("Credential", "X"), incompleteSignature},
		"no signed headers":    {swap("SignedHeaders", "X"), incompleteSignature},
		"no signature":         {swap("Signature", "X"), incompleteSignature},
		"field twice":          {swap("SignedHeaders", "Credential"), incompleteSignature},
		"field without value":  {swap("Credential=", "Credential"), incompleteSignature},
		"short scope":          {swap("/eu-west-1", ""), incompleteSignature},
		"empty region":         {swap("/eu-west-1/", "//"), incompleteSignature},
		"empty key":            {swap("AKLOCAL", ""), incompleteSignature},
		"end of scope":         {swap("aws4_request", "aws5_request"), incompleteSignature},
		"host not signed":      {swap("=host;", "="), incompleteSignature},
		"header twice":         {swap("=host;", "=host;host;"), incompleteSignature},
		"header upper case":    {swap("=host;", "=Host;host;"), incompleteSignature},
		"signature not hex":    {swap("Signature=", "Signature=zz"), incompleteSignature},
		"signature long":       {swap("Signature=", "Signature=00"), incompleteSignature},
		"scope of another day": {swap("/20150830/", "/20150831/"), invalidSignature},
		"two headers":          {with(func(r *Request) { r.Header["Authorization"] = []string{auth, auth} }), incompleteSignature},
		"no date":              {with(func(r *Request) { delete(r.Header, "X-Amz-Date") }), incompleteSignature},
		"bad date":             {with(func(r *Request) { r.Header["X-Amz-Date"] = []string{"2015-08-30"} }), incompleteSignature},
		"both forms":           {with(func(r *Request) { r.Query = query.Query }), incompleteSignature},
		"bad query":            {with(func(r *Request) { r.Query = "a=%zz" }), incompleteSignature},
		"query algorithm":      {inQuery("AWS4-HMAC-SHA256", "AWS3"), incompleteSignature},
		"query signature":      {inQuery("X-Amz-Signature=", "X-Amz-Sig="), incompleteSignature},
		"query twice":          {inQuery("X-Amz-Date=", "X-Amz-Date=1&X-Amz-Date="), incompleteSignature},
		"query expires":        {inQuery("X-Amz-Expires=60", "X-Amz-Expires=-1"), incompleteSignature},
		"query expires long":   {inQuery("X-Amz-Expires=60", "X-Amz-Expires=604801"), incompleteSignature},
		"query expires more":   {inQuery("X-Amz-Expires=60", "X-Amz-Expires=61"), invalidSignature},
		"unknown key":          {swap("AKLOCAL", "AKOTHER"), unrecognizedClient},
	} {
		_, err := Verify(c.r, local.lookup, suiteNow, Skew)
		var e *Error
		if !errors.As(err, &e) || e.Type != c.want.name || e.Status != c.want.status {
			t.Errorf("%s: got %v, want %s", name, err, c.want.name)
			continue
		}
		want := iot.Forbidden
		if c.want == incompleteSignature {
			want = iot.InvalidRequest
		}
		if iot.CodeOf(err) != want {
			t.Errorf("%s: code %v, want %v", name, iot.CodeOf(err), want)
		}
	}
}

// FuzzVerify: no request makes the verifier panic, and none passes without the
// secret.
func FuzzVerify(f *testing.F) {
	for _, r := range []Request{local.signed("GET", "/things/a%3Ab/shadow", "name=x", "", nil), local.presigned("h", nil, 60, true)} {
		auth, _ := headerValue(r.Header, "Authorization")
		date, _ := headerValue(r.Header, "X-Amz-Date")
		f.Add(r.Method, r.Path, r.Query, r.Host, auth, date, "", "token")
	}
	f.Add("POST", "/../a//.", "a=%E1&X-Amz-Algorithm=&X-Amz-Signature=", "h", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e/aws4_request,SignedHeaders=host,Signature=00", suiteDate, "x", "")
	secret := func(string, string) (string, bool) { return "a secret that nobody who fuzzes knows", true }
	f.Fuzz(func(t *testing.T, method, path, query, host, auth, date, hash, token string) {
		r := Request{Method: method, Path: path, Query: query, Host: host, Header: map[string][]string{
			"Authorization": {auth}, "X-Amz-Date": {date}, "X-Amz-Content-Sha256": {hash}, "X-Amz-Security-Token": {token},
		}, Body: func() ([]byte, error) { return []byte(method), nil }}
		for name, v := range r.Header {
			if v[0] == "" {
				delete(r.Header, name)
			}
		}
		if id, err := VerifySession(r, secret, suiteNow, 200*365*24*time.Hour); err == nil {
			t.Errorf("accepted as %+v", id)
		}
	})
}

// FuzzCanonical: what the specification's signer signs, the verifier accepts.
func FuzzCanonical(f *testing.F) {
	f.Add("/a b/%2F", "x=1&x=%20&y", "body", "  a   b ")
	f.Add("//..//é", "=&==", "", "")
	f.Fuzz(func(t *testing.T, path, query, body, value string) {
		if strings.Contains(query, "X-Amz-") || path == "" {
			return
		}
		if _, err := url.PathUnescape(query); err != nil {
			return
		}
		collapsed := strings.Join(strings.Fields(value), " ")
		r := local.signed("POST", path, query, body, map[string]string{"x-value": collapsed})
		if _, err := Verify(r, local.lookup, suiteNow, Skew); err != nil {
			t.Errorf("path %q, query %q, body %q, value %q: %v", path, query, body, value, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	r := local.signed("POST", "/topics/t%2Fa%2Fb", "qos=1", strings.Repeat("x", 1000), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(r, local.lookup, suiteNow, Skew); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleVerify() {
	r := Request{
		Method: "GET", Path: "/things/pump-1/shadow", Host: "127.0.0.1:8444",
		Header: http.Header{"X-Amz-Date": {suiteDate}, "Authorization": {"AWS4-HMAC-SHA256 Credential=AKEXAMPLE/20150830/us-east-1/iotdata/aws4_request, SignedHeaders=host;x-amz-date, Signature=0000000000000000000000000000000000000000000000000000000000000000"}},
	}
	secret := func(id string) (string, bool) { return "secret", id == "AKEXAMPLE" }
	_, err := Verify(r, secret, suiteNow, Skew)
	var refused *Error
	fmt.Println(errors.As(err, &refused), refused.Status, refused.Type)
	// Output: true 403 InvalidSignatureException
}
