// Package cache remembers what was made of texts that come with messages:
// patterns, formats, zones.
//
// An LRU holds at most Max entries; the one not used for longest goes first. A
// look-up that finds its text does not allocate. It belongs to one goroutine.
package cache

import "strings"

// Max is the number of texts that an LRU remembers.
const Max = 64

// LRU remembers values by text, and also which texts have none. The zero LRU
// is empty and ready.
type LRU[V any] struct {
	entries map[string]*entry[V]
	uses    uint64
}

type entry[V any] struct {
	value V
	ok    bool
	used  uint64
}

// Get gives the value of text, reading it when it is not remembered; false
// when read has none.
func (l *LRU[V]) Get(text string, read func(string) (V, error)) (V, bool) {
	l.uses++
	if e := l.entries[text]; e != nil {
		e.used = l.uses
		return e.value, e.ok
	}
	if l.entries == nil {
		l.entries = make(map[string]*entry[V])
	}
	if len(l.entries) >= Max {
		l.drop()
	}
	v, err := read(text)
	// The copy keeps the message that text is part of from staying alive.
	l.entries[strings.Clone(text)] = &entry[V]{v, err == nil, l.uses}
	return v, err == nil
}

func (l *LRU[V]) drop() {
	oldest, used := "", l.uses
	for text, e := range l.entries {
		if e.used < used {
			oldest, used = text, e.used
		}
	}
	delete(l.entries, oldest)
}
