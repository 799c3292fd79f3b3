package judge

import (
	"fmt"
	"reflect"
	"testing"
)

func native(seq int, src, lane, m string) []byte {
	return fmt.Appendf(nil, `{"id":"gw:abcdefgh:%d","seq":%d,"src":%q,"lane":%q,"m":%s}`, seq, seq, src, lane, m)
}

func verdict(j *Judge) Verdict { return j.Verdicts()["gw:abcdefgh"] }

func TestAdd_CountsOnceAndFindsHoles(t *testing.T) {
	j := New()
	for _, seq := range []int{1, 2, 5, 2, 9} {
		fresh := j.Add(native(seq, "drv/x/y", "live", `{"v":1}`))
		if fresh != (seq != 2 || verdict(j).Duplicates == 0) {
			t.Errorf("number %d: fresh=%v", seq, fresh)
		}
	}
	v := verdict(j)
	if v.Received != 4 || v.Duplicates != 1 || v.Changed != 0 || !reflect.DeepEqual(v.Holes, []Range{{3, 4}, {6, 8}}) {
		t.Errorf("verdict %+v", v)
	}
}

func TestAdd_LossStartAndMarkCloseHoles(t *testing.T) {
	j := New()
	j.Add(native(1, "drv/x/y", "live", `{}`))
	j.Add(native(10, "sys/start", "live", `{"inc":"abcdefgh","first_seq":10,"skipped_from":4,"skipped_to":9}`))
	j.Add(native(11, "sys/loss", "live", `{"inc":"abcdefgh","reason":"evicted","from":2,"to":2,"count":1}`))
	j.Add(native(12, "sys/mark", "live", `{"inc":"abcdefgh","upto":11,"n":5}`))
	v := verdict(j)
	want := Verdict{Received: 4, Lost: 1, Skipped: 6, Holes: []Range{{3, 3}}, Marked: true, Missing: 1}
	if !reflect.DeepEqual(v, want) {
		t.Errorf("verdict %+v, want %+v", v, want)
	}
}

func TestAdd_WhatCameOfSkippedNumbersIsNotInTheMark(t *testing.T) {
	j := New()
	for seq := 1; seq <= 5; seq++ {
		j.Add(native(seq, "drv/x/y", "live", `{}`)) // 4 and 5 were never written down
	}
	j.Add(native(10, "sys/start", "live", `{"inc":"abcdefgh","first_seq":10,"skipped_from":4,"skipped_to":9}`))
	j.Add(native(11, "sys/mark", "live", `{"inc":"abcdefgh","upto":10,"n":4}`))
	if v := verdict(j); v.Missing != 0 || v.Skipped != 6 || len(v.Holes) != 0 {
		t.Errorf("verdict %+v", v)
	}
}

func TestAdd_LaneOrderIsJudgedPerLane(t *testing.T) {
	j := New()
	j.Add(native(100, "drv/x/y", "live", `{}`))
	j.Add(native(1, "drv/x/y", "back", `{}`))
	j.Add(native(101, "drv/x/y", "live", `{}`))
	j.Add(native(3, "drv/x/y", "back", `{}`))
	j.Add(native(2, "drv/x/y", "back", `{}`))
	if v := verdict(j); v.Reordered != 1 {
		t.Errorf("verdict %+v", v)
	}
}

func TestAdd_TakesBatchInjectAndRaw(t *testing.T) {
	j := New()
	j.Add([]byte("[" + string(native(1, "rule/r", "live", `{"v":1}`)) + "," + string(native(2, "rule/r", "live", `{"v":2}`)) + "]"))
	j.Add([]byte(`{"temp":3,"_gw":{"id":"gw:abcdefgh:3","lane":"live"}}`))
	j.Add([]byte(`{"temp":4,"_gw":{"id":"gw:abcdefgh:3","lane":"live"}}`))
	for _, raw := range []string{"", "21.5", "{}", "[1,2]", `{"id":"other"}`, `{"id":"a:b:0"}`, `{"id":"a:b:99999999999999999999999"}`, "\xff"} {
		j.Add([]byte(raw))
	}
	v := verdict(j)
	if v.Received != 3 || v.Duplicates != 1 || v.Changed != 1 || len(v.Holes) != 0 || j.Raw() != 9 {
		t.Errorf("verdict %+v, raw %d", v, j.Raw())
	}
}

func FuzzAdd(f *testing.F) {
	f.Add(native(7, "sys/loss", "live", `{"from":1,"to":18446744073709551615,"count":3}`))
	f.Add([]byte(`[{"id":"a:b:1"},{"_gw":{"id":"a:b:2"}}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		j := New()
		j.Add(native(1, "drv/x/y", "live", `{}`))
		j.Add(b)
		j.Add(b)
		j.Verdicts()
	})
}

func TestJudge_AnAggregateCountsForThoseItStandsForOnce(t *testing.T) {
	j := New()
	for range 2 {
		j.Add([]byte(`{"id":"gw:abcdefgh:f1-1-9","n":9,"agg":{},"m":{}}`))
	}
	j.Add([]byte(`{"id":"gw:abcdefgh:10","m":{"n":"not a count"}}`))
	j.Add([]byte(`{"id":"gw:abcdefgh:11","src":"sys/mark","m":{"inc":"abcdefgh","upto":10,"n":10}}`))
	v := j.Verdicts()["gw:abcdefgh"]
	if v.Folded != 9 || v.Duplicates != 1 || v.Missing != 0 || len(v.Holes) != 0 {
		t.Errorf("%+v", v)
	}
}
