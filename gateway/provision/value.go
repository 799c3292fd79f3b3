package provision

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
)

// scope is what the functions of a template see.
type scope struct {
	values   map[string]string
	mappings map[string]any
}

// function tells whether a JSON object is a call: one member, Ref or Fn::...
func function(v map[string]any) (name string, is bool) {
	if len(v) != 1 {
		return "", false
	}
	for key := range v {
		name = key
	}
	return name, name == "Ref" || strings.HasPrefix(name, "Fn::")
}

// member gives the text of a property; an absent one is empty.
func (s scope) member(properties map[string]any, name string) (string, error) {
	v, has := properties[name]
	if !has || v == nil {
		return "", nil
	}
	text, err := s.text(v, 0)
	if err != nil {
		return "", iot.Errorf(iot.InvalidRequest, "%s: %s", name, iot.MessageOf(err))
	}
	return text, nil
}

// text evaluates a value to a text: a literal, Ref, Fn::Join, Fn::Select,
// Fn::Split, Fn::Sub or Fn::FindInMap.
func (s scope) text(v any, depth int) (string, error) {
	result, err := s.eval(v, depth)
	if err != nil {
		return "", err
	}
	switch r := result.(type) {
	case string:
		if len(r) > valueBytesMax {
			return "", iot.Errorf(iot.InvalidRequest, "a value of %d bytes; at most %d", len(r), valueBytesMax)
		}
		return r, nil
	case bool, float64:
		text, err := json.Marshal(r)
		return string(text), err
	}
	return "", iot.Errorf(iot.InvalidRequest, "want a text")
}

// eval gives a string, bool, float64 or []string.
func (s scope) eval(v any, depth int) (any, error) {
	if depth > valueDepthMax {
		return nil, iot.Errorf(iot.InvalidRequest, "functions nest deeper than %d", valueDepthMax)
	}
	switch v := v.(type) {
	case string, bool, float64:
		return v, nil
	case []any:
		return s.list(v, depth)
	case map[string]any:
		if name, is := function(v); is {
			return s.call(name, v[name], depth+1)
		}
	}
	return nil, iot.Errorf(iot.InvalidRequest, "want a text, or one of Ref, Fn::Join, Fn::Select, Fn::Split, Fn::Sub, Fn::FindInMap")
}

func (s scope) list(v []any, depth int) ([]string, error) {
	list := make([]string, 0, len(v))
	for _, one := range v {
		text, err := s.text(one, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, nil
}

func (s scope) ref(name string) (string, error) {
	value, has := s.values[name]
	if !has {
		return "", iot.Errorf(iot.InvalidRequest, "parameter %.80q has no value", name)
	}
	return value, nil
}

func (s scope) call(name string, argument any, depth int) (any, error) {
	if name == "Ref" {
		text, _ := argument.(string)
		return s.ref(text)
	}
	if text, is := argument.(string); is && name == "Fn::Sub" {
		return s.sub(text, nil, depth)
	}
	args, _ := argument.([]any)
	switch {
	case name == "Fn::Sub" && len(args) == 2:
		text, _ := args[0].(string)
		local, _ := args[1].(map[string]any)
		return s.sub(text, local, depth)
	case name == "Fn::Join" && len(args) == 2, name == "Fn::Split" && len(args) == 2:
		return s.joinOrSplit(name, args, depth)
	case name == "Fn::Select" && len(args) == 2:
		return s.pick(args, depth)
	case name == "Fn::FindInMap" && len(args) == 3:
		return s.findInMap(args, depth)
	}
	return nil, iot.Errorf(iot.InvalidRequest, "function %.40q with %d arguments: want Ref, Fn::Join, Fn::Select, Fn::Split, Fn::Sub or Fn::FindInMap", name, len(args))
}

func (s scope) joinOrSplit(name string, args []any, depth int) (any, error) {
	separator, err := s.text(args[0], depth)
	if err != nil {
		return nil, err
	}
	if name == "Fn::Split" {
		text, err := s.text(args[1], depth)
		if err != nil || separator == "" {
			return nil, either(err, iot.Errorf(iot.InvalidRequest, "Fn::Split needs a separator"))
		}
		return strings.Split(text, separator), nil
	}
	parts, err := s.eval(args[1], depth)
	if err != nil {
		return nil, err
	}
	list, is := parts.([]string)
	if !is {
		return nil, iot.Errorf(iot.InvalidRequest, "Fn::Join needs a list")
	}
	return strings.Join(list, separator), nil
}

func (s scope) pick(args []any, depth int) (any, error) {
	index, err := s.text(args[0], depth)
	if err != nil {
		return nil, err
	}
	from, err := s.eval(args[1], depth)
	if err != nil {
		return nil, err
	}
	list, is := from.([]string)
	n, err := strconv.Atoi(index)
	if !is || err != nil || n < 0 || n >= len(list) {
		return nil, iot.Errorf(iot.InvalidRequest, "Fn::Select: no item %.20q", index)
	}
	return list[n], nil
}

func (s scope) findInMap(args []any, depth int) (any, error) {
	keys, err := s.list(args, depth)
	if err != nil {
		return nil, err
	}
	var at any = s.mappings
	for _, key := range keys {
		level, _ := at.(map[string]any)
		if at = level[key]; at == nil {
			return nil, iot.Errorf(iot.InvalidRequest, "Fn::FindInMap: nothing under %.200q", keys)
		}
	}
	text, is := at.(string)
	if !is {
		return nil, iot.Errorf(iot.InvalidRequest, "Fn::FindInMap: want a text under %.200q", keys)
	}
	return text, nil
}

// sub fills ${name} in; ${!x} stays ${x}.
func (s scope) sub(text string, local map[string]any, depth int) (any, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, iot.Errorf(iot.InvalidRequest, "Fn::Sub: ${ without }")
		}
		text = after
		if literal, is := strings.CutPrefix(name, "!"); is {
			out.WriteString("${" + literal + "}")
			continue
		}
		value, err := s.local(name, local, depth)
		if err != nil {
			return nil, err
		}
		if out.WriteString(value); out.Len() > valueBytesMax {
			return nil, iot.Errorf(iot.InvalidRequest, "Fn::Sub makes more than %d bytes", valueBytesMax)
		}
	}
}

func (s scope) local(name string, local map[string]any, depth int) (string, error) {
	if v, has := local[name]; has {
		return s.text(v, depth)
	}
	return s.ref(name)
}

// either gives err, or what it means that there is none.
func either(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
