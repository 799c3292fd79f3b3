package farwire

import (
	"io"
	"net"
	"testing"
	"time"
)

// echo answers every connection with what it says.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	return l.Addr().String()
}

// TestWire_IsLateInOrderAndCountsAcknowledgements sends PUBACKs round: they come
// back as they went, never earlier than the round trip, and are counted.
func TestWire_IsLateInOrderAndCountsAcknowledgements(t *testing.T) {
	const roundTrip = 40 * time.Millisecond
	w, err := Listen(echo(t), roundTrip)
	if err != nil {
		t.Fatal(err)
	}
	w.Up()
	c, err := net.Dial("tcp", w.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	said := "\x40\x02\x00\x01\x40\x02\x00\x02\xd0\x00\x40\x02\x00\x03"
	began := time.Now()
	io.WriteString(c, said)
	heard := make([]byte, len(said))
	if _, err := io.ReadFull(c, heard); err != nil || string(heard) != said {
		t.Fatalf("heard %x, %v", heard, err)
	}
	if took := time.Since(began); took < roundTrip {
		t.Errorf("came back after %v", took)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := w.Acked(); n != 3 {
		t.Errorf("%d acknowledgements were counted, want 3", n)
	}
}

func TestWire_ThatIsDownClosesAtOnce(t *testing.T) {
	w, err := Listen(echo(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c, err := net.Dial("tcp", w.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes", n)
	}
}
