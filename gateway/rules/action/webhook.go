package action

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/rules/role"
)

// answerMax is how much of an answer is read, and thrown away.
const answerMax = 64 << 10

// Dial reaches the network.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// NewClient makes a client for webhooks. It follows no redirection and knows no
// proxy. Unless inside is set it refuses this host and its link, whatever a
// name resolves to. dial is the network; nil is the host's.
func NewClient(dial Dial, inside bool) *http.Client {
	dialer := &net.Dialer{Timeout: 3 * time.Second}
	if !inside {
		dialer.Control = outsideOnly
	}
	reach := dialer.DialContext
	if dial != nil {
		reach = func(ctx context.Context, network, address string) (net.Conn, error) {
			if !inside {
				if err := outsideOnly(network, address, nil); err != nil {
					return nil, err
				}
			}
			return dial(ctx, network, address)
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: reach, MaxConnsPerHost: 8, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: 4 * time.Second, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// outsideOnly refuses addresses of this host and of its link. It sees resolved
// addresses; a name that is still one is judged later.
func outsideOnly(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err == nil && near(at.Addr()) {
		return iot.Errorf(iot.Forbidden, "%s is on this host or its link; name it in the url and in the role", at.Addr())
	}
	return nil
}

// near reports whether an address is of this host or its link, or none at all.
func near(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast()
}

type headerField struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func webhook(d *draft) planner {
	var f struct {
		URL          string          `json:"url"`
		Confirmation string          `json:"confirmationUrl"` // the role confirms
		Headers      []headerField   `json:"headers"`
		Auth         json.RawMessage `json:"auth"`
		RoleARN      string          `json:"roleArn"` // not at AWS
	}
	d.read(&f)
	if len(f.Auth) > 0 && string(f.Auth) != "null" {
		d.refuse("auth is not available here; put what the other side wants into headers, with get_secret")
	}
	target := d.required("url", f.URL)
	values := make([]slot, len(f.Headers))
	for i, h := range f.Headers {
		if !headerName(h.Key) {
			d.refuse("headers: %q cannot be set", h.Key)
		}
		values[i] = d.optional("headers."+h.Key, h.Value)
	}
	d.byImplicit(f.RoleARN)
	by := d.action
	return func(_ context.Context, w *World, c *Call, texts []string) (Plan, error) {
		u, err := parseURL(target.of(texts))
		if err != nil {
			return Plan{Resource: target.of(texts)}, err
		}
		need := role.Need{Action: "http:Post", Resource: u.String()}
		plan := Plan{Resource: need.Resource, Needs: []role.Need{need}}
		head := http.Header{"Content-Type": {contentType(c.Payload)}}
		for i, h := range f.Headers {
			text := values[i].of(texts)
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return plan, iot.Errorf(iot.InvalidRequest, "headers.%s holds a control character", h.Key)
			}
			head.Set(h.Key, text)
		}
		client := w.clientFor(by.role, u, need)
		plan.do = func(ctx context.Context) error { return post(ctx, client, need.Resource, head, c.Payload) }
		return plan, nil
	}
}

func contentType(payload []byte) string {
	if json.Valid(payload) {
		return "application/json"
	}
	return "application/octet-stream"
}

// forbiddenHeaders belong to the transport.
var forbiddenHeaders = []string{"Host", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Te", "Trailer", "Keep-Alive", "Expect", ""}

func headerName(name string) bool {
	token := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return !token(r) }) && !slices.Contains(forbiddenHeaders, http.CanonicalHeaderKey(name))
}

// parseURL gives a URL in the form in which roles are asked: no user, no
// fragment, host in lower case, nothing that a server could read as another
// path.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, iot.Errorf(iot.InvalidRequest, "url: %v", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Opaque != "" || u.User != nil {
		return nil, iot.Errorf(iot.InvalidRequest, "url %q: want http or https, a host and no user", u.Redacted())
	}
	for part := range strings.SplitSeq(u.Path, "/") {
		if part == "." || part == ".." {
			return nil, iot.Errorf(iot.InvalidRequest, "url %q: the path holds %q", u.Redacted(), part)
		}
	}
	u.Host, u.Fragment, u.RawFragment = strings.ToLower(u.Host), "", ""
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

// clientFor gives the client that may reach this host only to a URL that spells
// it, if a role spells it too.
func (w *World) clientFor(name string, u *url.URL, need role.Need) *http.Client {
	ip, err := netip.ParseAddr(u.Hostname())
	here := u.Hostname() == "localhost" || err == nil && near(ip)
	if r, ok := w.Role(name); here && ok && r.Spells(need, len(u.Scheme)+len("://")+len(u.Host)) {
		return w.Inside
	}
	return w.Web
}

// post sends one request. What the other side will refuse again is an
// InvalidRequest; anything else may be tried again.
func post(ctx context.Context, client *http.Client, target string, head http.Header, payload []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(payload))
	if err != nil {
		return iot.Errorf(iot.InvalidRequest, "%v", err)
	}
	request.Header = head.Clone()
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, answerMax)) // so that the connection can be used again
	code := response.StatusCode
	switch {
	case code >= 200 && code <= 299:
		return nil
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
		return fmt.Errorf("the server answers %s", response.Status)
	}
	return iot.Errorf(iot.InvalidRequest, "the server answers %s", response.Status)
}
