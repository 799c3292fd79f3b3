package messages

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

var samples = []Record{
	{Inc: "abcdefgh", Seq: 1, Topic: "007", Wall: time.UnixMilli(-5).UTC()},
	{Inc: "abcdefgh", Seq: 1 << 60, Topic: " 5 ", Payload: []byte("a\x00b\xff"), QoS: 2, Retain: true, Source: "dev/x", ClientID: "x", Boot: "b00b1e",
		Up: 3 * time.Hour, Wall: time.UnixMilli(1_700_000_000_123).UTC(), Synced: true, Sim: true, To: []string{"cloud"},
		Properties: &iot.Properties{ContentType: "application/json", ResponseTopic: "r", CorrelationData: []byte{1}, PayloadFormat: 1,
			HasPayloadFormat: true, MessageExpiry: 1<<32 - 1, User: []iot.UserProperty{{Key: "k", Value: "v"}, {Key: "k", Value: "𝄞"}}}},
	{Inc: "abcdefgh", Seq: 3, Topic: "1e3", Payload: []byte(strings.Repeat("long ", 1000)), Wall: time.UnixMilli(0).UTC(), To: []string{"cloud", "plant"},
		Properties: &iot.Properties{}},
}

func sampleBlock() *block {
	return &block{inc: "abcdefgh", n: len(samples), dests: []dest{{"cloud", 2, true}, {"plant", 1, false}}, recs: samples, masks: []uint64{0, 1, 3}}
}

func TestBlock_ComesBackAsItWas(t *testing.T) {
	var p packer
	for range 2 { // the compressor is used again
		stored, enc := p.pack(sampleBlock().encodeBody())
		if enc != encFlate {
			t.Errorf("encoding %d", enc)
		}
		body, err := unpack(stored, enc)
		if err != nil {
			t.Fatal(err)
		}
		got := &block{}
		if err := got.decodeBody(body); err != nil {
			t.Fatal(err)
		}
		for i := range samples {
			want := samples[i]
			if want.Payload == nil {
				want.Payload = []byte{}
			}
			if !reflect.DeepEqual(got.recs[i], want) {
				t.Errorf("record %d:\n%+v, want\n%+v", i, got.recs[i], want)
			}
		}
	}
	dests, err := decodeDests(encodeDests(sampleBlock().dests))
	if err != nil || !reflect.DeepEqual(dests, sampleBlock().dests) {
		t.Errorf("shares %v, %v", dests, err)
	}
}

// Any one damaged byte costs the record it is in, or everything behind it when
// it is a length; the records before it are as they were.
func TestBlock_DamagedByteNeverChangesARecord(t *testing.T) {
	body := sampleBlock().encodeBody()
	for at := range body {
		if at > 200 && at%37 != 0 {
			continue
		}
		bad := bytes.Clone(body)
		bad[at] ^= 0x41
		got := &block{}
		_ = got.decodeBody(bad)
		for i, r := range got.recs {
			if r.Seq != 0 && (i >= len(samples) || r.Seq != samples[i].Seq || r.Topic != samples[i].Topic || !bytes.Equal(r.Payload, samples[i].Payload)) {
				t.Fatalf("byte %d: record %d came back as number %d", at, i, r.Seq)
			}
		}
	}
}

func TestBlock_BadCRCLeavesTheRestUsable(t *testing.T) {
	body := sampleBlock().encodeBody()
	at := bytes.Index(body, []byte("a\x00b\xff"))
	body[at] ^= 1
	got := &block{}
	if err := got.decodeBody(body); err != nil {
		t.Fatal(err)
	}
	if len(got.recs) != 3 || got.recs[0].Seq != 1 || got.recs[1].Seq != 0 || got.recs[2].Seq != 3 {
		t.Errorf("records %v", fmt.Sprint(got.recs[0].Seq, got.recs[1].Seq, got.recs[2].Seq))
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for i := range samples {
		f.Add(appendRecord(nil, &samples[i], 3))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, mask, err := decodeRecord(b)
		if err != nil {
			return
		}
		again, mask2, err := decodeRecord(appendRecord(nil, &r, mask))
		if err != nil || mask != mask2 || !reflect.DeepEqual(r, again) {
			t.Errorf("%x\n%+v\n%+v %v", b, r, again, err)
		}
	})
}

func FuzzDecodeBlock(f *testing.F) {
	var p packer
	body := sampleBlock().encodeBody()
	stored, enc := p.pack(body)
	f.Add(stored, byte(enc))
	f.Add(body, byte(encPlain))
	f.Fuzz(func(t *testing.T, stored []byte, enc byte) {
		b := &block{n: 10}
		b.open(stored, int(enc))
		if len(b.recs) > 10 || len(b.recs) != len(b.masks) {
			t.Errorf("%d records, %d masks", len(b.recs), len(b.masks))
		}
	})
}

func FuzzDecodeDests(f *testing.F) {
	f.Add(encodeDests(sampleBlock().dests))
	f.Fuzz(func(t *testing.T, b []byte) {
		if dests, err := decodeDests(b); err == nil && len(dests) > blockCursorsMax {
			t.Errorf("%d shares", len(dests))
		}
	})
}
