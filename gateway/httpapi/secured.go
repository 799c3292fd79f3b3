package httpapi

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
)

// securedListener hides TLS from net/http, which hangs up on every protocol of
// ALPN that it does not know, AWS's x-amzn-http-ca among them.
type securedListener struct{ net.Listener }

type securedConn struct{ *tls.Conn }

// Accept waits for the next connection.
func (l securedListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if secure, is := nc.(*tls.Conn); is {
		return securedConn{secure}, err
	}
	return nc, err
}

// connKey finds a securedConn in the context of its requests.
type connKey struct{}

func rememberConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// tellTLS gives requests the TLS state of their connection back.
func tellTLS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if secure, is := r.Context().Value(connKey{}).(securedConn); is {
			state := secure.ConnectionState()
			r.TLS = &state
		}
		next.ServeHTTP(w, r)
	})
}
