package topic

import (
	"slices"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/iot"
)

func TestMatch_MQTT311Section47(t *testing.T) {
	cases := []struct {
		filter, name string
		want         bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/c", false}, {"a", "a/b", false}, {"a/b", "a", false},
		{"+", "a", true}, {"+", "a/b", false}, {"a/+", "a/b", true}, {"a/+", "a", false},
		{"a/+/c", "a//c", true}, {"+/+", "/a", true}, {"+", "/a", false}, {"/+", "/a", true},
		{"#", "a/b/c", true}, {"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false},
		{"a/+/#", "a/b", true}, {"a/+/#", "a", false}, {"A", "a", false},
		{"#", "$aws/x", false}, {"+/x", "$aws/x", false}, {"$aws/#", "$aws/x", true}, {"$aws/+", "$aws/x", true},
		{"a/", "a/", true}, {"a/+", "a/", true}, {"a/#", "a/", true},
	}
	for _, c := range cases {
		if got := Match(Filter(c.filter), Name(c.name)); got != c.want {
			t.Errorf("Match(%q, %q) = %v, want %v", c.filter, c.name, got, c.want)
		}
		var trie Trie[string]
		trie.Add(Filter(c.filter), "v")
		found := false
		trie.Each(Name(c.name), func(string) { found = true })
		if found != c.want {
			t.Errorf("Trie with %q finds %q: %v, want %v", c.filter, c.name, found, c.want)
		}
	}
}

func TestParse_RefusesWhatMQTTForbids(t *testing.T) {
	for _, s := range []string{"", "a/+", "#", "a\x00b", "\xff", strings.Repeat("a", 65536)} {
		if _, err := ParseName(s); iot.CodeOf(err) != iot.InvalidRequest {
			t.Errorf("ParseName(%.20q) = %v, want InvalidRequest", s, err)
		}
	}
	for _, s := range []string{"", "a+", "a/#/b", "a#", "##", "\xff"} {
		if _, err := ParseFilter(s); err == nil {
			t.Errorf("ParseFilter(%q): want an error", s)
		}
	}
	for _, s := range []string{"+", "#", "a/+/b/#", "/", "//", "$aws/+"} {
		if _, err := ParseFilter(s); err != nil {
			t.Errorf("ParseFilter(%q): %v", s, err)
		}
	}
}

func TestTrie_RemoveLeavesNothingBehind(t *testing.T) {
	var trie Trie[int]
	filters := []Filter{"a/b", "a/+", "a/#", "#", "a/b"}
	for i, f := range filters {
		trie.Add(f, i)
	}
	var got []int
	trie.Each("a/b", func(v int) { got = append(got, v) })
	slices.Sort(got)
	if !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
		t.Errorf("found %v", got)
	}
	for i, f := range filters {
		trie.Remove(f, i)
	}
	if trie.Len() != 0 || !trie.root.empty() {
		t.Errorf("%d pairs left, branches: %+v", trie.Len(), trie.root)
	}
	trie.Remove("never/added", 7)
}

func TestParseReserved_ShadowTopics(t *testing.T) {
	classic, named := iot.ShadowKey{Thing: "t"}, iot.ShadowKey{Thing: "t", Shadow: "s"}
	for _, key := range []iot.ShadowKey{classic, named} {
		for _, op := range []Op{Get, Update, Delete} {
			r, ok := ParseReserved(Shadow(key, op))
			if !ok || r.Kind != ShadowRequest || r.Key != key || r.Op != op || !r.ClientMayPublish() {
				t.Errorf("%s: got %+v", Shadow(key, op), r)
			}
			r, _ = ParseReserved(ShadowAnswerTo(key, op, Accepted))
			if r.Kind != ShadowAnswer || r.Answer != Accepted || r.ClientMayPublish() {
				t.Errorf("answer to %s: got %+v", op, r)
			}
		}
	}
	for _, s := range []string{
		"$aws/things/t/shadow", "$aws/things/t/shadow/put", "$aws/things/t t/shadow/get", "$aws/things//shadow/get",
		"$aws/things/t/shadow/name//get", "$aws/things/t/shadow/name/s", "$aws/things/t/shadow/get/delta",
		"$aws/things/t/shadow/update/accepted/x", "$aws/x", "$SYS/x", "$", "$awsx/things/t/shadow/get",
	} {
		if r, ok := ParseReserved(s); !ok || r.Kind != Unknown || r.ClientMayPublish() {
			t.Errorf("ParseReserved(%q) = %+v, %v; want Unknown", s, r, ok)
		}
	}
	if _, ok := ParseReserved("dt/x"); ok {
		t.Error("dt/x is not reserved")
	}
}

func TestParseReserved_OtherTrees(t *testing.T) {
	if r, _ := ParseReserved("$aws/rules/r/a/b"); r.Kind != BasicIngest || r.Rule != "r" || r.Rest != "a/b" {
		t.Errorf("got %+v", r)
	}
	if r, _ := ParseReserved("$aws/rules/r"); r.Kind != BasicIngest || r.Rule != "r" || r.Rest != "" {
		t.Errorf("got %+v", r)
	}
	if r, _ := ParseReserved(GatewayHealth); r.Kind != House || r.ClientMayPublish() {
		t.Errorf("got %+v", r)
	}
	if r, _ := ParseReserved("$aws/events/presence/connected/c"); r.Kind != LifecycleEvent || r.ClientMayPublish() {
		t.Errorf("got %+v", r)
	}
}

// FuzzMatch compares Match, the Trie and a level-by-level matcher.
func FuzzMatch(f *testing.F) {
	f.Add("a/+/#", "a/b/c")
	f.Add("#", "$aws/x")
	f.Add("+//", "/")
	f.Fuzz(func(t *testing.T, filter, name string) {
		ff, err1 := ParseFilter(filter)
		n, err2 := ParseName(name)
		if err1 != nil || err2 != nil {
			return
		}
		want := naive(strings.Split(filter, "/"), strings.Split(name, "/"))
		if strings.HasPrefix(name, "$") && strings.ContainsAny(filter[:1], "+#") {
			want = false
		}
		var trie Trie[int]
		trie.Add(ff, 1)
		found := false
		trie.Each(n, func(int) { found = true })
		if Match(ff, n) != want || found != want {
			t.Errorf("filter %q name %q: Match %v, Trie %v, want %v", filter, name, Match(ff, n), found, want)
		}
	})
}

func naive(f, n []string) bool {
	if len(f) == 1 && f[0] == "#" {
		return true
	}
	if len(f) == 0 || len(n) == 0 {
		return len(f) == len(n)
	}
	if f[0] != "+" && f[0] != n[0] {
		return false
	}
	return naive(f[1:], n[1:])
}

func BenchmarkTrie10kFilters(b *testing.B) {
	var trie Trie[int]
	for i := range 10_000 {
		trie.Add(Filter("dt/thing-"+strings.Repeat("x", i%7)+string(rune('a'+i%26))+"/reading"), i)
	}
	trie.Add("dt/+/reading", -1)
	b.ReportAllocs()
	for b.Loop() {
		trie.Each("dt/thing-xxxc/reading", func(int) {})
	}
}
