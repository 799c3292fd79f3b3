package access

import (
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/ban"
	"github.com/tidehold/tidehold/gateway/iot"
)

// bans are the certificates whose connections are refused again and again, from
// whatever address. Addresses are banned where connections are accepted.
type bans struct {
	mu   sync.Mutex
	book ban.Book[string]
}

// monotonic is a time of ban.Book.
func monotonic(up time.Duration) time.Time { return time.Time{}.Add(up) }

// banned refuses a certificate that is banned now.
func (b *bans) banned(c *Client, up time.Duration) error {
	if !bannable(c) {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.book.Left(c.Principal.ID, monotonic(up))
	if left == 0 {
		return nil
	}
	return iot.Errorf(iot.Forbidden, "certificate %s was refused too often; try again in %v", c.Principal.ID, left.Round(time.Second))
}

// failed counts a refused connection and reports whether it bans the certificate.
func (b *bans) failed(c *Client, up time.Duration) bool {
	if !bannable(c) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.book.Failed(c.Principal.ID, monotonic(up))
}

// bannable: programs of this host are exempt.
func bannable(c *Client) bool {
	return c.Principal.Kind == iot.CertificateKind && !loopback(c.RemoteIP)
}
