package role

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// member is one member of a JSON object, as it stands: encoding/json folds the
// case of names and lets the last of two equal ones win, and neither may decide
// about rights.
type member struct {
	name string
	raw  json.RawMessage
}

func members(raw []byte, what string) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return nil, fmt.Errorf("%s: want a JSON object", what)
	}
	var all []member
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		m := member{name: name.(string)}
		if err := dec.Decode(&m.raw); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		for _, other := range all {
			if other.name == m.name {
				return nil, fmt.Errorf("%s: %q is given twice", what, m.name)
			}
		}
		all = append(all, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if dec.More() {
		return nil, fmt.Errorf("%s: something follows the object", what)
	}
	return all, nil
}

func (r *Role) read(document []byte) error {
	all, err := members(document, "document")
	if err != nil {
		return err
	}
	var statements json.RawMessage
	for _, m := range all {
		switch m.name {
		case "Version":
			var version string
			if err := json.Unmarshal(m.raw, &version); err != nil || version != "2012-10-17" && version != "2008-10-17" {
				return fmt.Errorf(`member Version %s: want "2012-10-17"`, m.raw)
			}
		case "Id":
		case "Statement":
			statements = m.raw
		default:
			return fmt.Errorf("unknown member %q: want Version and Statement", m.name)
		}
	}
	var list []json.RawMessage
	if bytes.HasPrefix(bytes.TrimSpace(statements), []byte("{")) {
		list = []json.RawMessage{statements}
	} else if json.Unmarshal(statements, &list) != nil || len(list) == 0 {
		return errors.New("member Statement: want a statement or a list of them")
	}
	for i, raw := range list {
		g, err := readGrant(raw)
		if err != nil {
			return fmt.Errorf("statement %d: %w", i, err)
		}
		r.grants = append(r.grants, g)
	}
	return nil
}

func readGrant(raw []byte) (g grant, err error) {
	all, err := members(raw, "statement")
	if err != nil {
		return g, err
	}
	seen := make(map[string]bool)
	for _, m := range all {
		seen[m.name] = true
		if err := g.read(m); err != nil {
			return g, err
		}
	}
	switch {
	case !seen["Effect"]:
		err = errors.New("member Effect is missing")
	case seen["Action"] == seen["NotAction"]:
		err = errors.New("want exactly one of Action and NotAction")
	case seen["Resource"] == seen["NotResource"]:
		err = errors.New("want exactly one of Resource and NotResource")
	}
	return g, err
}

func (g *grant) read(m member) (err error) {
	switch m.name {
	case "Sid":
	case "Effect":
		var effect string
		if json.Unmarshal(m.raw, &effect) != nil || effect != "Allow" && effect != "Deny" {
			return fmt.Errorf(`member Effect %s: want "Allow" or "Deny"`, m.raw)
		}
		g.deny = effect == "Deny"
	case "Action", "NotAction":
		g.notAction = m.name == "NotAction"
		g.actions, err = readActions(m)
	case "Resource", "NotResource":
		g.notRes = m.name == "NotResource"
		g.resources, err = readResources(m)
	case "Condition":
		if !bytes.Equal(bytes.Join(bytes.Fields(m.raw), nil), []byte("{}")) {
			return errors.New("member Condition: the roles of rules know no conditions")
		}
	default:
		return fmt.Errorf("unknown member %q", m.name)
	}
	return err
}

func readActions(m member) ([]string, error) {
	list, err := texts(m)
	for i, a := range list {
		if a != "*" && !strings.Contains(a, ":") {
			return nil, fmt.Errorf("%s %q: want service:Name or *", m.name, a)
		}
		list[i] = strings.ToLower(a)
	}
	return list, err
}

func readResources(m member) ([]string, error) {
	list, err := texts(m)
	for i, resource := range list {
		if strings.Contains(resource, "${") {
			return nil, fmt.Errorf("%s %q: the roles of rules know no variables", m.name, resource)
		}
		list[i] = short(resource)
	}
	return list, err
}

// texts reads a text or a list of them.
func texts(m member) ([]string, error) {
	var one string
	if json.Unmarshal(m.raw, &one) == nil {
		return []string{one}, nil
	}
	var list []string
	if json.Unmarshal(m.raw, &list) != nil || len(list) == 0 {
		return nil, fmt.Errorf("%s: want a text or a list of texts", m.name)
	}
	return list, nil
}
