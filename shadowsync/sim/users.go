package sim

import (
	"fmt"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
)

// places are where users write: few, so that they meet; some are above others,
// so that types change.
var places = []doc.Path{
	{"desired", "a"}, {"desired", "b"}, {"desired", "b", "c"}, {"desired", "b", "d"},
	{"reported", "x"}, {"reported", "y", "z"}, {"reported", "y", "w", "q"}, {"reported", "y"},
}

// value is a new leaf: a number that was never written before, as it is, as
// text or in an array.
func (w *World) value() doc.Value {
	n := int64(w.rand.IntN(2))
	if w.o.Unique {
		n = w.ledger.fresh()
	}
	switch w.rand.IntN(5) {
	case 0:
		return doc.StringValue(fmt.Sprint(n))
	case 1:
		return doc.ArrayValue(doc.IntValue(n), doc.ObjectValue(doc.Member{Key: "k", Value: doc.BoolValue(true)}))
	}
	return doc.IntValue(n)
}

// randomUpdate is one legal update request. To be told from a removal by its
// writer, it always changes something when that is easy.
func (w *World) randomUpdate(now doc.Value) doc.Request {
	switch w.rand.IntN(24) {
	case 0:
		return doc.Request{Clear: true}
	case 1:
		return doc.Request{Desired: doc.NullValue()}
	case 2:
		return doc.Request{Reported: doc.ObjectValue(doc.Member{Key: "y", Value: doc.ObjectValue()})}
	}
	var patch doc.Value
	for range 1 + w.rand.IntN(2) {
		place := places[w.rand.IntN(len(places))]
		v := w.value()
		if now.Get(place...).Exists() && w.rand.IntN(3) == 0 {
			v = doc.NullValue()
		}
		patch = patch.With(v, place...)
	}
	return doc.Request{Desired: patch.Get("desired"), Reported: patch.Get("reported")}
}
