package sigv4

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
)

// claim is what a request says of its own signature.
type claim struct {
	keyID, day, region, service string
	date                        string // X-Amz-Date as sent
	at                          time.Time
	signed                      []string // lower case, in the given order
	signature                   []byte
	token                       string
	expires                     time.Duration // presigned; 0 = not given
	presigned                   bool
}

// readClaim finds the signature in the header or in the query, never in both.
func readClaim(r Request, query []parameter) (*claim, error) {
	header, inHeader := headerValue(r.Header, "Authorization")
	_, inQuery, err := one(query, "X-Amz-Signature")
	if err != nil {
		return nil, err
	}
	_, named, _ := one(query, "X-Amz-Algorithm")
	switch {
	case inHeader && (inQuery || named):
		return nil, refusef(incompleteSignature, "A signature in the Authorization header and one in the query: only one is allowed.")
	case inHeader:
		return fromHeader(r, header)
	case inQuery || named:
		return fromQuery(query)
	}
	return nil, refusef(missingToken, "Missing Authentication Token")
}

// fromHeader reads `AWS4-HMAC-SHA256 Credential=..., SignedHeaders=...,
// Signature=...`.
func fromHeader(r Request, header string) (*claim, error) {
	if len(r.Header["Authorization"]) > 1 {
		return nil, refusef(incompleteSignature, "Authorization is given more than once.")
	}
	rest, ok := strings.CutPrefix(header, Algorithm)
	if !ok || rest == "" || rest[0] != ' ' && rest[0] != '\t' {
		return nil, refusef(incompleteSignature, "Authorization header requires the algorithm %s.", Algorithm)
	}
	parts := make(map[string]string)
	for field := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if _, twice := parts[name]; !ok || twice {
			return nil, refusef(incompleteSignature, "Authorization header is malformed at %q.", strings.TrimSpace(field))
		}
		parts[name] = value
	}
	c := &claim{}
	if err := c.read(parts["Credential"], parts["SignedHeaders"], parts["Signature"]); err != nil {
		return nil, err
	}
	return c, c.readHeaderDate(r)
}

func (c *claim) readHeaderDate(r Request) error {
	date, ok := headerValue(r.Header, "X-Amz-Date")
	if !ok {
		return refusef(incompleteSignature, "Authorization header requires existence of 'X-Amz-Date'.")
	}
	token, ok := headerValue(r.Header, "X-Amz-Security-Token")
	if ok && !slices.Contains(c.signed, "x-amz-security-token") {
		return refusef(incompleteSignature, "X-Amz-Security-Token must be signed.")
	}
	c.token = token
	return c.readDate(date)
}

// fromQuery reads a presigned request (http-api.md 3.2).
func fromQuery(query []parameter) (*claim, error) {
	values := make(map[string]string)
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Expires"} {
		value, _, err := one(query, name)
		if err != nil {
			return nil, err
		}
		values[name] = value
	}
	if values["X-Amz-Algorithm"] != Algorithm {
		return nil, refusef(incompleteSignature, "X-Amz-Algorithm must be %s.", Algorithm)
	}
	c := &claim{presigned: true, token: values["X-Amz-Security-Token"]}
	if err := c.read(values["X-Amz-Credential"], values["X-Amz-SignedHeaders"], values["X-Amz-Signature"]); err != nil {
		return nil, err
	}
	if err := c.readExpires(values["X-Amz-Expires"]); err != nil {
		return nil, err
	}
	return c, c.readDate(values["X-Amz-Date"])
}

func (c *claim) readExpires(text string) error {
	if text == "" {
		return nil
	}
	seconds, err := strconv.ParseUint(text, 10, 32)
	c.expires = time.Duration(seconds) * time.Second
	if err != nil || seconds == 0 || c.expires > expiresMax {
		return refusef(incompleteSignature, "X-Amz-Expires must be 1 to 604800 seconds.")
	}
	return nil
}

// read takes the three parts that both forms have.
func (c *claim) read(credential, signed, signature string) error {
	if credential == "" || signed == "" || signature == "" {
		return refusef(incompleteSignature, "The signature requires Credential, SignedHeaders and Signature.")
	}
	fields := strings.Split(credential, "/")
	n := len(fields)
	if n < 5 || fields[n-1] != scopeEnd || slices.Contains(fields[n-5:], "") {
		return refusef(incompleteSignature, "Credential must be KEY/DATE/REGION/SERVICE/%s.", scopeEnd)
	}
	// a key id may hold a slash; the scope is the last four fields
	c.keyID = strings.Join(fields[:n-4], "/")
	c.day, c.region, c.service = fields[n-4], fields[n-3], fields[n-2]
	c.signed = strings.Split(signed, ";")
	if !slices.Contains(c.signed, "host") {
		return refusef(incompleteSignature, "'Host' must be a signed header.")
	}
	for i, name := range c.signed {
		if name == "" || name != strings.ToLower(name) || slices.Contains(c.signed[:i], name) {
			return refusef(incompleteSignature, "SignedHeaders must be different names in lower case.")
		}
	}
	var err error
	if c.signature, err = hex.DecodeString(signature); err != nil || len(c.signature) != 32 {
		return refusef(incompleteSignature, "Signature must be 64 hexadecimal digits.")
	}
	return nil
}

func (c *claim) readDate(text string) error {
	at, err := time.Parse(dateForm, text)
	if err != nil {
		return refusef(incompleteSignature, "X-Amz-Date must be in the form YYYYMMDD'T'HHMMSS'Z'.")
	}
	if c.day != text[:8] {
		return refusef(invalidSignature, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s'.", c.day, text[:8])
	}
	c.date, c.at = text, at
	return nil
}
