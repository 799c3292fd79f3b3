package block

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Record is one message in the log. Its payload and properties are shared by
// all who see it: nobody changes them.
type Record struct {
	// Inc and Seq are set by the log: the incarnation of the store that
	// numbered the message, and its number there. Together they never change.
	// The incarnation of another gateway's store has that one's name and a colon
	// before it.
	Inc string
	Seq uint64

	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	// Source is `dev/<client id>`, `drv/<driver>/<part>`, `rule/<name>` or
	// `sys/<what>`.
	Source   string
	ClientID string
	// Class is 0 critical, 1 normal, 2 bulk (telemetry.md 8.1).
	Class uint8
	// Boot, Up and Wall say when the message was captured; Synced whether the
	// wall clock was to be trusted then.
	Boot   string
	Up     time.Duration
	Wall   time.Time
	Synced bool
	// Sim marks the reading of a simulated part.
	Sim        bool
	Properties *iot.Properties
	// To names the cursors that shall get the message.
	To []string
	// Fold is set when the record stands for many; Seq is then the last of them.
	Fold *Fold
}

// Fold says what an aggregate stands for (telemetry.md 8.4).
type Fold struct {
	// Level is 1 for windows of a minute.
	Level uint8
	// From is the number of the first message; N is how many there were, Bad of
	// them not to be trusted.
	From   uint64
	N, Bad uint64
	// Left is how many values were above the limits and are not in it.
	Left uint64
}

// Folded is how many messages are not there any more because r stands for them.
func (r *Record) Folded() uint64 {
	if r.Fold == nil || r.Fold.N == 0 {
		return 0
	}
	return r.Fold.N - 1
}

// First is the lowest number that r stands for: its own, but for an aggregate.
func (r *Record) First() uint64 {
	if r.Fold != nil {
		return r.Fold.From
	}
	return r.Seq
}

// Home is the gateway that numbered r, and its incarnation there; gateway is
// whose log r is in.
func (r *Record) Home(gateway string) (name, inc string) {
	if name, inc, foreign := strings.Cut(r.Inc, ":"); foreign {
		return name, inc
	}
	return gateway, r.Inc
}

// ID is the id of a message, `gateway:incarnation:number`, of an aggregate
// `gateway:incarnation:f<level>-<from>-<to>`: it never changes (telemetry.md C4
// and 8.4).
func (r *Record) ID(gateway string) string {
	gateway, inc := r.Home(gateway)
	id := strconv.FormatUint(r.Seq, 10)
	if f := r.Fold; f != nil {
		id = "f" + strconv.Itoa(int(f.Level)) + "-" + strconv.FormatUint(f.From, 10) + "-" + id
	}
	return gateway + ":" + inc + ":" + id
}

// Size is what a record takes in memory, about.
func (r *Record) Size() int {
	return len(r.Topic) + len(r.Payload) + len(r.Source) + len(r.ClientID) + 200
}

// The flags of an encoded record.
const (
	flagQoS    = 0x03
	flagRetain = 1 << (iota + 1)
	flagSynced
	flagSim
	flagProperties
	flagFold
)

func (r *Record) flags() byte {
	f := r.QoS & flagQoS
	for _, b := range []struct {
		on  bool
		bit byte
	}{{r.Retain, flagRetain}, {r.Synced, flagSynced}, {r.Sim, flagSim}, {r.Properties != nil, flagProperties}, {r.Fold != nil, flagFold}} {
		if b.on {
			f |= b.bit
		}
	}
	return f
}

// AppendRecord encodes r for a block in which mask says which of the block's
// cursors get it. Times go down in milliseconds.
func AppendRecord(b []byte, r *Record, mask uint64) []byte {
	b = append(b, r.flags())
	b = binary.AppendUvarint(b, r.Seq)
	b = binary.AppendUvarint(b, mask)
	b = binary.AppendUvarint(b, uint64(r.Up.Milliseconds()))
	b = binary.AppendVarint(b, r.Wall.UnixMilli())
	b = appendText(b, r.Boot)
	b = appendText(b, r.Source)
	b = appendText(b, r.ClientID)
	b = appendText(b, r.Topic)
	b = appendText(b, r.Payload)
	if r.Properties != nil {
		b = appendProperties(b, r.Properties)
	}
	if f := r.Fold; f != nil {
		b = append(b, f.Level)
		for _, n := range []uint64{f.From, f.N, f.Bad, f.Left} {
			b = binary.AppendUvarint(b, n)
		}
	}
	return b
}

func appendText[T string | []byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendProperties(b []byte, p *iot.Properties) []byte {
	b = appendText(b, p.ContentType)
	b = appendText(b, p.ResponseTopic)
	b = appendText(b, p.CorrelationData)
	format := byte(0)
	if p.HasPayloadFormat {
		format = 1 + p.PayloadFormat
	}
	b = append(b, format)
	b = binary.AppendUvarint(b, uint64(p.MessageExpiry))
	b = binary.AppendUvarint(b, uint64(len(p.User)))
	for _, u := range p.User {
		b = appendText(b, u.Key)
		b = appendText(b, u.Value)
	}
	return b
}

// errShort means that an encoded text ended early or said impossible things.
var errShort = errors.New("malformed record")

// DecodeRecord is AppendRecord's inverse. The payload stays in b.
func DecodeRecord(b []byte) (r Record, mask uint64, err error) {
	d := decoder{b: b}
	flags := d.byte()
	r.QoS, r.Retain = flags&flagQoS, flags&flagRetain != 0
	r.Synced, r.Sim = flags&flagSynced != 0, flags&flagSim != 0
	r.Seq = d.uvarint()
	mask = d.uvarint()
	r.Up = time.Duration(d.limited(math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	r.Wall = time.UnixMilli(d.varint()).UTC()
	r.Boot, r.Source, r.ClientID, r.Topic = d.text(), d.text(), d.text(), d.text()
	r.Payload = d.bytes()
	if flags&flagProperties != 0 {
		r.Properties = d.properties()
	}
	if flags&flagFold != 0 {
		r.Fold = &Fold{Level: d.byte(), From: d.uvarint(), N: d.uvarint(), Bad: d.uvarint(), Left: d.uvarint()}
	}
	if d.bad || len(d.b) != 0 || r.QoS > 2 {
		return Record{}, 0, errShort
	}
	return r, mask, nil
}

// decoder takes encoded values from the front of b. After the first value that
// is not there, bad is set and everything is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() { d.bad, d.b = true, nil }

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// limited is a number of at most limit.
func (d *decoder) limited(limit int64) int64 {
	v := d.uvarint()
	if v > uint64(limit) {
		d.fail()
		return 0
	}
	return int64(v)
}

func (d *decoder) bytes() []byte {
	n := d.limited(int64(len(d.b)))
	if d.bad || n > int64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) text() string { return string(d.bytes()) }

func (d *decoder) properties() *iot.Properties {
	p := &iot.Properties{ContentType: d.text(), ResponseTopic: d.text()}
	if c := d.bytes(); len(c) > 0 {
		p.CorrelationData = c
	}
	if format := d.byte(); format > 0 {
		p.HasPayloadFormat, p.PayloadFormat = true, format-1
	}
	p.MessageExpiry = uint32(d.limited(math.MaxUint32))
	n := d.limited(int64(len(d.b) / 2)) // a pair takes at least two bytes
	for range n {
		if d.bad {
			return nil
		}
		p.User = append(p.User, iot.UserProperty{Key: d.text(), Value: d.text()})
	}
	return p
}
