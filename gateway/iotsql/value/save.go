package value

import "fmt"

// MarshalText writes v with its type, for UnmarshalText; numbers keep the text
// they came with.
func (v Value) MarshalText() ([]byte, error) {
	switch v.kind {
	case Undefined:
		return []byte("u"), nil
	case String:
		return append([]byte("s"), v.text...), nil
	case Int, Decimal:
		letters := "id"
		if v.text != "" {
			letters = "ID" // as it came
		}
		return AppendJSON([]byte{letters[v.kind-Int]}, v), nil
	}
	return AppendJSON([]byte("j"), v), nil
}

// UnmarshalText reads what MarshalText wrote.
func (v *Value) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return fmt.Errorf("value: empty text")
	}
	kind, rest := text[0], string(text[1:])
	ok := true
	switch kind {
	case 'u':
		*v = Value{}
	case 's':
		*v = Text(rest)
	case 'j':
		*v, ok = Parse(rest, true)
	case 'i', 'I', 'd', 'D':
		if ok = isNumberText(rest); ok {
			*v = Number(rest, kind == 'i' || kind == 'I', kind == 'I' || kind == 'D')
			if kind == 'd' || kind == 'D' {
				v.kind = Decimal
			}
			ok = v.IsNumber()
		}
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("value: bad text %.20q", text)
	}
	return nil
}

func isNumberText(s string) bool {
	scan := scanner{text: s}
	return scan.skipNumber() && scan.at == len(s)
}
