package tree

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, text string) (*Node, []Problem) {
	t.Helper()
	var r Report
	n := Parse("f.yaml", []byte(text), &r)
	return n, r.Problems()
}

func TestParse_SyntaxErrorsHaveTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"a:\n  id: a\n b: c\n":        "3:2",
		"a: 1\nb:\n\tc: a\n":          "3:1",
		"a: 1\nb: {id: a\nlog: 1\n":   "2:1",
		"a: 1\nb: \"a}\nlog: 1\n":     "2:1",
		"a: 1\nb: c: d\n":             "2:1",
		"a: 1\nb:\n  - a\n  c: d\n":   "3:3",
		"a: 1\nb: *x\n":               "2:1",
		"a: 1\nb: @x\n":               "2:1",
		"a: 1\nb:\n  c: 1\n   d: 2\n": "4:4",
		"a: 1\nb: \x01\n":             "2:1",
		"a: 1\nb: \xff\n":             "2:1",
		"a: 1\nb: [\n":                "3:1",
	} {
		_, problems := parse(t, text)
		if len(problems) != 1 || fmt.Sprintf("%d:%d", problems[0].Line, problems[0].Column) != want {
			t.Errorf("%q: got %v, want %s", text, problems, want)
		}
	}
}

func TestParse_EmptyTextIsAnEmptyMap(t *testing.T) {
	for _, text := range []string{"", "# only a comment\n", "---\n", "~\n"} {
		n, problems := parse(t, text)
		if n == nil || n.Kind != Mapping || len(n.Keys) != 0 || len(problems) != 0 {
			t.Errorf("%q: got %+v, %v", text, n, problems)
		}
	}
}

func TestParse_AliasBombsAndDeepNestingEnd(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	for name, text := range map[string]string{
		"bomb": bomb, "deep": "a: " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000), "endless": "a: &a {b: *a}\n",
		"wide": "a: [" + strings.Repeat("x,", NodesMax) + "x]\n",
	} {
		start := time.Now()
		_, problems := parse(t, text)
		if len(problems) != 1 || time.Since(start) > 5*time.Second {
			t.Errorf("%s: %v after %v", name, problems, time.Since(start))
		}
	}
}

func TestParse_MergeKeysGiveWhatIsNotWritten(t *testing.T) {
	n, problems := parse(t, "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4}]}\n")
	if got := string(n.JSON()); len(problems) != 0 || got != `{"a":{"x":1,"y":2},"b":{"x":1,"y":3},"c":{"x":1,"y":2,"z":4}}` {
		t.Errorf("got %s, %v", got, problems)
	}
}

func TestJSON_ScalarsKeepTheirMeaning(t *testing.T) {
	for yaml, want := range map[string]string{
		"1": "1", "0x10": "16", "-7": "-7", "1.50": "1.50", "1e3": "1e3", ".5": "0.5", "true": "true", "True": "true", "on": `"on"`,
		"~": "null", "null": "null", "''": `""`, "2012-10-17": `"2012-10-17"`, "'1'": `"1"`, "a<b>&": `"a<b>&"`, "[]": "[]", "{}": "{}",
		"[1, [a]]": `[1,["a"]]`, "99999999999999999999": "99999999999999999999", ".inf": `".inf"`, "°C": `"°C"`, `"a\nb"`: `"a\nb"`,
	} {
		n, problems := parse(t, "v: "+yaml+"\n")
		if got := string(n.get("v").JSON()); len(problems) != 0 || got != want {
			t.Errorf("%s: got %s, want %s", yaml, got, want)
		}
	}
}

func TestMerge_ListsOfNamedEntriesMergeByName(t *testing.T) {
	for name, c := range map[string][3]string{
		"maps":            {"{a: {x: 1, y: 2}}", "{a: {y: 3, z: 4}, b: 5}", `{"a":{"x":1,"y":3,"z":4},"b":5}`},
		"named":           {"{l: [{name: a, x: 1}, {name: b}]}", "{l: [{name: c}, {name: a, y: 2}]}", `{"l":[{"name":"a","x":1,"y":2},{"name":"b"},{"name":"c"}]}`},
		"plain":           {"{l: [1, 2]}", "{l: [3]}", `{"l":[3]}`},
		"unnamed":         {"{l: [{name: a}]}", "{l: [{x: 1}]}", `{"l":[{"x":1}]}`},
		"other kind":      {"{l: [1]}", "{l: {x: 1}}", `{"l":{"x":1}}`},
		"null is nothing": {"{l: 1}", "{l: ~}", `{"l":1}`},
		"over null":       {"{l: ~}", "{l: 1}", `{"l":1}`},
	} {
		base, _ := parse(t, c[0])
		over, _ := parse(t, c[1])
		before := string(base.JSON())
		if got := string(Merge(base, over).JSON()); got != c[2] {
			t.Errorf("%s: got %s, want %s", name, got, c[2])
		}
		if got := string(base.JSON()); got != before {
			t.Errorf("%s: the original changed to %s", name, got)
		}
	}
}

func TestReport_IsBounded(t *testing.T) {
	var r Report
	for i := range 5000 {
		r.Add(Problem{Severity: SeverityError, Line: i})
		r.Add(Problem{Severity: SeverityError, Line: i})
	}
	if got := len(r.Problems()); got != problemsMax+1 {
		t.Errorf("got %d problems", got)
	}
}

func TestMap_UnknownKeysNameTheNearest(t *testing.T) {
	n, _ := parse(t, "adress: 1\nzzz: 2\nname: x\n")
	var r Report
	m := Read(n, &r)
	m.Text("name", Required)
	m.Text("address", "")
	m.Done()
	got := r.Problems()
	if len(got) != 2 || got[0].Hint != `did you mean "address"?` || got[1].Hint != "known here: name, address" || got[1].Line != 2 {
		t.Errorf("got %v", got)
	}
}

func TestMap_PathsWithDotsStandInBrackets(t *testing.T) {
	n, _ := parse(t, "a:\n  - edge.log:\n      message: [x, y]\n")
	var r Report
	m := Read(n, &r)
	path := Member("a[0]", "edge.log") + ".message[1]"
	m.Fail(path, "bad", "")
	m.Fail("a[0].nothing.there", "bad", "")
	if got := r.Problems(); got[0].Key != "a[0][edge.log].message[1]" || got[0].Line != 3 || got[0].Column != 20 || got[1].Line != 2 {
		t.Errorf("got %v", got)
	}
}

func TestMap_TextsKeepTheTilde(t *testing.T) {
	n, _ := parse(t, "names: [~, '~', a, 1]\n")
	var r Report
	got := Read(n, &r).Texts("names", "list")
	if fmt.Sprint(got) != "[~ ~ a 1]" {
		t.Errorf("got %v, %v", got, r.Problems())
	}
}
