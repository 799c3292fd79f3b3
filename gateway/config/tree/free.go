package tree

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/tidehold/tidehold/gateway/config/value"
)

// FreeMap reads a map of any form as Go values: map[string]any, []any, string,
// int, float64, bool, nil; nil when it is absent.
func (m *Map) FreeMap(key string) map[string]any {
	n := m.ask(key, "map", "")
	if n == nil {
		return nil
	}
	if n.Kind != Mapping {
		m.wrongKind(n, key, "a map")
		return nil
	}
	return n.plain().(map[string]any)
}

// FreeList is FreeMap for a list; nil when it is absent.
func (m *Map) FreeList(key, form string) []any {
	n := m.ask(key, form, "")
	if n == nil {
		return nil
	}
	if n.Kind != List {
		m.wrongKind(n, key, "a list")
		return nil
	}
	return n.plain().([]any)
}

// Items gives a cursor for each member of a map of maps, in order, with its
// name; explaining, one named `*`.
func (m *Map) Items(key string, read func(name string, m *Map)) {
	sub := m.Map(key)
	if m.run.explain {
		read("*", sub.Map("*"))
		return
	}
	for _, name := range sub.Keys() {
		read(name, sub.Map(name))
	}
}

func (n *Node) plain() any {
	switch n.Kind {
	case Mapping:
		all := make(map[string]any, len(n.Keys))
		for i, k := range n.Keys {
			all[k.Text] = n.Values[i].plain()
		}
		return all
	case List:
		all := make([]any, 0, len(n.Values))
		for _, item := range n.Values {
			all = append(all, item.plain())
		}
		return all
	case Null:
		return nil
	}
	switch n.tag {
	case "!!bool":
		return strings.EqualFold(n.Text, "true")
	case "!!int":
		if i, err := strconv.ParseInt(n.Text, 0, strconv.IntSize); err == nil {
			return int(i)
		}
		if f, err := value.ParseNumber(n.Text); err == nil {
			return f
		}
	case "!!float":
		if f, err := value.ParseNumber(n.Text); err == nil {
			return f
		}
	}
	return n.Text
}

// JSON reads a value of any form as compact JSON text, members in the order of
// the file; nil when it is absent. Texts stay texts: what looks like a date is
// none.
func (m *Map) JSON(key, form, def string) json.RawMessage {
	n := m.ask(key, form, def)
	if n == nil {
		return nil
	}
	return n.JSON()
}

// JSON is the node as compact JSON text.
func (n *Node) JSON() json.RawMessage {
	var b bytes.Buffer
	n.writeJSON(&b)
	return b.Bytes()
}

func (n *Node) writeJSON(b *bytes.Buffer) {
	switch n.Kind {
	case Mapping:
		for i, k := range n.Keys {
			b.WriteByte("{,"[min(i, 1)])
			writeText(b, k.Text)
			b.WriteByte(':')
			n.Values[i].writeJSON(b)
		}
		if len(n.Keys) == 0 {
			b.WriteByte('{')
		}
		b.WriteByte('}')
	case List:
		for i, item := range n.Values {
			b.WriteByte("[,"[min(i, 1)])
			item.writeJSON(b)
		}
		if len(n.Values) == 0 {
			b.WriteByte('[')
		}
		b.WriteByte(']')
	case Null:
		b.WriteString("null")
	default:
		n.writeScalar(b)
	}
}

func (n *Node) writeScalar(b *bytes.Buffer) {
	switch n.tag {
	case "!!bool":
		b.WriteString(strings.ToLower(n.Text))
		return
	case "!!int":
		if i, ok := new(big.Int).SetString(n.Text, 0); ok && len(n.Text) <= 100 {
			b.WriteString(i.String())
			return
		}
	case "!!float":
		if json.Valid([]byte(n.Text)) {
			b.WriteString(n.Text)
			return
		}
		if f, err := value.ParseNumber(n.Text); err == nil {
			b.WriteString(strconv.FormatFloat(f, 'g', -1, 64))
			return
		}
	}
	writeText(b, n.Text)
}

func writeText(b *bytes.Buffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(fmt.Sprintf("config: a text does not encode: %v", err))
	}
	b.Truncate(b.Len() - 1) // Encode ends with a line break
}
