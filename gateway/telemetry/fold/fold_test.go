package fold

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seq uint64, seconds int, payload string) Message {
	return Message{Seq: seq, At: t0.Add(time.Duration(seconds) * time.Second), Source: "drv/a/b", Topic: "t", Payload: []byte(payload)}
}

func TestFold_NumbersKeepTheirFiguresAndTextsTheirChanges(t *testing.T) {
	got := Fold([]Message{
		at(7, 0, `{"t":20,"s":"on"}`), at(8, 10, `{"t":26.5,"s":"on"}`), at(9, 59, `{"t":-1,"s":"off"}`), at(11, 60, `{"t":5}`)})
	want := []Aggregate{
		{Start: t0, From: 7, To: 9, N: 3, Series: []Series{
			{Source: "drv/a/b", Topic: "t", Path: "/s", Count: 3, First: []byte(`"on"`), Last: []byte(`"off"`),
				Changes: []Change{{t0, []byte(`"on"`)}, {t0.Add(59 * time.Second), []byte(`"off"`)}}},
			{Source: "drv/a/b", Topic: "t", Path: "/t", Count: 3, Min: -1, Max: 26.5, Mean: 45.5 / 3, First: []byte("20"), Last: []byte("-1"), numbers: 3}}},
		{Start: t0.Add(time.Minute), From: 11, To: 11, N: 1, Series: []Series{
			{Source: "drv/a/b", Topic: "t", Path: "/t", Count: 1, Min: 5, Max: 5, Mean: 5, First: []byte("5"), Last: []byte("5"), numbers: 1}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestFold_WhatHoldsNoSeriesKeepsFirstAndLast(t *testing.T) {
	for _, payload := range []string{"", "\x00", "[1,2]", "null", "{}", `{"a":[1]}`, `{"a":`, "1 2", `{"a":{"b":{"c":{"d":1}}}}`} {
		got := Fold([]Message{at(1, 0, payload), at(2, 1, payload)})
		if len(got) != 1 || len(got[0].Series) != 1 || !got[0].Series[0].Whole || got[0].Series[0].Count != 2 {
			t.Errorf("%q: %+v", payload, got)
		}
	}
}

func TestFold_BadReadingsAreCountedApart(t *testing.T) {
	bad := at(2, 1, `{"t":85}`)
	bad.Bad = true
	got := Fold([]Message{at(1, 0, `{"t":20}`), bad})[0]
	if got.N != 2 || got.BadN != 1 || got.Series[0].Count != 1 || got.Series[0].Max != 20 {
		t.Errorf("%+v", got)
	}
}

func TestFold_ATopicHasAtMostSoManySeries(t *testing.T) {
	text := "{"
	for i := range seriesMax + 10 {
		text += fmt.Sprintf(`"k%03d":%d,`, i, i)
	}
	got := Fold([]Message{at(1, 0, text+`"z":1}`)})[0]
	if len(got.Series) != seriesMax || got.Dropped != 11 {
		t.Errorf("%d series, %d dropped", len(got.Series), got.Dropped)
	}
}

// TestFold_IsTheSameInAnyOrderAndCountsEveryMessageOnce is why a fold that a
// crash cut off can be done again.
func TestFold_IsTheSameInAnyOrderAndCountsEveryMessageOnce(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var all []Message
		for i := range 1 + rng.IntN(100) {
			m := at(uint64(10+3*i), rng.IntN(300), []string{`{"v":%d}`, `%d`, `"text %d"`, "raw %d"}[rng.IntN(4)])
			m.Payload = fmt.Appendf(nil, string(m.Payload), rng.IntN(5))
			m.Topic, m.Bad = fmt.Sprint("t/", rng.IntN(3)), rng.IntN(10) == 0
			all = append(all, m)
		}
		want := Fold(all)
		n, ids := 0, map[[2]uint64]bool{}
		for _, a := range want {
			n += a.N
			ids[[2]uint64{a.From, a.To}] = true
		}
		if n != len(all) || len(ids) != len(want) {
			t.Fatalf("seed %d: %d messages of %d, %d ids of %d", seed, n, len(all), len(ids), len(want))
		}
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if got := Fold(all); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: in another order\n%+v\nnot\n%+v", seed, got, want)
		}
	}
}

func FuzzFold(f *testing.F) {
	for _, s := range []string{"", "{}", `{"a":{"b":1e999}}`, `{"a":1,"a":"x"}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		m := at(1, 0, "")
		m.Payload = payload
		if got := Fold([]Message{m}); len(got) != 1 || got[0].N != 1 || len(got[0].Series) == 0 || len(got[0].Series) > seriesMax {
			t.Errorf("%q: %+v", payload, got)
		}
	})
}
