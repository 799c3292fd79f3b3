package sheet

import (
	"bytes"
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// wire answers every read from a function and counts transactions.
type wire struct {
	answer func(n int) byte
	count  int
}

func (w *wire) Name() string    { return "wire" }
func (w *wire) Simulated() bool { return true }

func (w *wire) Tx(_ context.Context, _ uint16, _, r []byte) error {
	w.count++
	for i := range r {
		r[i] = w.answer(w.count)
	}
	return nil
}

func one(value float64, err error) Sheet {
	return Sheet{
		Info:  drivers.Info{Name: "x", Channels: []drivers.Channel{{Name: "a", Quantity: drivers.Ratio}, {Name: "b", Quantity: drivers.Ratio}}},
		Spans: []Span{{0, 1}, {0, 1}},
		Sample: func(*Chip) ([]float64, error) {
			return []float64{value, Off}, err
		},
	}
}

func open(t *testing.T, s Sheet, w *wire) drivers.Device {
	t.Helper()
	d, err := s.Open(t.Context(), drivers.NewHandle(w, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Sensirion's datasheets print the checksum of 0xBEEF: 0x92.
func TestCRC8_IsThatOfTheDatasheets(t *testing.T) {
	if got := CRC8(Sensirion, 0xff, []byte{0xbe, 0xef}); got != 0x92 {
		t.Errorf("0xBEEF: got 0x%02x, want 0x92", got)
	}
	words, err := Words([]byte{0xbe, 0xef, 0x92, 0, 0, 0x81}, 0xff)
	if err != nil || len(words) != 2 || words[0] != 0xbeef || words[1] != 0 {
		t.Errorf("got %x, %v", words, err)
	}
	if _, err := Words([]byte{0xbe, 0xef, 0x93}, 0xff); !errors.Is(err, drivers.ErrCRC) {
		t.Errorf("a wrong checksum gave %v", err)
	}
	if got := WithCRC(0x2427, 0xbeef); !bytes.Equal(got, []byte{0x24, 0x27, 0xbe, 0xef, 0x92}) {
		t.Errorf("got % x", got)
	}
}

func TestRead_WhatAChipCannotMeasureIsAnErrorAndWhatIsOffIsLeftOut(t *testing.T) {
	for _, v := range []float64{-0.001, 1.001, math.NaN(), math.Inf(1), math.Inf(-1)} {
		if list, err := open(t, one(v, nil), &wire{}).Read(t.Context()); !errors.Is(err, drivers.ErrOutOfRange) {
			t.Errorf("%v: got %v, %v; want out of range", v, list, err)
		}
	}
	list, err := open(t, one(0.5, nil), &wire{}).Read(t.Context())
	if err != nil || len(list) != 1 || list[0].Channel != "a" || list[0].Value != 0.5 {
		t.Errorf("got %v, %v; want a alone", list, err)
	}
}

func TestRead_AWrongChecksumIsTriedTwiceMore(t *testing.T) {
	tries := 0
	s := one(0.5, nil)
	s.Sample = func(*Chip) ([]float64, error) {
		if tries++; tries < 3 {
			return nil, drivers.ErrCRC
		}
		return []float64{0.5, Off}, nil
	}
	if _, err := open(t, s, &wire{}).Read(t.Context()); err != nil || tries != 3 {
		t.Errorf("got %v after %d tries", err, tries)
	}
	s.Sample = func(*Chip) ([]float64, error) { tries++; return nil, drivers.ErrCRC }
	tries = 0
	if _, err := open(t, s, &wire{}).Read(t.Context()); !errors.Is(err, drivers.ErrCRC) || tries != 3 {
		t.Errorf("got %v after %d tries; want a wrong checksum after 3", err, tries)
	}
}

func TestOpen_AnIdentityWithAWrongChecksumIsAnotherChip(t *testing.T) {
	s := one(0, nil)
	s.Identify = func(*Chip) error { return drivers.ErrCRC }
	if _, err := s.Open(t.Context(), drivers.NewHandle(&wire{}, 1), nil); !errors.Is(err, drivers.ErrWrongChip) {
		t.Errorf("got %v", err)
	}
	s.Identify = func(c *Chip) error { return c.Is(7, 0x00ff, 0x0042) }
	w := &wire{answer: func(int) byte { return 0x41 }}
	if _, err := s.Open(t.Context(), drivers.NewHandle(w, 1), nil); !errors.Is(err, drivers.ErrWrongChip) {
		t.Errorf("another id: got %v", err)
	}
}

func TestRead_AChipThatLostItsSettingsIsIdentifiedAndSetUpAgain(t *testing.T) {
	var calls []string
	lost := false
	s := one(0.5, nil)
	s.Identify = func(*Chip) error { calls = append(calls, "identify"); return nil }
	s.SetUp = func(*Chip) error { calls = append(calls, "set up"); return nil }
	s.Lost = func(*Chip) (bool, error) { return lost, nil }
	d := open(t, s, &wire{})
	for _, lost = range []bool{false, true} {
		if _, err := d.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"identify", "set up", "identify", "set up"}; len(calls) != 4 || calls[2] != want[2] || calls[3] != want[3] {
		t.Errorf("got %q, want %q", calls, want)
	}
}

// Goal: a wait for a chip ends with the reader's deadline. Method: virtual time.
func TestWait_EndsWithTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := one(0.5, nil)
		s.Sample = func(c *Chip) ([]float64, error) {
			return nil, c.Poll(time.Second, 100, func() (bool, error) { return false, nil })
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := open(t, s, &wire{}).Read(ctx); !errors.Is(err, drivers.ErrTimeout) || time.Since(start) != 2500*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if _, err := open(t, s, &wire{}).Read(t.Context()); !errors.Is(err, drivers.ErrTimeout) {
			t.Errorf("a chip that is never ready: got %v", err)
		}
	})
}
