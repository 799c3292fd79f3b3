// Package cbor reads and writes the small part of CBOR (RFC 8949) that fleet
// provisioning speaks: maps with text keys, arrays, text, byte strings,
// integers, floats, booleans and null.
//
// It is pure. Limits: DepthMax levels, ItemsMax items in all, definite and
// indefinite lengths of maps and arrays, definite ones of text. Tags are skipped.
// Everything else is an error; no input makes it allocate more than the input is
// long, times a small factor.
package cbor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"
)

const (
	// DepthMax is how deep maps and arrays may nest.
	DepthMax = 16
	// ItemsMax is how many items a text may hold.
	ItemsMax = 10_000
)

// Major types.
const (
	unsigned = iota
	negative
	bytesType
	textType
	arrayType
	mapType
	tagType
	simple
)

var (
	errShort = errors.New("cbor: the data end too early")
	errBreak = errors.New("cbor: a break outside of a list")
)

type reader struct {
	data  []byte
	items int
}

// Decode reads one item that fills data: map[string]any, []any, string, []byte,
// int64, uint64, float64, bool or nil.
func Decode(data []byte) (any, error) {
	r := reader{data: data}
	v, err := r.item(0)
	if err == nil && len(r.data) > 0 {
		err = fmt.Errorf("cbor: %d bytes too many", len(r.data))
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (r *reader) take(n uint64) ([]byte, error) {
	if n > uint64(len(r.data)) {
		return nil, errShort
	}
	taken := r.data[:n]
	r.data = r.data[n:]
	return taken, nil
}

// head reads the first byte and its argument; indefinite is set for length 31.
func (r *reader) head() (major byte, n uint64, low byte, err error) {
	b, err := r.take(1)
	if err != nil {
		return 0, 0, 0, err
	}
	major, low = b[0]>>5, b[0]&31
	switch {
	case low < 24:
		return major, uint64(low), low, nil
	case low < 28:
		b, err := r.take(1 << (low - 24))
		if err != nil {
			return 0, 0, 0, err
		}
		var wide [8]byte
		copy(wide[8-len(b):], b)
		return major, binary.BigEndian.Uint64(wide[:]), low, nil
	case low == 31:
		return major, 0, low, nil
	}
	return 0, 0, 0, fmt.Errorf("cbor: additional information %d is not defined", low)
}

func (r *reader) item(depth int) (any, error) {
	if r.items++; r.items > ItemsMax || depth > DepthMax {
		return nil, fmt.Errorf("cbor: more than %d items or %d levels", ItemsMax, DepthMax)
	}
	major, n, low, err := r.head()
	if err != nil {
		return nil, err
	}
	endless := low == 31
	if endless && major != arrayType && major != mapType {
		if major == simple {
			return nil, errBreak
		}
		return nil, errors.New("cbor: an indefinite length is taken for maps and arrays alone")
	}
	switch major {
	case unsigned:
		if n > math.MaxInt64 {
			return n, nil
		}
		return int64(n), nil
	case negative:
		if n > math.MaxInt64 {
			return nil, errors.New("cbor: an integer below the 64-bit range")
		}
		return -1 - int64(n), nil
	case bytesType:
		b, err := r.take(n)
		return slices.Clone(b), err
	case textType:
		return r.text(n)
	case arrayType:
		return r.array(n, endless, depth)
	case mapType:
		return r.mapping(n, endless, depth)
	case tagType:
		return r.item(depth + 1)
	}
	return simpleValue(n, low)
}

func (r *reader) text(n uint64) (string, error) {
	b, err := r.take(n)
	if err == nil && !utf8.Valid(b) {
		err = errors.New("cbor: text that is not UTF-8")
	}
	return string(b), err
}

// ended reports whether a list is over; it eats the break of an endless one.
func (r *reader) ended(i, n uint64, endless bool) bool {
	if !endless {
		return i == n
	}
	if len(r.data) > 0 && r.data[0] == 0xff {
		r.data = r.data[1:]
		return true
	}
	return false
}

func (r *reader) array(n uint64, endless bool, depth int) (any, error) {
	list := []any{}
	for i := uint64(0); !r.ended(i, n, endless); i++ {
		v, err := r.item(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (r *reader) mapping(n uint64, endless bool, depth int) (any, error) {
	m := make(map[string]any)
	for i := uint64(0); !r.ended(i, n, endless); i++ {
		key, err := r.item(depth + 1)
		if err != nil {
			return nil, err
		}
		name, is := key.(string)
		if _, twice := m[name]; !is || twice {
			return nil, fmt.Errorf("cbor: key %.40v: want text, each once", key)
		}
		if m[name], err = r.item(depth + 1); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func simpleValue(n uint64, low byte) (any, error) {
	switch low {
	case 20, 21:
		return low == 21, nil
	case 22, 23:
		return nil, nil
	case 25:
		return half(uint16(n)), nil
	case 26:
		return float64(math.Float32frombits(uint32(n))), nil
	case 27:
		return math.Float64frombits(n), nil
	}
	return nil, fmt.Errorf("cbor: simple value %d is not defined", n)
}

// half gives the value of a 16-bit float.
func half(bits uint16) float64 {
	exponent, fraction := int(bits>>10&31), float64(bits&1023)
	v := math.Ldexp(fraction+1024, exponent-25)
	switch {
	case exponent == 0:
		v = math.Ldexp(fraction, -24)
	case exponent == 31 && fraction == 0:
		v = math.Inf(1)
	case exponent == 31:
		v = math.NaN()
	}
	if bits&0x8000 != 0 {
		v = -v
	}
	return v
}

// Encode writes a value of Decode's types, and int; keys of maps are sorted. A
// value of another type is an error.
func Encode(v any) ([]byte, error) { return encode(nil, v) }

func head(out []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(out, major<<5|byte(n))
	case n <= math.MaxUint8:
		return append(out, major<<5|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(out, major<<5|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(out, major<<5|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(out, major<<5|27), n)
}

func encode(out []byte, v any) (_ []byte, err error) {
	switch v := v.(type) {
	case nil:
		return append(out, 0xf6), nil
	case bool:
		if v {
			return append(out, 0xf5), nil
		}
		return append(out, 0xf4), nil
	case int:
		return encode(out, int64(v))
	case int64:
		if v < 0 {
			return head(out, negative, uint64(-1-v)), nil
		}
		return head(out, unsigned, uint64(v)), nil
	case uint64:
		return head(out, unsigned, v), nil
	case float64:
		return binary.BigEndian.AppendUint64(append(out, simple<<5|27), math.Float64bits(v)), nil
	case string:
		return append(head(out, textType, uint64(len(v))), v...), nil
	case []byte:
		return append(head(out, bytesType, uint64(len(v))), v...), nil
	case []any:
		out = head(out, arrayType, uint64(len(v)))
		for _, one := range v {
			if out, err = encode(out, one); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out = head(out, mapType, uint64(len(v)))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out, _ = encode(out, key)
			if out, err = encode(out, v[key]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("cbor: a value of type %T cannot be written", v)
}
