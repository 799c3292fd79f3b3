package doc

import "strconv"

const hexDigits = "0123456789abcdef"

// Append writes the compact JSON of v behind dst; Absent is null. Only what
// JSON demands is escaped.
func (v Value) Append(dst []byte) []byte {
	switch v.kind {
	case Absent:
		return append(dst, "null"...)
	case String:
		return appendString(dst, v.text)
	case Array:
		dst = append(dst, '[')
		for i := range v.parts {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = v.parts[i].Value.Append(dst)
		}
		return append(dst, ']')
	case Object:
		dst = append(dst, '{')
		for i := range v.parts {
			dst = appendKey(dst, v.parts[i].Key, i == 0)
			dst = v.parts[i].Value.Append(dst)
		}
		return append(dst, '}')
	}
	return append(dst, v.text...)
}

// Size is the length of the compact JSON of v, 0 for Absent.
func (v Value) Size() int {
	switch v.kind {
	case Absent:
		return 0
	case String:
		return stringSize(v.text)
	case Array, Object:
		n := 2 + max(0, len(v.parts)-1)
		for i := range v.parts {
			n += v.parts[i].Value.Size()
			if v.kind == Object {
				n += stringSize(v.parts[i].Key) + 1
			}
		}
		return n
	}
	return len(v.text)
}

func appendKey(dst []byte, key string, first bool) []byte {
	if !first {
		dst = append(dst, ',')
	}
	dst = appendString(dst, key)
	return append(dst, ':')
}

func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		dst = appendEscape(dst, c)
		from = i + 1
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

func stringSize(s string) int {
	n := len(s) + 2
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\' || c == '\b' || c == '\f' || c == '\n' || c == '\r' || c == '\t':
			n++
		case c < 0x20:
			n += 5
		}
	}
	return n
}

func appendTimestamp(dst []byte, seconds int64) []byte {
	dst = append(dst, `{"timestamp":`...)
	dst = strconv.AppendInt(dst, seconds, 10)
	return append(dst, '}')
}
