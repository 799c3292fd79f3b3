package doc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// formatV1 is the first byte of the storage form: a flag byte, the version and
// time of the document, then both sections as trees whose stamps count back
// from the document's. Numbers are varints.
const formatV1 = 1

const flagDeleted = 1

// Kinds of node in the storage form; fixed for ever.
const (
	nodeAbsent = 0
	nodeFalse  = 1
	nodeTrue   = 2
	nodeNumber = 3
	nodeString = 4
	nodeArray  = 5
	nodeObject = 6
)

// roomMax is how many parts are made room for on the word of a stored count.
const roomMax = 256

var errCorrupt = errors.New("shadow document: storage form is damaged")

// Append writes the storage form of s behind dst.
func (s *Shadow) Append(dst []byte) []byte {
	flags := byte(0)
	if s.Deleted {
		flags = flagDeleted
	}
	dst = append(dst, formatV1, flags)
	dst = binary.AppendUvarint(dst, uint64(s.Version))
	dst = binary.AppendVarint(dst, s.Time)
	dst = s.appendTree(dst, s.Desired.state, s.Desired.meta)
	return s.appendTree(dst, s.Reported.state, s.Reported.meta)
}

func (s *Shadow) appendTree(dst []byte, v Value, m meta) []byte {
	if v.kind == Object {
		dst = s.appendStamp(append(dst, nodeObject), m.Stamp)
		dst = binary.AppendUvarint(dst, uint64(len(v.parts)))
		for i, part := range v.parts {
			dst = s.appendTree(appendText(dst, part.Key), part.Value, m.parts[i])
		}
		return dst
	}
	return appendContent(s.appendStamp(append(dst, nodeKind(v)), m.Stamp), v)
}

func (s *Shadow) appendStamp(dst []byte, at Stamp) []byte {
	dst = binary.AppendVarint(dst, s.Version-at.Version)
	return binary.AppendVarint(dst, s.Time-at.Time)
}

func nodeKind(v Value) byte {
	switch v.kind {
	case Bool:
		if v.text == "true" {
			return nodeTrue
		}
		return nodeFalse
	case Number:
		return nodeNumber
	case String:
		return nodeString
	case Array:
		return nodeArray
	case Object:
		return nodeObject
	}
	return nodeAbsent
}

// appendContent writes what stands below an array, which has no stamps of its
// own, and the content of scalars.
func appendContent(dst []byte, v Value) []byte {
	switch v.kind {
	case Number, String:
		return appendText(dst, v.text)
	case Array, Object:
		dst = binary.AppendUvarint(dst, uint64(len(v.parts)))
		for _, part := range v.parts {
			if v.kind == Object {
				dst = appendText(dst, part.Key)
			}
			dst = appendContent(append(dst, nodeKind(part.Value)), part.Value)
		}
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// Decode reads a storage form. Damage is an error, never a wrong document
// structure: keys are sorted and unique, text is UTF-8, numbers are numbers.
func Decode(stored []byte) (*Shadow, error) {
	if len(stored) < 2 || stored[0] != formatV1 {
		return nil, fmt.Errorf("shadow document: unknown storage format; written by a newer version?")
	}
	d := decoder{text: string(stored), at: 2}
	s := &Shadow{Deleted: stored[1]&flagDeleted != 0}
	s.Version = int64(d.uvarint())
	s.Time = d.varint()
	d.doc = Stamp{Time: s.Time, Version: s.Version}
	s.Desired = d.section()
	s.Reported = d.section()
	if d.bad || d.at != len(d.text) || s.Version < 0 {
		return nil, errCorrupt
	}
	return s, nil
}

// decoder reads from text; bad is set at the first damage, and stays.
type decoder struct {
	text string
	at   int
	doc  Stamp
	bad  bool
}

func (d *decoder) fail() { d.bad, d.at = true, len(d.text) }

func (d *decoder) uvarint() uint64 {
	n := uint64(0)
	for shift := 0; shift < 64 && d.at < len(d.text); shift += 7 {
		b := d.text[d.at]
		d.at++
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
	d.fail()
	return 0
}

func (d *decoder) varint() int64 {
	n := d.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

// count reads a number of things of which each takes at least one byte.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.text)-d.at) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) str() string {
	n := d.count()
	s := d.text[d.at : d.at+n]
	d.at += n
	if !validText(s) {
		d.fail()
	}
	return s
}

func (d *decoder) kind() byte {
	if d.at == len(d.text) {
		d.fail()
		return nodeAbsent
	}
	d.at++
	return d.text[d.at-1]
}

func (d *decoder) stamp() Stamp {
	version := d.varint()
	return Stamp{Version: d.doc.Version - version, Time: d.doc.Time - d.varint()}
}

func (d *decoder) section() Section {
	kind := d.kind()
	v, m := d.tree(kind, 1)
	if v.kind != Absent && (v.kind != Object || len(v.parts) == 0) {
		d.fail()
	}
	return Section{v, m}
}

func (d *decoder) tree(kind byte, level int) (Value, meta) {
	m := meta{Stamp: d.stamp()}
	if kind != nodeObject {
		return d.content(kind, level), m
	}
	n := d.room(level)
	v := Value{kind: Object, parts: make([]Member, 0, min(n, roomMax))}
	m.parts = make([]meta, 0, min(n, roomMax))
	for range n {
		key := d.key(v.parts)
		below := d.kind()
		if below == nodeAbsent {
			d.fail()
		}
		if d.bad {
			break
		}
		w, wm := d.tree(below, level+1)
		v.parts, m.parts = append(v.parts, Member{key, w}), append(m.parts, wm)
	}
	return v, m
}

// room is the count of a container's parts, once its level is seen to be sane.
func (d *decoder) room(level int) int {
	if level > depthCeiling+1 {
		d.fail()
	}
	return d.count()
}

func (d *decoder) key(before []Member) string {
	key := d.str()
	if n := len(before); n > 0 && before[n-1].Key >= key {
		d.fail()
	}
	return key
}

func (d *decoder) content(kind byte, level int) Value {
	switch kind {
	case nodeFalse, nodeTrue:
		return BoolValue(kind == nodeTrue)
	case nodeNumber:
		v := Value{kind: Number, text: d.str()}
		if p := (parser{text: v.text}); !p.number() || p.at != len(v.text) {
			d.fail()
		}
		return v
	case nodeString:
		return Value{kind: String, text: d.str()}
	case nodeArray, nodeObject:
		return d.container(kind, level)
	case nodeAbsent:
		return Value{}
	}
	d.fail()
	return Value{}
}

// container reads an array, or an object below one.
func (d *decoder) container(kind byte, level int) Value {
	v := Value{kind: Array}
	if kind == nodeObject {
		v.kind = Object
	}
	n := d.room(level)
	v.parts = make([]Member, 0, min(n, roomMax))
	for range n {
		key := ""
		if v.kind == Object {
			key = d.key(v.parts)
		}
		below := d.kind()
		if below == nodeAbsent {
			d.fail()
		}
		if d.bad {
			break
		}
		v.parts = append(v.parts, Member{key, d.content(below, level+1)})
	}
	return v
}
