package function

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// checkURL wants an endpoint on this host: a function elsewhere would carry
// messages out of the house past every role.
func checkURL(f Function) error {
	u, err := url.Parse(f.URL)
	if err != nil {
		return iot.Errorf(iot.InvalidRequest, "function %q: %v", f.Name, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return iot.Errorf(iot.InvalidRequest, "function %q: url %q: want http://127.0.0.1:PORT/PATH", f.Name, u.Redacted())
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return iot.Errorf(iot.InvalidRequest, "function %q: url host %q: want localhost, 127.0.0.1 or [::1]; a function runs on the gateway", f.Name, host)
	}
	return nil
}

// newClient goes to loopback alone, whatever a name resolves to, follows no
// redirection and knows no proxy.
func newClient(f Function, dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 2 * time.Second, Control: loopbackOnly}).DialContext
	}
	return &http.Client{
		Transport:     &http.Transport{DialContext: dial, MaxConnsPerHost: f.Instances, MaxIdleConnsPerHost: f.Instances, IdleConnTimeout: f.Idle},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func loopbackOnly(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%s is not on loopback", address)
	}
	return nil
}

// post sends the event to the endpoint, with the context in headers.
func (p *pool) post(ctx context.Context, c Call, event []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.of.URL, bytes.NewReader(event))
	if err != nil {
		return nil, err
	}
	for key, value := range map[string]string{
		"Content-Type": "application/json", "X-Tidehold-Function": p.of.Name, "X-Tidehold-Rule": c.Rule,
		"X-Tidehold-Topic": url.PathEscape(c.Topic), "X-Tidehold-Trace-Id": c.TraceID, "X-Tidehold-Client-Id": url.PathEscape(c.ClientID),
	} {
		request.Header.Set(key, value)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, PayloadMax+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > PayloadMax:
		return nil, iot.Errorf(iot.TooLarge, "it answered more than %d bytes", PayloadMax)
	case response.StatusCode < 200 || response.StatusCode > 299:
		return nil, fmt.Errorf("status %s: %s", response.Status, clip(bytes.TrimSpace(body), 200))
	}
	return answerOf(body)
}
