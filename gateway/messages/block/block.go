// Package block is how messages lie in the log's file: many records in one
// body, each with its own CRC, compressed as a whole.
//
// It is pure: bytes in, values out. A damaged byte costs the record it is in, or
// everything behind it when it was a length; it never changes a record and never
// makes one pass for another. Decoders take any bytes without panic and within
// decodedMax of memory. Formats are versioned in the body's head.
package block

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
)

// The limits of a block. A single record larger than a block gets one of its
// own.
const (
	// RecordsMax and BytesMax are of one block, CursorsMax the bits of a mask.
	RecordsMax       = 1000
	BytesMax         = 1 << 20
	compressOver     = 1 << 10  // bodies up to here stay as they are
	decodedMax       = 32 << 20 // no block of ours is larger: a decoder stops here
	CursorsMax       = 64       // the bits of a record's mask
	frameHeaderBytes = 4        // CRC of a frame
)

// The encodings of a body.
const (
	encPlain = 0
	encFlate = 1
)

const bodyVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Dest is one cursor's share of a block.
type Dest struct {
	Name   string
	Routed int  // records for it
	Hold   bool // some of them are for cursors alone that are not required
	Live   bool // the cursor was being read when the block was made: it may have been sent since
	Folded int  // messages that aggregates among the records stand for, over and above their own number
}

// Block is a decoded block: one row of the log.
type Block struct {
	// ID is the row's, Inc the incarnation that numbered First..Last.
	ID          int64
	Inc         string
	First, Last uint64
	// N is how many records there should be.
	N     int
	Dests []Dest
	// Recs and Masks go together: a mask says by the order of Dests who gets the
	// record. Records that could not be read keep their place with Seq 0.
	Recs  []Record
	Masks []uint64
	// Bytes is the size of the stored body.
	Bytes int
}

// Bit is the cursor's bit in the masks of b, 0 when b has nothing for it.
func (b *Block) Bit(cursor string) uint64 {
	for i, d := range b.Dests {
		if d.Name == cursor {
			return 1 << i
		}
	}
	return 0
}

// Routed is how many of b's records are for the cursor.
func (b *Block) Routed(cursor string) int {
	return b.share(cursor).Routed
}

// share is the cursor's share, a zero one when b has nothing for it.
func (b *Block) share(cursor string) Dest {
	for _, d := range b.Dests {
		if d.Name == cursor {
			return d
		}
	}
	return Dest{}
}

// IsLive reports whether the cursor was being read when b was made.
func (b *Block) IsLive(cursor string) bool { return b.share(cursor).Live }

// Folded is how many messages the aggregates for the cursor stand for, over and
// above their own number.
func (b *Block) Folded(cursor string) int { return b.share(cursor).Folded }

// Stood counts the same over the readable records that are not left out.
func (b *Block) Stood(cursor string, without func(i int) bool) (n uint64) {
	bit := b.Bit(cursor)
	for i := range b.Recs {
		if b.Masks[i]&bit != 0 && (without == nil || !without(i)) {
			n += b.Recs[i].Folded()
		}
	}
	return n
}

// Cut cuts records into what one block may hold.
func Cut(recs []Record) (chunks [][]Record) {
	from, size := 0, 0
	for i := range recs {
		n := recs[i].Size()
		if i > from && (i-from >= RecordsMax || size+n > BytesMax) {
			chunks = append(chunks, recs[from:i])
			from, size = i, 0
		}
		size += n
	}
	if from < len(recs) {
		chunks = append(chunks, recs[from:])
	}
	return chunks
}

// Memory is what the records take in memory, about.
func (b *Block) Memory() (n int) {
	for i := range b.Recs {
		n += b.Recs[i].Size()
	}
	return n
}

// Open decodes a stored body as far as it goes.
func (b *Block) Open(stored []byte, enc int) {
	body, _ := unpack(stored, enc) // what was expanded is checked record by record
	_ = b.decodeBody(body)
	if len(b.Recs) > b.N {
		b.Recs, b.Masks = b.Recs[:b.N], b.Masks[:b.N]
	}
}

// EncodeBody writes a block's head and records, each in a frame of its own.
func (b *Block) EncodeBody() []byte {
	head := []byte{bodyVersion}
	head = appendText(head, b.Inc)
	head = binary.AppendUvarint(head, uint64(len(b.Dests)))
	for _, d := range b.Dests {
		head = appendText(head, d.Name)
	}
	out := appendFrame(make([]byte, 0, len(head)+b.Memory()), 0, head)
	var one []byte
	for i := range b.Recs {
		one = AppendRecord(one[:0], &b.Recs[i], b.Masks[i])
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
func (b *Block) decodeBody(body []byte) error {
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

func (b *Block) take(content []byte) {
	r, mask, err := Record{}, uint64(0), errShort
	if content != nil {
		r, mask, err = DecodeRecord(content)
	}
	if err != nil {
		r, mask = Record{}, 0
	}
	r.Inc = b.Inc
	for i, d := range b.Dests {
		if mask&(1<<i) != 0 {
			r.To = append(r.To, d.Name)
		}
	}
	b.Recs, b.Masks = append(b.Recs, r), append(b.Masks, mask)
}

func (b *Block) decodeHead(head []byte) error {
	d := decoder{b: head}
	version := d.byte()
	b.Inc = d.text()
	n := d.limited(CursorsMax)
	names := make([]string, 0, n)
	for range n {
		names = append(names, d.text())
	}
	if d.bad || len(d.b) != 0 {
		return fmt.Errorf("block head: %w", errShort)
	}
	if version != bodyVersion {
		return fmt.Errorf("block has version %d, this program knows %d", version, bodyVersion)
	}
	if b.Dests == nil {
		for _, name := range names {
			b.Dests = append(b.Dests, Dest{Name: name})
		}
	}
	if !slices.EqualFunc(b.Dests, names, func(d Dest, name string) bool { return d.Name == name }) {
		return errors.New("block head: its cursors are not those of the row")
	}
	return nil
}

// Packer compresses and expands bodies and keeps the compressor, which is
// costly to make. Not safe for concurrent use.
type Packer struct {
	w    *flate.Writer
	buf  bytes.Buffer
	pass int // long bodies that are not looked at, after one that was not worth it
}

const (
	// sampleBytes of a long body tell whether compressing all of it is worth it.
	sampleBytes = 4 << 10
	// passBodies is how many long bodies after one that is not worth it are taken
	// to be like it: what comes fast comes from the same few sources.
	passBodies = 15
)

// worth reports whether a body shrinks by a quarter, judged by a piece of its
// middle. Compressing costs more time than everything else in a commit, which
// is well spent on readings, and lost on pictures and on what is encrypted.
func (p *Packer) worth(body []byte) bool {
	if len(body) < 2*sampleBytes {
		return true
	}
	if p.pass > 0 {
		p.pass--
		return false
	}
	from := (len(body) - sampleBytes) / 2
	p.deflate(body[from : from+sampleBytes])
	if p.buf.Len() < sampleBytes*3/4 {
		return true
	}
	p.pass = passBodies
	return false
}

// deflate leaves the compressed body in buf.
func (p *Packer) deflate(body []byte) {
	p.buf.Reset()
	if p.w == nil {
		p.w, _ = flate.NewWriter(&p.buf, flate.BestSpeed) // fails for bad levels only
	} else {
		p.w.Reset(&p.buf)
	}
	p.w.Write(body) // a buffer takes everything
	p.w.Close()
}

// Pack gives the stored form of a plain body.
func (p *Packer) Pack(body []byte) (stored []byte, enc int) {
	if len(body) <= compressOver || !p.worth(body) {
		return body, encPlain
	}
	if p.deflate(body); p.buf.Len() >= len(body) {
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
		body, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(stored)), decodedMax))
		if err != nil {
			return body, fmt.Errorf("expand block: %w", err)
		}
		return body, nil
	}
	return nil, fmt.Errorf("block has encoding %d, this program knows up to %d", enc, encFlate)
}

// Sum is the CRC-32C of a stored body.
func Sum(stored []byte) uint32 { return crc32.Checksum(stored, castagnoli) }

// EncodeDests is the row's copy of the shares: it can be read without the body.
func EncodeDests(dests []Dest) []byte {
	b := binary.AppendUvarint(nil, uint64(len(dests)))
	for _, d := range dests {
		b = appendText(b, d.Name)
		b = binary.AppendUvarint(b, uint64(d.Routed))
		b = append(b, d.flags())
		if d.Folded > 0 {
			b = binary.AppendUvarint(b, uint64(d.Folded))
		}
	}
	return b
}

// The flags of a share.
const (
	shareHold = 1 << iota
	shareLive
	shareFolded // how many follows
)

func (d Dest) flags() (f byte) {
	if d.Hold {
		f |= shareHold
	}
	if d.Live {
		f |= shareLive
	}
	if d.Folded > 0 {
		f |= shareFolded
	}
	return f
}

// DecodeDests is the inverse of EncodeDests.
func DecodeDests(b []byte) ([]Dest, error) {
	d := decoder{b: b}
	n := d.limited(CursorsMax)
	dests := make([]Dest, 0, n)
	for range n {
		one := Dest{Name: d.text(), Routed: int(d.limited(decodedMax))}
		flags := d.byte()
		one.Hold, one.Live = flags&shareHold != 0, flags&shareLive != 0
		if flags&shareFolded != 0 {
			one.Folded = int(d.limited(math.MaxInt32))
		}
		dests = append(dests, one)
	}
	if d.bad || len(d.b) != 0 {
		return nil, errors.New("block row: malformed shares")
	}
	return dests, nil
}
