package uplink

import (
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/url"
	"slices"

	"github.com/gorilla/websocket"
)

// mqttURL is what paho hands to whoever opens its connection.
type mqttURL = url.URL

// classify says what kind of failure ended an attempt.
func (l *Link) classify(err error) event {
	e := event{kind: evLost, err: err}
	switch {
	case refusedForGood(err) || tlsRefused(err):
		e.class = lossAuth
	case certificateTime(err) && !l.clk.Synced():
		e.class = lossClock
	}
	return e
}

// refusedForGood: only `server unavailable` gets better by itself.
func refusedForGood(err error) bool {
	var refused *refusedError
	return errors.As(err, &refused) && refused.code != 3
}

// tlsRefused reports whether the server's TLS refused us: its alert comes as
// the error of an operation named so.
func tlsRefused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// certificateTime reports whether the server's certificate is not valid at this
// time.
func certificateTime(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

func isCloseFrame(err error) bool {
	var frame *websocket.CloseError
	return errors.As(err, &frame)
}

func sortedKeys(m map[string]byte) []string { return slices.Sorted(maps.Keys(m)) }
