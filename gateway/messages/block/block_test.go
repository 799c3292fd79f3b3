package block

import (
	"bytes"
	"fmt"
	"math/rand/v2"
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
	{Inc: "abcdefgh", Seq: 103, Topic: "t", Payload: []byte("{}"), Wall: time.UnixMilli(0).UTC(), To: []string{"cloud"},
		Fold: &Fold{Level: 1, From: 4, N: 100, Bad: 2, Left: 7}},
}

func sampleBlock() *Block {
	return &Block{Inc: "abcdefgh", N: len(samples), Dests: []Dest{{Name: "cloud", Routed: 3, Hold: true, Folded: 99}, {Name: "plant", Routed: 1, Live: true}}, Recs: samples, Masks: []uint64{0, 1, 3, 1}}
}

func TestBlock_ComesBackAsItWas(t *testing.T) {
	var p Packer
	for range 2 { // the compressor is used again
		stored, enc := p.Pack(sampleBlock().EncodeBody())
		if enc != encFlate {
			t.Errorf("encoding %d", enc)
		}
		body, err := unpack(stored, enc)
		if err != nil {
			t.Fatal(err)
		}
		got := &Block{}
		if err := got.decodeBody(body); err != nil {
			t.Fatal(err)
		}
		for i := range samples {
			want := samples[i]
			if want.Payload == nil {
				want.Payload = []byte{}
			}
			if !reflect.DeepEqual(got.Recs[i], want) {
				t.Errorf("record %d:\n%+v, want\n%+v", i, got.Recs[i], want)
			}
		}
	}
	dests, err := DecodeDests(EncodeDests(sampleBlock().Dests))
	if err != nil || !reflect.DeepEqual(dests, sampleBlock().Dests) {
		t.Errorf("shares %v, %v", dests, err)
	}
}

// TestPack_CompressesWhatShrinksByAQuarter: time is spent where flash is saved.
func TestPack_CompressesWhatShrinksByAQuarter(t *testing.T) {
	noise := make([]byte, 64<<10)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	readings := []byte(strings.Repeat(`{"temperature":21.5,"humidity":40.25,"ok":true}`, 1000))
	for name, c := range map[string]struct {
		body []byte
		enc  int
	}{
		"noise": {noise, encPlain}, "readings": {readings, encFlate},
		"short noise": {noise[:2000], encPlain}, "short readings": {readings[:2000], encFlate},
	} {
		var p Packer
		stored, enc := p.Pack(c.body)
		if enc != c.enc {
			t.Errorf("%s: encoding %d, want %d", name, enc, c.enc)
		}
		if got, err := unpack(stored, enc); err != nil || !bytes.Equal(got, c.body) {
			t.Errorf("%s: does not come back, %v", name, err)
		}
	}
}

// BenchmarkPack packs a block of 500 messages.
func BenchmarkPack(b *testing.B) {
	noise := make([]byte, 128<<10)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	for name, body := range map[string][]byte{"noise": noise, "readings": []byte(strings.Repeat(`{"temperature":21.5,"humidity":40.25,"ok":true}`, 2788))} {
		b.Run(name, func(b *testing.B) {
			var p Packer
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				p.Pack(body)
			}
		})
	}
}

// Any one damaged byte costs the record it is in, or everything behind it when
// it is a length; the records before it are as they were.
func TestBlock_DamagedByteNeverChangesARecord(t *testing.T) {
	body := sampleBlock().EncodeBody()
	for at := range body {
		if at > 200 && at%37 != 0 {
			continue
		}
		bad := bytes.Clone(body)
		bad[at] ^= 0x41
		got := &Block{}
		_ = got.decodeBody(bad)
		for i, r := range got.Recs {
			if r.Seq != 0 && (i >= len(samples) || r.Seq != samples[i].Seq || r.Topic != samples[i].Topic || !bytes.Equal(r.Payload, samples[i].Payload)) {
				t.Fatalf("byte %d: record %d came back as number %d", at, i, r.Seq)
			}
		}
	}
}

func TestBlock_BadCRCLeavesTheRestUsable(t *testing.T) {
	body := sampleBlock().EncodeBody()
	at := bytes.Index(body, []byte("a\x00b\xff"))
	body[at] ^= 1
	got := &Block{}
	if err := got.decodeBody(body); err != nil {
		t.Fatal(err)
	}
	if len(got.Recs) != len(samples) || got.Recs[0].Seq != 1 || got.Recs[1].Seq != 0 || got.Recs[2].Seq != 3 {
		t.Errorf("records %v", fmt.Sprint(got.Recs[0].Seq, got.Recs[1].Seq, got.Recs[2].Seq))
	}
}

// T-37, with FuzzDecodeBlock and the fuzz targets of telemetry, judge and desk.
func FuzzDecodeRecord(f *testing.F) {
	for i := range samples {
		f.Add(AppendRecord(nil, &samples[i], 3))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, mask, err := DecodeRecord(b)
		if err != nil {
			return
		}
		again, mask2, err := DecodeRecord(AppendRecord(nil, &r, mask))
		if err != nil || mask != mask2 || !reflect.DeepEqual(r, again) {
			t.Errorf("%x\n%+v\n%+v %v", b, r, again, err)
		}
	})
}

func FuzzDecodeBlock(f *testing.F) {
	var p Packer
	body := sampleBlock().EncodeBody()
	stored, enc := p.Pack(body)
	f.Add(stored, byte(enc))
	f.Add(body, byte(encPlain))
	f.Fuzz(func(t *testing.T, stored []byte, enc byte) {
		b := &Block{N: 10}
		b.Open(stored, int(enc))
		if len(b.Recs) > 10 || len(b.Recs) != len(b.Masks) {
			t.Errorf("%d records, %d masks", len(b.Recs), len(b.Masks))
		}
	})
}

func FuzzDecodeDests(f *testing.F) {
	f.Add(EncodeDests(sampleBlock().Dests))
	f.Fuzz(func(t *testing.T, b []byte) {
		if dests, err := DecodeDests(b); err == nil && len(dests) > CursorsMax {
			t.Errorf("%d shares", len(dests))
		}
	})
}

func TestCut_NoBlockIsTooLargeAndNothingIsMissing(t *testing.T) {
	recs := make([]Record, 2*RecordsMax+1)
	recs[5].Payload = make([]byte, BytesMax+1)
	left := recs
	for i, chunk := range Cut(recs) {
		size := 0
		for j := range chunk {
			if size += chunk[j].Size(); &chunk[j] != &left[j] {
				t.Fatalf("chunk %d, record %d is not the next one", i, j)
			}
		}
		if len(chunk) == 0 || len(chunk) > RecordsMax || size > BytesMax && len(chunk) > 1 {
			t.Errorf("chunk %d has %d records, %d bytes", i, len(chunk), size)
		}
		left = left[len(chunk):]
	}
	if len(left) != 0 {
		t.Errorf("%d records are in no chunk", len(left))
	}
}
