package memo

import (
	"errors"
	"testing"
)

// record is read and changed by the tests.
type record struct {
	value, reads int
	err          error
}

func (r *record) read() (int, error) {
	r.reads++
	return r.value, r.err
}

func want(t *testing.T, m *Memo[string, int], r *record, value, reads int) {
	t.Helper()
	if got, err := m.Get("a", r.read); got != value || err != r.err || r.reads != reads {
		t.Errorf("got %d, %v after %d reads; want %d after %d", got, err, r.reads, value, reads)
	}
}

func TestGet_ReadsOnceUntilAChange(t *testing.T) {
	var m Memo[string, int]
	r := &record{value: 1}
	want(t, &m, r, 1, 1)
	r.value = 2
	want(t, &m, r, 1, 1)
	m.Forget()
	want(t, &m, r, 2, 2)
}

func TestGet_DoesNotKeepAnError(t *testing.T) {
	var m Memo[string, int]
	r := &record{err: errors.New("no disk")}
	want(t, &m, r, 0, 1)
	want(t, &m, r, 0, 2)
}

// TestGet_DoesNotKeepWhatWasReadBeforeAChange: the reader saw the old record, the
// change was told while it still held it.
func TestGet_DoesNotKeepWhatWasReadBeforeAChange(t *testing.T) {
	var m Memo[string, int]
	r := &record{value: 1}
	got, _ := m.Get("a", func() (int, error) {
		old, err := r.read()
		r.value = 2
		m.Forget()
		return old, err
	})
	if got != 1 {
		t.Errorf("the reader has %d", got)
	}
	want(t, &m, r, 2, 2)
}

func TestGet_IsBounded(t *testing.T) {
	var m Memo[int, int]
	for i := range 3 * Max {
		m.Get(i, func() (int, error) { return i, nil })
	}
	if len(m.kept) > Max {
		t.Errorf("%d entries are kept", len(m.kept))
	}
}
