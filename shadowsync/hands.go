package shadowsync

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync/patch"
)

// handsMax is how many places of a shadow are remembered with their writer;
// above it all are forgotten, and the next ones remembered.
const handsMax = 64

// hands knows by whose token the places of the upstream document were written,
// as far as its messages told without a gap. Upstream never keeps a token.
type hands struct {
	tokens map[string]string // by place; never changed, only replaced
	at     int64             // the version up to which nothing was missed
}

// hear takes a document message down; any other tells of nothing.
func (h hands) hear(a Answer) hands {
	if a.Kind != topic.Documents || a.Version <= h.at {
		return h
	}
	next := hands{tokens: make(map[string]string), at: a.Version}
	if a.Previous == h.at || a.Previous == 0 {
		maps.Copy(next.tokens, h.tokens)
	}
	changes := patch.Diff(a.Before.State, a.Doc.State)
	if len(next.tokens)+len(changes) > handsMax {
		clear(next.tokens)
	}
	for _, c := range changes[:min(len(changes), handsMax)] {
		next.tokens[c.Path.String()] = a.Token
	}
	return next
}

// writer names who wrote what stands at a place of the upstream document: the
// token of the request where one was heard, else the version that was found.
func (h hands) writer(place doc.Path, upstream Doc) string {
	if h.at == upstream.Version {
		for _, p := range slices.Sorted(maps.Keys(h.tokens)) {
			if token := h.tokens[p]; token != "" && related(p, place.String()) {
				return token
			}
		}
	}
	switch {
	case !upstream.Exists && upstream.Version > 0:
		return fmt.Sprintf("upstream, deleted as version %d", upstream.Version-1)
	case !upstream.Exists:
		return "upstream, deleted"
	}
	return fmt.Sprintf("upstream, version %d", upstream.Version)
}

// related reports whether one place is the other or above it.
func related(p, q string) bool {
	return p == q || strings.HasPrefix(p, q+"/") || strings.HasPrefix(q, p+"/")
}
