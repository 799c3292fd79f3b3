package messages

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// The limits of a block. A single record larger than a block gets one of its
// own.
const (
	blockRecordsMax  = 1000
	blockBytesMax    = 1 << 20
	compressOver     = 1 << 10  // bodies up to here stay as they are
	blockDecodedMax  = 32 << 20 // no block of ours is larger: a decoder stops here
	blockCursorsMax  = 64       // the bits of a record's mask
	frameHeaderBytes = 4        // CRC of a frame
)

// The encodings of a body.
const (
	encPlain = 0
	encFlate = 1
)

const blockVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// dest is one cursor's share of a block.
type dest struct {
	name   string
	routed int  // records for it
	hold   bool // some of them are for cursors alone that are not required
}

// block is a decoded block: one row of the log. Records that could not be read
// keep their place and have Seq 0.
type block struct {
	id          int64
	inc         string
	first, last uint64
	n           int
	dests       []dest
	recs        []Record
	masks       []uint64
	bytes       int // of the stored body
}

// bit is the cursor's bit in the masks of b, 0 when b has nothing for it.
func (b *block) bit(cursor string) uint64 {
	for i, d := range b.dests {
		if d.name == cursor {
			return 1 << i
		}
	}
	return 0
}

// routed is how many of b's records are for the cursor.
func (b *block) routed(cursor string) int { return routedIn(b.dests, cursor) }

func routedIn(dests []dest, cursor string) int {
	for _, d := range dests {
		if d.name == cursor {
			return d.routed
		}
	}
	return 0
}

// encodeBody writes a block's head and records, each in a frame of its own.
func (b *block) encodeBody() []byte {
	head := []byte{blockVersion}
	head = appendText(head, b.inc)
	head = binary.AppendUvarint(head, uint64(len(b.dests)))
	for _, d := range b.dests {
		head = appendText(head, d.name)
	}
	out := appendFrame(make([]byte, 0, 256*len(b.recs)), 0, head)
	var one []byte
	for i := range b.recs {
		one = appendRecord(one[:0], &b.recs[i], b.masks[i])
		out = appendFrame(out, i+1, one)
	}
	return out
}

// appendFrame writes length, CRC-32C and content. The frame's place in the body
// goes into its CRC: behind a damaged length no frame can pass for another.
func appendFrame(b []byte, at int, content []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(content)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(uint32(at), castagnoli, content))
	return append(b, content...)
}

// errFrame means that the length of a frame is impossible: nothing after it can
// be found.
var errFrame = errors.New("frame is cut short")

// takeFrame gives the first frame's content and the rest; content is nil when
// its CRC does not fit.
func takeFrame(b []byte, at int) (content, rest []byte, err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)) || len(b)-w-frameHeaderBytes < int(n) {
		return nil, nil, errFrame
	}
	sum := binary.LittleEndian.Uint32(b[w:])
	content, rest = b[w+frameHeaderBytes:][:n:n], b[w+frameHeaderBytes:][n:]
	if crc32.Update(uint32(at), castagnoli, content) != sum {
		return nil, rest, nil
	}
	if content == nil {
		content = []byte{}
	}
	return content, rest, nil
}

// decodeBody fills recs and masks from a plain body. A record with a bad CRC is
// left out and the rest stays usable (telemetry.md section 11); the error says
// why everything behind some record, or the whole block, is unreadable.
func (b *block) decodeBody(body []byte) error {
	head, rest, err := takeFrame(body, 0)
	if err == nil && head == nil {
		err = errors.New("head has a bad CRC")
	}
	if err != nil {
		return fmt.Errorf("block head: %w", err)
	}
	if err := b.decodeHead(head); err != nil {
		return err
	}
	for at := 1; len(rest) > 0; at++ {
		var content []byte
		content, rest, err = takeFrame(rest, at)
		if err != nil {
			return err
		}
		b.take(content)
	}
	return nil
}

func (b *block) take(content []byte) {
	r, mask, err := Record{}, uint64(0), errShort
	if content != nil {
		r, mask, err = decodeRecord(content)
	}
	if err != nil {
		r, mask = Record{}, 0
	}
	r.Inc = b.inc
	for i, d := range b.dests {
		if mask&(1<<i) != 0 {
			r.To = append(r.To, d.name)
		}
	}
	b.recs, b.masks = append(b.recs, r), append(b.masks, mask)
}

func (b *block) decodeHead(head []byte) error {
	d := decoder{b: head}
	version := d.byte()
	b.inc = d.text()
	n := d.limited(blockCursorsMax)
	names := make([]string, 0, n)
	for range n {
		names = append(names, d.text())
	}
	if d.bad || len(d.b) != 0 {
		return fmt.Errorf("block head: %w", errShort)
	}
	if version != blockVersion {
		return fmt.Errorf("block has version %d, this program knows %d", version, blockVersion)
	}
	if b.dests == nil {
		for _, name := range names {
			b.dests = append(b.dests, dest{name: name})
		}
	}
	if !slices.EqualFunc(b.dests, names, func(d dest, name string) bool { return d.name == name }) {
		return errors.New("block head: its cursors are not those of the row")
	}
	return nil
}

// packer compresses and expands bodies and keeps the compressor, which is
// costly to make. Not safe for concurrent use.
type packer struct {
	w   *flate.Writer
	buf bytes.Buffer
}

// pack gives the stored form of a plain body.
func (p *packer) pack(body []byte) (stored []byte, enc int) {
	if len(body) <= compressOver {
		return body, encPlain
	}
	p.buf.Reset()
	if p.w == nil {
		p.w, _ = flate.NewWriter(&p.buf, flate.BestSpeed) // fails for bad levels only
	} else {
		p.w.Reset(&p.buf)
	}
	p.w.Write(body) // a buffer takes everything
	p.w.Close()
	if p.buf.Len() >= len(body) {
		return body, encPlain
	}
	return bytes.Clone(p.buf.Bytes()), encFlate
}

// unpack gives the plain body, as far as it can be expanded.
func unpack(stored []byte, enc int) ([]byte, error) {
	switch enc {
	case encPlain:
		return stored, nil
	case encFlate:
		body, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(stored)), blockDecodedMax))
		if err != nil {
			return body, fmt.Errorf("expand block: %w", err)
		}
		return body, nil
	}
	return nil, fmt.Errorf("block has encoding %d, this program knows up to %d", enc, encFlate)
}

// encodeDests is the row's copy of the shares: it can be read without the body.
func encodeDests(dests []dest) []byte {
	b := binary.AppendUvarint(nil, uint64(len(dests)))
	for _, d := range dests {
		b = appendText(b, d.name)
		b = binary.AppendUvarint(b, uint64(d.routed))
		hold := byte(0)
		if d.hold {
			hold = 1
		}
		b = append(b, hold)
	}
	return b
}

func decodeDests(b []byte) ([]dest, error) {
	d := decoder{b: b}
	n := d.limited(blockCursorsMax)
	dests := make([]dest, 0, n)
	for range n {
		dests = append(dests, dest{name: d.text(), routed: int(d.limited(blockDecodedMax)), hold: d.byte() == 1})
	}
	if d.bad || len(d.b) != 0 {
		return nil, errors.New("block row: malformed shares")
	}
	return dests, nil
}
