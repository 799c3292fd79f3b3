package sigv4

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parameter is one query parameter, decoded.
type parameter struct{ name, value string }

// parseQuery decodes a raw query. A plus sign is a plus sign: clients send a
// space as %20.
func parseQuery(raw string) ([]parameter, error) {
	var all []parameter
	for field := range strings.SplitSeq(raw, "&") {
		if field == "" {
			continue
		}
		name, value, _ := strings.Cut(field, "=")
		n, err := url.PathUnescape(name)
		v, err2 := url.PathUnescape(value)
		if err != nil || err2 != nil {
			return nil, refusef(incompleteSignature, "The query is not percent-encoded at %q.", field)
		}
		all = append(all, parameter{n, v})
	}
	return all, nil
}

// one gives the value of a parameter that may be there only once.
func one(query []parameter, name string) (value string, ok bool, err error) {
	for _, p := range query {
		if p.name != name {
			continue
		}
		if ok {
			return "", false, refusef(incompleteSignature, "%s is given more than once.", name)
		}
		value, ok = p.value, true
	}
	return value, ok, nil
}

// canonicalQueries are the query as it may have been signed. The AWS IoT SDKs
// append the session token after signing; other signers sign it too.
func (c *claim) canonicalQueries(query []parameter) []string {
	without := func(names ...string) string {
		return canonicalQuery(slices.DeleteFunc(slices.Clone(query), func(p parameter) bool { return slices.Contains(names, p.name) }))
	}
	switch {
	case !c.presigned:
		return []string{canonicalQuery(query)}
	case c.token == "":
		return []string{without("X-Amz-Signature", "X-Amz-Security-Token")}
	}
	return []string{without("X-Amz-Signature", "X-Amz-Security-Token"), without("X-Amz-Signature")}
}

// canonicalQuery encodes strictly and sorts by encoded name, then value.
func canonicalQuery(query []parameter) string {
	encoded := make([]parameter, len(query))
	for i, p := range query {
		encoded[i] = parameter{escape(p.name), escape(p.value)}
	}
	slices.SortFunc(encoded, func(a, b parameter) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	var b strings.Builder
	for i, p := range encoded {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name + "=" + p.value)
	}
	return b.String()
}

// canonicalPaths are the path as it may have been signed: as received with each
// segment encoded once more, and the same without dot segments and empty
// segments, which botocore signs.
func canonicalPaths(path string) []string {
	if path == "" {
		path = "/"
	}
	received := escapeSegments(path)
	clean := escapeSegments(removeDots(path))
	if clean == received {
		return []string{received}
	}
	return []string{received, clean}
}

func escapeSegments(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = escape(s)
	}
	return strings.Join(segments, "/")
}

// removeDots drops empty and dot segments; a final slash stays.
func removeDots(path string) string {
	var kept []string
	for s := range strings.SplitSeq(path, "/") {
		switch s {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, s)
		}
	}
	clean := "/" + strings.Join(kept, "/")
	if len(kept) > 0 && (strings.HasSuffix(path, "/") || strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..")) {
		clean += "/"
	}
	return clean
}

// escape encodes every byte but the unreserved ones (RFC 3986, 2.3).
func escape(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if unreserved(c) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func unreserved(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~'
}

// canonicalHeaders are the signed headers, each with its newline.
func canonicalHeaders(r Request, signed []string) string {
	var b strings.Builder
	for _, name := range signed {
		b.WriteString(name + ":" + signedValue(r, name) + "\n")
	}
	return b.String()
}

// signedValue is the value of a header: Go keeps two of them elsewhere.
func signedValue(r Request, name string) string {
	switch name {
	case "host":
		return collapse(r.Host)
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10)
	}
	values := r.Header[headerKey(name)]
	trimmed := make([]string, len(values))
	for i, v := range values {
		trimmed[i] = collapse(v)
	}
	return strings.Join(trimmed, ",")
}

// collapse trims a value and makes one space of each run of spaces.
func collapse(s string) string { return strings.Join(strings.Fields(s), " ") }

// headerKey is the canonical form of a header name as net/http writes it.
func headerKey(lower string) string {
	b := []byte(lower)
	upper := true
	for i, c := range b {
		if upper && 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
		upper = c == '-'
	}
	return string(b)
}

// headerValue is the first value of a header.
func headerValue(header map[string][]string, name string) (string, bool) {
	values := header[name]
	if len(values) == 0 {
		return "", false
	}
	return strings.TrimSpace(values[0]), true
}
