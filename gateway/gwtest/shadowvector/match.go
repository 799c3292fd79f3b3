package shadowvector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"
)

// clockSlack is how far a timestamp may be from the tester's clock.
const clockSlack = 120 * time.Second

// decode reads JSON with numbers as text.
func decode(text []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, fmt.Errorf("trailing bytes")
	}
	return v, nil
}

// generate writes a payload: ${thing} is filled in, `$g` objects are expanded.
func (p *player) generate(raw json.RawMessage) ([]byte, error) {
	v, err := decode(raw)
	if err != nil {
		return nil, err
	}
	if v, err = p.expand(v); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err = enc.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

func (p *player) expand(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case string:
		return p.fill(v), nil
	case []any:
		for i := range v {
			if v[i], err = p.expand(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		if kind, ok := v["$g"].(string); ok {
			return p.generator(kind, v)
		}
		for k := range v {
			if v[k], err = p.expand(v[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func (p *player) generator(kind string, g map[string]any) (any, error) {
	switch kind {
	case "repeat":
		return strings.Repeat(g["s"].(string), whole(g["n"])), nil
	case "keys":
		out := map[string]any{}
		for i := range whole(g["n"]) {
			out[fmt.Sprintf("%s%04d", g["prefix"], i)] = g["value"]
		}
		return out, nil
	case "nest":
		v := g["value"]
		for range whole(g["depth"]) {
			v = map[string]any{"n": v}
		}
		return v, nil
	case "var":
		return p.saved[g["name"].(string)] + float(g["plus"]), nil
	}
	return nil, fmt.Errorf("unknown generator %q", kind)
}

func whole(v any) int { return int(float(v)) }

// float is a number, 0 for anything else.
func float(v any) float64 {
	n, _ := v.(json.Number)
	f, _ := n.Float64()
	return f
}

// match compares a payload with a matcher.
func (p *player) match(want json.RawMessage, payload []byte) error {
	got, err := decode(payload)
	if err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	w, err := decode(want)
	if err != nil {
		return fmt.Errorf("matcher: %w", err)
	}
	return p.value(w, got, "")
}

// value matches what is present; at is its path for failure messages.
func (p *player) value(want, got any, at string) error {
	switch w := want.(type) {
	case map[string]any:
		if kind, ok := w["$m"].(string); ok {
			return p.matcher(kind, w, got, at)
		}
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: want an object, got %v", at, got)
		}
		return p.members(w, g, at, true)
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Errorf("%s: want an array of %d, got %v", at, len(w), got)
		}
		for i := range w {
			if err := p.value(w[i], g[i], fmt.Sprintf("%s/%d", at, i)); err != nil {
				return err
			}
		}
		return nil
	case string:
		want = p.fill(w)
	}
	if !equal(want, got) {
		return fmt.Errorf("%s: want %v, got %v", at, want, got)
	}
	return nil
}

// members matches the members of an object; exact forbids others.
func (p *player) members(want, got map[string]any, at string, exact bool) error {
	for k, w := range want {
		path := at + "/" + k
		g, present := got[k]
		kind, of := "", any(nil)
		if m, ok := w.(map[string]any); ok {
			kind, _ = m["$m"].(string)
			of = m["of"]
		}
		switch {
		case kind == "absent" && present:
			return fmt.Errorf("%s: must be absent, is %v", path, g)
		case kind == "absent", kind == "optional" && (!present || of == nil):
			continue
		case !present:
			return fmt.Errorf("%s: missing", path)
		}
		if err := p.value(w, g, path); err != nil {
			return err
		}
	}
	for k, g := range got {
		if _, known := want[k]; exact && !known {
			return fmt.Errorf("%s/%s: unexpected member %v", at, k, g)
		}
	}
	return nil
}

func (p *player) matcher(kind string, m map[string]any, got any, at string) error {
	ok := true
	switch kind {
	case "any":
	case "optional":
		if of, has := m["of"]; has {
			return p.value(of, got, at)
		}
	case "oneOf":
		ok = slices.ContainsFunc(m["of"].([]any), func(w any) bool { return p.value(w, got, at) == nil })
	case "subset":
		g, isObject := got.(map[string]any)
		if isObject {
			return p.members(m["of"].(map[string]any), g, at, false)
		}
		ok = false
	case "re":
		text, isString := got.(string)
		re, err := regexp.Compile(m["of"].(string))
		if err != nil {
			return err
		}
		ok = isString && re.MatchString(text)
	case "timestamp":
		ok = isNow(got)
	case "meta":
		return meta(m["of"], got, at)
	case "save", "var", "ge", "gt":
		return p.remembered(kind, m, got, at)
	default:
		return fmt.Errorf("%s: unknown matcher %q", at, kind)
	}
	if !ok {
		return fmt.Errorf("%s: %v does not fit %v", at, got, m)
	}
	return nil
}

func (p *player) remembered(kind string, m map[string]any, got any, at string) error {
	n, isNumber := got.(json.Number)
	if !isNumber {
		return fmt.Errorf("%s: want a number, got %v", at, got)
	}
	g, _ := n.Float64()
	if kind == "save" {
		p.saved[m["as"].(string)] = g
		return nil
	}
	bound := p.saved[m["name"].(string)] + float(m["plus"])
	if kind == "var" && g == bound || kind == "ge" && g >= bound || kind == "gt" && g > bound {
		return nil
	}
	return fmt.Errorf("%s: %v is not %s %v", at, g, kind, bound)
}

// meta is the metadata tree of a state.
func meta(state, got any, at string) error {
	switch s := state.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(g) != len(s) {
			return fmt.Errorf("%s: metadata of %v is %v", at, state, got)
		}
		for k := range s {
			if err := meta(s[k], g[k], at+"/"+k); err != nil {
				return err
			}
		}
		return nil
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(s) {
			return fmt.Errorf("%s: metadata of %v is %v", at, state, got)
		}
		for i := range s {
			if err := meta(s[i], g[i], fmt.Sprintf("%s/%d", at, i)); err != nil {
				return err
			}
		}
		return nil
	}
	g, ok := got.(map[string]any)
	if !ok || len(g) != 1 || !isNow(g["timestamp"]) {
		return fmt.Errorf("%s: want one timestamp, got %v", at, got)
	}
	return nil
}

func isNow(v any) bool {
	n, ok := v.(json.Number)
	if !ok {
		return false
	}
	seconds, err := n.Int64()
	return err == nil && time.Since(time.Unix(seconds, 0)).Abs() <= clockSlack
}

// equal compares scalars, numbers by value.
func equal(a, b any) bool {
	x, isX := a.(json.Number)
	y, isY := b.(json.Number)
	if isX && isY {
		r, okR := new(big.Rat).SetString(x.String())
		s, okS := new(big.Rat).SetString(y.String())
		return okR && okS && r.Cmp(s) == 0
	}
	return a == b
}
