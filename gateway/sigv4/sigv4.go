// Package sigv4 verifies AWS Signature Version 4: in the Authorization header
// and in the query (http-api.md sections 3.1 and 3.2).
//
// The package is pure: the time, the secret and the body are handed in; it
// reads no clock and no socket, and keeps nothing. The key and the date are
// checked before the body is asked for. Comparing is constant in time.
//
// What it does not do: limit the body's size (the caller's Body does), know
// keys (the caller's lookup does), or decide what a key may do.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Algorithm is the only one served.
const Algorithm = "AWS4-HMAC-SHA256"

// Skew is the usual window round the time of signing.
const Skew = 5 * time.Minute

// Services are the names that clients sign for: both AWS APIs (Debian's CLI
// says `execute-api`) and MQTT over WebSocket.
func Services() []string { return []string{"iot", "execute-api", "iotdata", "iotdevicegateway"} }

const (
	dateForm    = "20060102T150405Z"
	scopeEnd    = "aws4_request"
	expiresMax  = 7 * 24 * time.Hour
	emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// Request is an HTTP request as it was received, before any cleaning.
type Request struct {
	Method string
	// Path is the escaped path as received, without the query.
	Path string
	// Query is the raw query.
	Query string
	// Host is the Host header. Go keeps it, and ContentLength, outside of the
	// header map.
	Host          string
	ContentLength int64
	// Header has canonical names, as net/http gives them.
	Header map[string][]string
	// Body gives the whole body; nil is no body. It is called at most once, and
	// only for a known key and a good date.
	Body func() ([]byte, error)
}

// Identity is who signed, and for what. Region is whatever the client is set
// to; the caller may insist on one.
type Identity struct {
	AccessKeyID string
	Region      string
	Service     string
	// At is the time of signing.
	At time.Time
}

// Verify checks the signature of r by a long-term access key. lookup finds its
// secret; false means the key is unknown. A session token is unknown here and
// refused. Every refusal is an *Error with AWS's name and HTTP status; an error
// of Body is wrapped as it is.
func Verify(r Request, lookup func(accessKeyID string) (secret string, ok bool), now time.Time, skew time.Duration) (Identity, error) {
	long := func(id, token string) (string, bool) {
		if token != "" {
			return "", false
		}
		return lookup(id)
	}
	return VerifySession(r, long, now, skew)
}

// VerifySession is Verify where temporary keys exist too: lookup also sees the
// session token, empty for a long-term key, and answers false when it is not
// the one issued with the key.
func VerifySession(r Request, lookup func(accessKeyID, token string) (secret string, ok bool), now time.Time, skew time.Duration) (Identity, error) {
	return verify(r, lookup, now, skew, Services())
}

func verify(r Request, lookup func(id, token string) (string, bool), now time.Time, skew time.Duration, services []string) (Identity, error) {
	query, err := parseQuery(r.Query)
	if err != nil {
		return Identity{}, err
	}
	c, err := readClaim(r, query)
	if err != nil {
		return Identity{}, err
	}
	if !slices.Contains(services, c.service) {
		return Identity{}, refusef(invalidSignature, "Credential should be scoped to correct service: %q is not served here.", c.service)
	}
	secret, ok := lookup(c.keyID, c.token)
	if !ok {
		return Identity{}, refusef(unrecognizedClient, "The security token included in the request is invalid.")
	}
	if err := c.checkTime(now, skew); err != nil {
		return Identity{}, err
	}
	hash, err := payloadHash(r, c)
	if err != nil {
		return Identity{}, err
	}
	if !c.matches(r, query, hash, secret) {
		return Identity{}, refusef(invalidSignature, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return Identity{AccessKeyID: c.keyID, Region: c.region, Service: c.service, At: c.at}, nil
}

// checkTime refuses a signature from too far in the past or the future. A
// presigned request lives for X-Amz-Expires where it is given.
func (c *claim) checkTime(now time.Time, skew time.Duration) error {
	if c.at.Sub(now) > skew {
		return refusef(invalidSignature, "Signature not yet current: %s is still later than %s (%s + %s.)",
			c.date, now.Add(skew).UTC().Format(dateForm), now.UTC().Format(dateForm), skew)
	}
	window := skew
	if c.expires > 0 {
		window = c.expires
	}
	if now.Sub(c.at) > window {
		return refusef(invalidSignature, "Signature expired: %s is now earlier than %s (%s - %s.)",
			c.date, now.Add(-window).UTC().Format(dateForm), now.UTC().Format(dateForm), window)
	}
	return nil
}

// payloadHash is the hash that was signed: x-amz-content-sha256 where it is
// given, and then it must be the body's.
func payloadHash(r Request, c *claim) (string, error) {
	stated, given := headerValue(r.Header, "X-Amz-Content-Sha256")
	if given && !isHex(stated, sha256.Size) {
		return "", refusef(invalidSignature, "x-amz-content-sha256 %q is not served: sign the payload.", stated)
	}
	actual := emptySHA256
	if r.Body != nil {
		body, err := r.Body()
		if err != nil {
			return "", fmt.Errorf("sigv4: read the body: %w", err)
		}
		sum := sha256.Sum256(body)
		actual = hex.EncodeToString(sum[:])
	}
	if given && !hmac.Equal([]byte(strings.ToLower(stated)), []byte(actual)) {
		return "", refusef(invalidSignature, "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	if given {
		return stated, nil
	}
	return actual, nil
}

// matches recomputes the signature. Clients differ in two points, so up to four
// forms are tried: the path as received or without dot segments, and the query
// without or with the session token.
func (c *claim) matches(r Request, query []parameter, hash, secret string) bool {
	key := signingKey(secret, c.day, c.region, c.service)
	for _, path := range canonicalPaths(r.Path) {
		for _, q := range c.canonicalQueries(query) {
			canonical := strings.Join([]string{r.Method, path, q, canonicalHeaders(r, c.signed), strings.Join(c.signed, ";"), hash}, "\n")
			sum := sha256.Sum256([]byte(canonical))
			text := strings.Join([]string{Algorithm, c.date, c.scope(), hex.EncodeToString(sum[:])}, "\n")
			if hmac.Equal(sign(key, text), c.signature) {
				return true
			}
		}
	}
	return false
}

func (c *claim) scope() string {
	return strings.Join([]string{c.day, c.region, c.service, scopeEnd}, "/")
}

func signingKey(secret, day, region, service string) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range []string{day, region, service, scopeEnd} {
		key = sign(key, part)
	}
	return key
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func isHex(s string, size int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == size
}
