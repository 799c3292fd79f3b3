package registermap

import (
	"math"
	"strings"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/formula"
)

// value is one reading: where its raw number stands and what is made of it.
type value struct {
	drivers.Channel
	from         string
	at           int
	form         form
	shift, width uint
	formula      formula.Formula
}

// form is a type of a raw number.
type form struct {
	size   int
	little bool
	kind   byte // u, s, f or b for bcd
}

// parseForm reads u8, s16be, f32le, bcd16 and so on; without an end it is be.
func parseForm(text string) (form, bool) {
	f := form{}
	body, little := strings.CutSuffix(text, "le")
	if !little {
		body = strings.TrimSuffix(body, "be")
	}
	f.little = little
	kind, bits := body, ""
	for i, c := range body {
		if c >= '0' && c <= '9' {
			kind, bits = body[:i], body[i:]
			break
		}
	}
	f.size = map[string]int{"8": 1, "16": 2, "24": 3, "32": 4}[bits]
	switch {
	case kind == "bcd" && bits == "":
		f.size, f.kind = 1, 'b'
	case kind == "bcd" && f.size > 0:
		f.kind = 'b'
	case (kind == "u" || kind == "s") && f.size > 0, kind == "f" && f.size == 4:
		f.kind = kind[0]
	default:
		return f, false
	}
	return f, true
}

// decode gives the raw number; the compiler has seen that it lies in the bytes.
func (v value) decode(b []byte) float64 {
	if v.at+v.form.size > len(b) {
		return math.NaN()
	}
	raw := v.form.join(b[v.at : v.at+v.form.size])
	bits := uint(8 * v.form.size)
	if v.width > 0 {
		raw, bits = raw>>v.shift&(1<<v.width-1), v.width
	}
	switch v.form.kind {
	case 'f':
		return float64(math.Float32frombits(uint32(raw)))
	case 'b':
		return decimal(raw)
	case 's':
		return float64(int64(raw<<(64-bits)) >> (64 - bits))
	}
	return float64(raw)
}

func (f form) join(b []byte) (raw uint64) {
	for i := range b {
		if f.little {
			raw |= uint64(b[i]) << (8 * i)
		} else {
			raw = raw<<8 | uint64(b[i])
		}
	}
	return raw
}

// decimal reads two digits a byte; a digit above 9 makes NaN.
func decimal(raw uint64) (v float64) {
	for scale := 1.0; raw > 0; raw, scale = raw>>4, scale*10 {
		if raw&15 > 9 {
			return math.NaN()
		}
		v += float64(raw&15) * scale
	}
	return v
}
