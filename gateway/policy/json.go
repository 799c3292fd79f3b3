package policy

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/tidehold/tidehold/gateway/iot"
)

// member is one member of a JSON object. encoding/json alone would fold the
// case of names and let a second member of the same name win silently: neither
// is acceptable where rights are granted.
type member struct {
	name string
	raw  json.RawMessage
}

func malformed(format string, args ...any) error {
	return &iot.Error{Code: iot.InvalidRequest, Message: fmt.Sprintf(format, args...), Err: ErrMalformed}
}

// readObject reads an object, nothing before and nothing behind it.
func readObject(raw []byte, what string) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, malformed("%s is not a JSON object", what)
	}
	var members []member
	seen := make(map[string]bool)
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, malformed("%s is not valid JSON: %v", what, err)
		}
		m := member{name: t.(string)}
		if err := dec.Decode(&m.raw); err != nil {
			return nil, malformed("%s is not valid JSON: %v", what, err)
		}
		if seen[m.name] {
			return nil, malformed("%s: member %q is given twice", what, m.name)
		}
		seen[m.name] = true
		members = append(members, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, malformed("%s is not valid JSON: %v", what, err)
	}
	if len(bytes.TrimSpace(raw[dec.InputOffset():])) > 0 {
		return nil, malformed("%s: text behind the JSON object", what)
	}
	return members, nil
}

func readString(raw []byte, what string) (string, error) {
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", malformed("%s is not a string", what)
	}
	return *s, nil
}

// readList reads an array, or one value as an array of one.
func readList(raw []byte, what string) ([]json.RawMessage, error) {
	if len(raw) == 0 || raw[0] != '[' {
		return []json.RawMessage{raw}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, malformed("%s is not valid JSON: %v", what, err)
	}
	return list, nil
}

// readStrings reads a string or a list of strings, at least one.
func readStrings(raw []byte, what string) ([]string, error) {
	list, err := readList(raw, what)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, malformed("%s is an empty list", what)
	}
	texts := make([]string, len(list))
	for i, item := range list {
		if texts[i], err = readString(item, what); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// readScalars is readStrings for condition values: booleans and numbers stand
// for their own text.
func readScalars(raw []byte, what string) ([]string, error) {
	list, err := readList(raw, what)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(list))
	for i, item := range list {
		switch item[0] {
		case '"':
			if texts[i], err = readString(item, what); err != nil {
				return nil, err
			}
		case '{', '[', 'n':
			return nil, malformed("%s: want a string, a number or a boolean", what)
		default:
			texts[i] = string(item)
		}
	}
	return texts, nil
}
