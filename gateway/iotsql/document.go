package iotsql

import (
	"unsafe"

	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

// Document is the payload of one message, scanned once, when a rule first looks
// into it. All rules of a message share one. It belongs to one goroutine at a time.
type Document struct {
	raw    []byte
	text   string
	looked bool
	isJSON bool
	asked  uint8 // how many rules wanted to sift it
	index  value.Index
	// trees are the whole document for 2015-10-08 and 2016-03-23.
	trees [2]value.Value
}

// Reset makes d the document of another payload, which nobody changes any more.
func (d *Document) Reset(payload []byte) {
	*d = Document{raw: payload, text: textOf(payload), index: d.index}
}

// textOf shares the bytes of a payload: they are never changed (iot.Message).
func textOf(payload []byte) string { return unsafe.String(unsafe.SliceData(payload), len(payload)) }

// sifts lets the first rules of a message sift it; for many, reading is cheaper.
func (d *Document) sifts() bool { d.asked = min(d.asked+1, 4); return d.asked < 4 && !d.looked }

// json reports whether the payload is a JSON object or array; AWS calls
// everything else no JSON (rules.md section 5).
func (d *Document) json() bool {
	if !d.looked {
		d.looked = true
		d.isJSON = value.StartsCollection(d.text) && d.index.Scan(d.text)
	}
	return d.isJSON
}

// find is the member at the end of path, Undefined when there is none.
func (d *Document) find(path []string, modern bool) value.Value {
	if !d.json() {
		return value.Value{}
	}
	v := d.trees[version(modern)]
	if v.IsUndefined() {
		return d.index.Find(path, modern)
	}
	for _, key := range path {
		v = v.Get(key)
	}
	return v
}

// root is the whole document.
func (d *Document) root(modern bool) value.Value {
	if !d.json() {
		return value.Value{}
	}
	tree := &d.trees[version(modern)]
	if tree.IsUndefined() {
		*tree = value.ParseValid(d.text, modern)
	}
	return *tree
}

func version(modern bool) int {
	if modern {
		return 1
	}
	return 0
}
