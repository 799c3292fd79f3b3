// Package memo keeps what was read of records until any of them changes.
//
// A change forgets everything: records are read at each connection and changed by
// people, so that telling which entry a change touches would be work for nothing.
// What a reader began to read before a change is given to that reader and not
// kept. It never blocks for longer than a look-up; read is called without a lock,
// and by two at once when both miss.
package memo

import "sync"

// Max is the number of entries kept; one more, and all are forgotten.
const Max = 1024

// Memo keeps values by key. The zero Memo is empty and ready; any goroutine may
// call it.
type Memo[K comparable, V any] struct {
	mu      sync.Mutex
	changes uint64
	kept    map[K]V
}

// Get gives what is kept for key, else what read says, which is kept unless it is
// an error or Forget was called meanwhile. Values are shared: nobody may change
// them.
func (m *Memo[K, V]) Get(key K, read func() (V, error)) (V, error) {
	m.mu.Lock()
	value, known := m.kept[key]
	before := m.changes
	m.mu.Unlock()
	if known {
		return value, nil
	}
	value, err := read()
	if err != nil {
		return value, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changes != before {
		return value, nil
	}
	if m.kept == nil || len(m.kept) >= Max {
		m.kept = make(map[K]V)
	}
	m.kept[key] = value
	return value, nil
}

// Forget drops everything. Call it after a change has been committed and before
// anybody is told.
func (m *Memo[K, V]) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes++
	clear(m.kept)
}
