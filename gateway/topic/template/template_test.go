package template

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/topic"
)

var values = Values{Gateway: "gw-7", Name: "line", Topic: "plant/oven/2/temp", Rest: "2/temp"}

func TestExpand_PutsEveryValueIn(t *testing.T) {
	for text, want := range map[string]string{
		"gw/{gateway}/t/{topic}":  "gw/gw-7/t/plant/oven/2/temp",
		"{name}/{rest}":           "line/2/temp",
		"{1}/{2}/{3}/{4}/x":       "plant/oven/2/temp/x",
		"{5}{8}":                  "",
		"plain":                   "plain",
		"$aws/rules/r/{topic}":    "$aws/rules/r/plant/oven/2/temp",
		"{gateway}{gateway}-{1}-": "gw-7gw-7-plant-",
		"":                        "",
	} {
		parsed, err := Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := parsed.Expand(values); got != want || parsed.String() != text {
			t.Errorf("%q expands to %q, want %q", text, got, want)
		}
	}
}

func TestParse_AnythingElseInBracesIsAnError(t *testing.T) {
	for text, want := range map[string]string{
		"a/{thing}": "unknown {thing}", "{0}": "unknown {0}", "{9}": "unknown {9}", "{}": "unknown {}", "{ topic }": "unknown { topic }",
		"{Topic}": "unknown {Topic}", "{10}": "unknown {10}", "a{": "brace", "a}b": "brace", "{topic": "brace", "{{topic}}": "unknown {{topic}",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestParseTopic_SaysWhatTheFilterCannotGive(t *testing.T) {
	for _, c := range []struct{ text, from, want string }{
		{"x/{rest}", "a/#", ""}, {"x/{rest}", "#", ""}, {"x/{3}", "a/+/b", ""}, {"x/{8}", "a/#", ""}, {"x/{topic}", "a", ""},
		{"x/{rest}", "a/+", "{rest} needs a filter that ends in #"}, {"x/{4}", "a/+/b", "{4} is not there"},
		{"x/#", "a/#", "no wildcard"}, {"x/+/{topic}", "a", "no wildcard"}, {"", "a", "empty"}, {"{no}", "a", "unknown"},
	} {
		_, err := ParseTopic(c.text, topic.Filter(c.from))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q from %q: %v, want %q", c.text, c.from, err, c.want)
		}
	}
}

func TestParseFilter_TakesGatewayAndNameOnly(t *testing.T) {
	for text, ok := range map[string]bool{
		"gw/{gateway}/cmd/#": true, "{name}/+": true, "cmd/{rest}": false, "{1}/#": false, "a#": false, "": false, "a/{gateway}#": false,
	} {
		if _, err := ParseFilter(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestRest_IsWhatTheLastWildcardMatched(t *testing.T) {
	for _, c := range []struct{ filter, name, want string }{
		{"#", "a/b", "a/b"}, {"a/#", "a/b/c", "b/c"}, {"a/+/#", "a/b/c/d", "c/d"}, {"a/#", "a", ""}, {"a/+", "a/b", ""}, {"+/#", "/x", "x"}, {"a/#", "a//b", "/b"},
	} {
		if got := Rest(topic.Filter(c.filter), c.name); got != c.want {
			t.Errorf("Rest(%q, %q) = %q, want %q", c.filter, c.name, got, c.want)
		}
	}
}

func ExampleTemplate_Expand() {
	from := topic.Filter("plant/#")
	to, err := ParseTopic("gw/{gateway}/{name}/{rest}", from)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(to.Expand(Values{Gateway: "gw-7", Name: "line", Rest: Rest(from, "plant/oven/temp")}))
	// Output: gw/gw-7/line/oven/temp
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"gw/{gateway}/t/{topic}", "{1}{rest}", "{", "}{", "{9}", "a{name"} {
		f.Add(s, "a/b")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		parsed, err := Parse(text)
		if err != nil {
			return
		}
		got := parsed.Expand(Values{Gateway: "{x}", Name: name, Topic: name, Rest: name})
		if !strings.ContainsAny(text, "{}") && got != text {
			t.Errorf("%q expands to %q", text, got)
		}
		if len(got) > len(text)*(len(name)+3) {
			t.Errorf("%q expands to %d bytes", text, len(got))
		}
	})
}
