package binding

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/iot"
)

// envelope is a delta or shadow document round a state.
type envelope struct {
	State     map[string]json.RawMessage `json:"state"`
	Metadata  json.RawMessage            `json:"metadata"`
	Version   *int64                     `json:"version"`
	Timestamp *int64                     `json:"timestamp"`
}

// Delta reads a delta of a shadow: the delta document as it is published, or
// its `state` alone. Every output whose desired value is in it, and was not
// taken before, gives a wish. With the document's metadata a value that was
// desired before the start of the daemon makes an Old wish, and one that was
// taken already makes none: a delta repeats all differences after every update
// (shadow.md section 5).
func (t *Table) Delta(key iot.ShadowKey, document []byte) []drivers.Wish {
	var e envelope
	if json.Unmarshal(document, &e) == nil && e.State != nil && (e.Version != nil || e.Timestamp != nil) {
		return t.wishes(key, e.State, e.Metadata, false)
	}
	var state map[string]json.RawMessage
	if json.Unmarshal(document, &state) != nil {
		return nil
	}
	return t.wishes(key, state, nil, false)
}

// Current reads a shadow as it stood when the daemon started: the document, or
// its desired section alone. Its wishes are Old unless their metadata says they
// came since.
func (t *Table) Current(key iot.ShadowKey, document []byte) []drivers.Wish {
	var e envelope
	if json.Unmarshal(document, &e) == nil && e.State != nil && (e.Version != nil || e.Timestamp != nil) {
		var desired map[string]json.RawMessage
		var metadata struct {
			Desired json.RawMessage `json:"desired"`
		}
		if json.Unmarshal(e.State["desired"], &desired) != nil {
			return nil
		}
		_ = json.Unmarshal(e.Metadata, &metadata) // without metadata every wish is old
		return t.wishes(key, desired, metadata.Desired, true)
	}
	var desired map[string]json.RawMessage
	if json.Unmarshal(document, &desired) != nil {
		return nil
	}
	return t.wishes(key, desired, nil, true)
}

func (t *Table) wishes(key iot.ShadowKey, desired map[string]json.RawMessage, metadata json.RawMessage, old bool) []drivers.Wish {
	g := t.groups[key]
	if g == nil {
		return nil
	}
	var wishes []drivers.Wish
	for _, b := range g.parts {
		if b.Kind != Output {
			continue
		}
		section, path := desired, []string{}
		if b.Key != "." {
			section, path = nil, []string{b.Key}
			if json.Unmarshal(desired[b.Key], &section) != nil {
				continue
			}
		}
		field, value := b.wished(section)
		if value == nil {
			continue
		}
		path = append(path, field)
		stamp, expires := stampOf(metadata, path), section["expires"]
		if until := stampOf(metadata, append(path[:len(path)-1:len(path)-1], "expires")); until < stamp {
			expires = nil // it belongs to an earlier wish
		} else {
			stamp = until
		}
		if !b.fresh(slices.Concat(value, expires), stamp) {
			continue
		}
		w := parseWish(b.Name, field, value, "desired")
		expire(&w, expires)
		w.Old = old && stamp == 0 || stamp > 0 && time.Unix(stamp, 0).Before(t.start.Truncate(time.Second))
		wishes = append(wishes, w)
	}
	return wishes
}

// wished finds the member of a section that is a wish: `level` of an output with
// levels, else `on`.
func (b *binding) wished(section map[string]json.RawMessage) (field string, value json.RawMessage) {
	for _, field := range []string{"level", "on"} {
		if value := section[field]; value != nil && string(value) != "null" && (field == "on" || b.Levels) {
			return field, value
		}
	}
	return "on", nil
}

// fresh reports whether a wish was not taken before, and remembers it. A value
// without timestamp is always fresh.
func (b *binding) fresh(value json.RawMessage, stamp int64) bool {
	if stamp > 0 && (stamp < b.stamp || stamp == b.stamp && bytes.Equal(value, b.wish)) {
		return false
	}
	b.stamp, b.wish = max(stamp, b.stamp), value
	return true
}

// stampOf finds the timestamp of a leaf of the metadata, 0 when there is none.
func stampOf(metadata json.RawMessage, path []string) int64 {
	for _, name := range path {
		var members map[string]json.RawMessage
		if json.Unmarshal(metadata, &members) != nil {
			return 0
		}
		metadata = members[name]
	}
	var leaf struct {
		Timestamp int64 `json:"timestamp"`
	}
	if json.Unmarshal(metadata, &leaf) != nil {
		return 0
	}
	return leaf.Timestamp
}

func parseWish(part, field string, value json.RawMessage, cause string) drivers.Wish {
	w := drivers.Wish{Part: part, Cause: cause}
	if field == "level" {
		var level float64
		w.Invalid = json.Unmarshal(value, &level) != nil || string(value) == "null"
		w.Level, w.On = &level, level > 0
		return w
	}
	if json.Unmarshal(value, &w.On) != nil || string(value) == "null" {
		w.On, w.Invalid = false, true
	}
	return w
}

// expire gives a wish the end that it carries: seconds since 1970. An end that is
// no number makes the wish invalid: what was meant to end must not last.
func expire(w *drivers.Wish, expires json.RawMessage) {
	if len(expires) == 0 || string(expires) == "null" {
		return
	}
	var seconds float64
	if json.Unmarshal(expires, &seconds) != nil {
		w.Invalid = true
		return
	}
	w.Expires = time.UnixMilli(int64(seconds * 1000))
}

// Command reads a command for an output, `{"on":true}` or `{"level":40}`, with
// `expires` if it ends, on cmd/THING/OUTPUT.
// False: no such output.
func (t *Table) Command(thing iot.ThingName, output string, payload []byte) (drivers.Wish, bool) {
	b := t.parts[output]
	if b == nil || b.Kind != Output || b.Thing != thing {
		return drivers.Wish{}, false
	}
	var command map[string]json.RawMessage
	if json.Unmarshal(payload, &command) != nil {
		return drivers.Wish{Part: output, Cause: "command", Invalid: true}, true
	}
	field, value := b.wished(command)
	w := parseWish(output, field, value, "command")
	expire(&w, command["expires"])
	return w, true
}

// Drive reads what a rule wants of an output: command is on, off, or empty for
// what the payload says: true, false, "on", "off", or an object with `on`. An
// unknown output is NotFound, anything else InvalidRequest.
func (t *Table) Drive(output, command, who string, payload []byte) (drivers.Wish, error) {
	b := t.parts[output]
	if b == nil || b.Kind != Output {
		return drivers.Wish{}, iot.Errorf(iot.NotFound, "there is no output %q", output)
	}
	w := drivers.Wish{Part: output, Cause: who}
	switch command {
	case "on", "off":
		w.On = command == "on"
		return w, nil
	case "", "set":
		if value, wants := b.levelOf(payload); wants {
			if w = parseWish(output, "level", value, who); w.Invalid {
				return w, iot.Errorf(iot.InvalidRequest, "output %q: level %.80q is no number", output, value)
			}
			return w, nil
		}
		on, ok := level(payload)
		if !ok {
			return w, iot.Errorf(iot.InvalidRequest, `output %q: want true, false, "on", "off" or {"on":true}, not %.80q`, output, payload)
		}
		w.On = on
		return w, nil
	}
	return w, iot.Errorf(iot.InvalidRequest, "output %q: command %q: want on, off or set", output, command)
}

// levelOf finds `level` in an object for an output with levels.
func (b *binding) levelOf(payload []byte) (json.RawMessage, bool) {
	var object map[string]json.RawMessage
	if !b.Levels || json.Unmarshal(payload, &object) != nil {
		return nil, false
	}
	value := object["level"]
	return value, value != nil
}

// level reads a level from JSON or from a bare word.
func level(payload []byte) (on, ok bool) {
	var object struct {
		On json.RawMessage `json:"on"`
	}
	if json.Unmarshal(payload, &object) == nil && object.On != nil {
		payload = object.On
	}
	switch string(bytes.Trim(bytes.TrimSpace(payload), `"`)) {
	case "true", "on":
		return true, true
	case "false", "off":
		return false, true
	}
	return false, false
}
