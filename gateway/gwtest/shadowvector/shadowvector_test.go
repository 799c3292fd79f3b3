package shadowvector

import (
	"encoding/json"
	"strings"
	"testing"
)

// A matcher that cannot fail proves nothing: each line must match, or not.
func TestMatch_FollowsTheReadme(t *testing.T) {
	cases := []struct {
		want, got string
		ok        bool
	}{
		{`{"a":1}`, `{"a":1.0}`, true},
		{`{"a":1}`, `{"a":1,"b":2}`, false},
		{`{"a":1}`, `{"a":"1"}`, false},
		{`{"a":1,"b":2}`, `{"a":1}`, false},
		{`[1,2]`, `[2,1]`, false},
		{`{"a":{"$m":"any"}}`, `{}`, false},
		{`{"a":{"$m":"any"}}`, `{"a":null}`, true},
		{`{"a":{"$m":"absent"}}`, `{"a":1}`, false},
		{`{"a":{"$m":"absent"}}`, `{}`, true},
		{`{"a":{"$m":"optional"}}`, `{"a":[]}`, true},
		{`{"a":{"$m":"optional","of":1}}`, `{}`, true},
		{`{"a":{"$m":"optional","of":1}}`, `{"a":2}`, false},
		{`{"$m":"oneOf","of":[1,{"$m":"re","of":"^x"}]}`, `"xy"`, true},
		{`{"$m":"oneOf","of":[1,2]}`, `3`, false},
		{`{"$m":"subset","of":{"a":1}}`, `{"a":1,"b":2}`, true},
		{`{"$m":"subset","of":{"a":1}}`, `{"b":2}`, false},
		{`{"$m":"timestamp"}`, `1`, false},
		{`{"$m":"timestamp"}`, `"now"`, false},
		{`{"$m":"meta","of":{"a":1}}`, `{"a":{"timestamp":1}}`, false},
		{`{"$m":"meta","of":{"a":[]}}`, `{"a":[1]}`, false},
		{`{"$m":"meta","of":{"a":{}}}`, `{"a":{}}`, true},
		{`{"$m":"save","as":"x"}`, `5`, true},
		{`{"$m":"var","name":"x","plus":1}`, `6`, true},
		{`{"$m":"var","name":"x"}`, `6`, false},
		{`{"$m":"ge","name":"x"}`, `5`, true},
		{`{"$m":"gt","name":"x"}`, `5`, false},
		{`{"$m":"nonsense"}`, `5`, false},
		{`"${thing}"`, `"T"`, true},
	}
	p := &player{thing: "T", saved: map[string]float64{}}
	for _, c := range cases {
		if err := p.match(json.RawMessage(c.want), []byte(c.got)); (err == nil) != c.ok {
			t.Errorf("match %s with %s: %v, want ok=%v", c.want, c.got, err, c.ok)
		}
	}
}

func TestGenerate_ExpandsTheGenerators(t *testing.T) {
	p := &player{thing: "T", saved: map[string]float64{"v": 4}}
	for raw, want := range map[string]string{
		`{"$g":"repeat","s":"ab","n":3}`:                        `"ababab"`,
		`{"$g":"keys","prefix":"k","n":2,"value":7}`:            `{"k0000":7,"k0001":7}`,
		`{"$g":"nest","depth":2,"value":1}`:                     `{"n":{"n":1}}`,
		`{"t":"${thing}","v":{"$g":"var","name":"v","plus":1}}`: `{"t":"T","v":5}`,
		`[9007199254740993,"<&>"]`:                              `[9007199254740993,"<&>"]`,
	} {
		if got, err := p.generate(json.RawMessage(raw)); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", raw, got, err, want)
		}
	}
	if _, err := p.generate(json.RawMessage(`{"$g":"x"}`)); err == nil {
		t.Error("unknown generator: want an error")
	}
	if thing := freshThing(); !strings.HasPrefix(thing, "vec-") || len(thing) != 16 {
		t.Errorf("thing %q", thing)
	}
}
