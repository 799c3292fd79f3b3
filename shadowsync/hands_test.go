package shadowsync

import (
	"fmt"
	"testing"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
)

// wrote is the documents message of a write under a token.
func wrote(t *testing.T, token string, version int64, before, after string) Answer {
	return Answer{
		Op: topic.Update, Kind: topic.Documents, Token: token, Version: version, Previous: version - 1,
		Before: UpstreamDoc(parse(t, before), doc.Value{}, version-1), Doc: UpstreamDoc(parse(t, after), doc.Value{}, version),
	}
}

func TestHands_TheWriterOfAPlaceIsTheTokenThatWroteIt(t *testing.T) {
	var h hands
	h = h.hear(wrote(t, "app-1", 6, `{"desired":{"a":1}}`, `{"desired":{"a":2}}`))
	h = h.hear(wrote(t, "app-2", 7, `{"desired":{"a":2}}`, `{"desired":{"a":2,"b":{"c":1}}}`))
	h = h.hear(wrote(t, "app-1", 6, `{"desired":{"a":1}}`, `{"desired":{"a":2}}`)) // doubled
	at := func(version int64) Doc { return UpstreamDoc(parse(t, `{"desired":{"a":2}}`), doc.Value{}, version) }
	for _, c := range []struct {
		place    doc.Path
		upstream Doc
		want     string
	}{
		{doc.Path{"desired", "a"}, at(7), "app-1"},
		{doc.Path{"desired", "b", "c"}, at(7), "app-2"},
		{doc.Path{"desired", "b"}, at(7), "app-2"},
		{doc.Path{"desired", "z"}, at(7), "upstream, version 7"},
		{doc.Path{"desired", "a"}, at(9), "upstream, version 9"}, // others wrote unheard
		{nil, Doc{Version: 8}, "upstream, deleted as version 7"},
		{nil, Doc{}, "upstream, deleted"},
	} {
		if got := h.writer(c.place, c.upstream); got != c.want {
			t.Errorf("%s of version %d: %q, want %q", c.place, c.upstream.Version, got, c.want)
		}
	}
	h = h.hear(wrote(t, "app-3", 12, `{"desired":{"a":2}}`, `{"desired":{"a":2,"d":1}}`))
	if got := h.writer(doc.Path{"desired", "a"}, at(12)); got != "upstream, version 12" {
		t.Errorf("after a gap the writer is %q", got)
	}
}

func TestHands_RemembersABoundedNumberOfPlaces(t *testing.T) {
	var h hands
	for n := range int64(10 * handsMax) {
		h = h.hear(wrote(t, "app", n+2, `{}`, fmt.Sprintf(`{"desired":{"k%d":1}}`, n)))
		if len(h.tokens) > handsMax {
			t.Fatalf("%d places are remembered, more than %d", len(h.tokens), handsMax)
		}
	}
}

// The journal is told who wrote upstream, with a token and without.
func TestStep_AConflictNamesItsWriter(t *testing.T) {
	for token, want := range map[string]string{"app-7": "app-7", "": "upstream, version 6"} {
		b := newTable(t, Record{Both: true, Cloud: 5, Base: parse(t, `{"desired":{"a":1}}`)})
		b.give(Online{}, Turn{})
		b.give(b.upstream(`{"desired":{"a":1}}`, 5), b.local(`{"desired":{"a":1}}`, 3), Stored{})
		b.give(wrote(t, token, 6, `{"desired":{"a":1}}`, `{"desired":{"a":3}}`))
		b.now = b.now.Add(b.policy.MinInterval)
		b.give(Turn{})
		b.give(b.local(`{"desired":{"a":2}}`, 4))
		told := ""
		for _, e := range b.effects {
			if r, ok := e.(Report); ok {
				told = r.Conflict.Writer
			}
		}
		if told != want {
			t.Errorf("token %q: the writer is told as %q, want %q", token, told, want)
		}
	}
}
