package load

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestAppend_MatchesTheSpecification compares with packets written by hand
// from MQTT 3.1.1 and 5, chapter 3.
func TestAppend_MatchesTheSpecification(t *testing.T) {
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"connect 3.1.1":            {appendConnect(nil, Options{Level: 4, ClientID: "ab", KeepAlive: 60}), "10 0e 0004 4d515454 04 02 003c 0002 6162"},
		"connect 3.1.1 persistent": {appendConnect(nil, Options{Level: 4, ClientID: "ab", Persistent: true}), "10 0e 0004 4d515454 04 00 0000 0002 6162"},
		"connect 5": {appendConnect(nil, Options{Level: 5, ClientID: "a", Persistent: true, ReceiveMax: 10}),
			"10 16 0004 4d515454 05 00 0000 08 11 00000e10 21 000a 0001 61"},
		"subscribe":    {appendSubscribe(nil, 4, 1, "a/+", 1), "82 08 0001 0003 612f2b 01"},
		"subscribe 5":  {appendSubscribe(nil, 5, 1, "a/+", 2), "82 09 0001 00 0003 612f2b 02"},
		"publish 0":    {append(appendPublish(nil, 4, "t", 0, 7, 2), "hi"...), "30 05 0001 74 6869"},
		"publish 2":    {append(appendPublish(nil, 4, "t", 2, 7, 2), "hi"...), "34 07 0001 74 0007 6869"},
		"publish 1, 5": {append(appendPublish(nil, 5, "t", 1, 7, 2), "hi"...), "32 08 0001 74 0007 00 6869"},
		"puback":       {appendAck(nil, Puback, 0x1234), "40 02 1234"},
		"pubrel":       {appendAck(nil, Pubrel, 1), "62 02 0001"},
		"long":         {appendPublish(nil, 4, "t", 0, 0, 200), "30 cb01 0001 74"},
	} {
		if got := hex.EncodeToString(c.got); got != strings.ReplaceAll(c.want, " ", "") {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestMessage_GivesWhatWasPublished(t *testing.T) {
	for _, level := range []byte{4, 5} {
		for qos := range byte(3) {
			for _, payload := range []string{"", "x", strings.Repeat("long ", 5000)} {
				raw := append(appendPublish(nil, level, "a/b", qos, 77, len(payload)), payload...)
				p, err := NewReader(bytes.NewReader(raw)).Next()
				if err != nil {
					t.Fatal(err)
				}
				topic, id, got, err := p.Message(level)
				if err != nil || string(topic) != "a/b" || string(got) != payload || p.QoS() != qos || qos > 0 && id != 77 {
					t.Errorf("level %d, QoS %d: topic %q, id %d, %d bytes, %v", level, qos, topic, id, len(got), err)
				}
			}
		}
	}
}

// TestReader_FindsPacketsHoweverTheyArrive reads the same stream in pieces of
// one byte, in halves, and at once.
func TestReader_FindsPacketsHoweverTheyArrive(t *testing.T) {
	var stream []byte
	for i := range 300 {
		stream = append(appendPublish(stream, 4, "t", 1, uint16(i), i*7), make([]byte, i*7)...)
		stream = appendAck(stream, Puback, uint16(i))
	}
	for name, cut := range map[string]func(io.Reader) io.Reader{
		"bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "whole": func(r io.Reader) io.Reader { return r },
		"with the end": iotest.DataErrReader,
	} {
		r := NewReader(cut(bytes.NewReader(stream)))
		for i := range 300 {
			p, err := r.Next()
			if err != nil || p.Type != Publish {
				t.Fatalf("%s: packet %d: %+v, %v", name, i, p, err)
			}
			if _, id, payload, err := p.Message(4); err != nil || int(id) != i || len(payload) != i*7 {
				t.Fatalf("%s: message %d: id %d, %d bytes, %v", name, i, id, len(payload), err)
			}
			if p, err = r.Next(); err != nil || p.Type != Puback || int(p.ID()) != i {
				t.Fatalf("%s: ack %d: %+v, %v", name, i, p, err)
			}
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
}

// TestReader_SendsBeforeItWaits proves that Idle comes before every read of the
// socket and only then: acknowledgements leave in batches.
func TestReader_SendsBeforeItWaits(t *testing.T) {
	stream := bytes.Repeat(appendAck(nil, Puback, 1), 100)
	r, idle := NewReader(bytes.NewReader(stream)), 0
	r.Idle = func() { idle++ }
	for range 100 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if idle != 1 {
		t.Errorf("idle %d times within one batch, want 1", idle)
	}
}

func TestReader_RefusesWhatIsNoMQTT(t *testing.T) {
	for _, raw := range []string{"\x30\xff\xff\xff\xff\x01", "\x30\xff\xff\xff\x7f"} {
		if _, err := NewReader(strings.NewReader(raw)).Next(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v, want ErrMalformed", raw, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(append(appendPublish(nil, 5, "t", 1, 7, 2), "hi"...), byte(5))
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0xff}, byte(4))
	f.Fuzz(func(t *testing.T, raw []byte, level byte) {
		r := NewReader(bytes.NewReader(raw))
		for {
			p, err := r.Next()
			if err != nil {
				return
			}
			if topic, _, payload, err := p.Message(level); err == nil && len(topic)+len(payload) > len(raw) {
				t.Errorf("%x gives more than it has", raw)
			}
		}
	})
}
