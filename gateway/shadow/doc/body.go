package doc

import (
	"errors"
	"strconv"

	"github.com/tidehold/tidehold/gateway/iot"
)

// closeBody writes the clientToken, when there is one, and the last brace.
func closeBody(dst []byte, token string) []byte {
	if token != "" {
		dst = append(dst, `,"clientToken":`...)
		dst = appendString(dst, token)
	}
	return append(dst, '}')
}

func appendVersion(dst []byte, version int64) []byte {
	dst = append(dst, `,"version":`...)
	return strconv.AppendInt(dst, version, 10)
}

func appendTime(dst []byte, seconds int64) []byte {
	dst = append(dst, `,"timestamp":`...)
	return strconv.AppendInt(dst, seconds, 10)
}

// Accepted is the body of update/accepted for r, which made the version at that
// time: it repeats the state as it was sent (shadow.md section 6).
func Accepted(r Request, made Stamp) []byte {
	dst := append(make([]byte, 0, 256), `{"state":`...)
	dst = r.AppendState(dst)
	dst = append(dst, `,"metadata":`...)
	if r.Clear {
		dst = appendTimestamp(dst, made.Time)
	} else {
		dst = append(dst, '{')
		more := false
		for _, s := range [...]Member{{"desired", r.Desired}, {"reported", r.Reported}} {
			if s.Value.kind != Absent {
				dst = appendUniformMeta(appendKey(dst, s.Key, !more), s.Value, made.Time)
				more = true
			}
		}
		dst = append(dst, '}')
	}
	return closeBody(appendTime(appendVersion(dst, made.Version), made.Time), r.Token)
}

// appendUniformMeta mirrors v with one time for every scalar and null.
func appendUniformMeta(dst []byte, v Value, seconds int64) []byte {
	switch v.kind {
	case Array:
		dst = append(dst, '[')
		for i := range v.parts {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendUniformMeta(dst, v.parts[i].Value, seconds)
		}
		return append(dst, ']')
	case Object:
		dst = append(dst, '{')
		for i := range v.parts {
			dst = appendKey(dst, v.parts[i].Key, i == 0)
			dst = appendUniformMeta(dst, v.parts[i].Value, seconds)
		}
		return append(dst, '}')
	}
	return appendTimestamp(dst, seconds)
}

// appendMeta mirrors v with the times in m (shadow.md section 4).
func appendMeta(dst []byte, v Value, m meta) []byte {
	if v.kind != Object {
		return appendUniformMeta(dst, v, m.Time)
	}
	dst = append(dst, '{')
	for i := range v.parts {
		dst = appendKey(dst, v.parts[i].Key, i == 0)
		dst = appendMeta(dst, v.parts[i].Value, m.parts[i])
	}
	return append(dst, '}')
}

// roomFor is about what a document with its metadata takes.
func roomFor(s *Shadow) int { return 128 + 3*s.Size() }

// appendDocument writes the members state and metadata, with the delta or not.
func appendDocument(dst []byte, s *Shadow, withDelta bool) []byte {
	dst = append(dst, `"state":{`...)
	dst, more := appendSection(dst, "desired", s.Desired.state, false)
	dst, more = appendSection(dst, "reported", s.Reported.state, more)
	if withDelta {
		dst, _ = appendSection(dst, "delta", s.Delta(), more)
	}
	dst = append(dst, `},"metadata":{`...)
	if s.Desired.state.kind != Absent {
		dst = appendMeta(appendKey(dst, "desired", true), s.Desired.state, s.Desired.meta)
	}
	if s.Reported.state.kind != Absent {
		dst = appendKey(dst, "reported", s.Desired.state.kind == Absent)
		dst = appendMeta(dst, s.Reported.state, s.Reported.meta)
	}
	return append(dst, '}')
}

func getBody(s *Shadow, token string, seconds int64) []byte {
	dst := appendDocument(append(make([]byte, 0, roomFor(s)), '{'), s, true)
	return closeBody(appendTime(appendVersion(dst, s.Version), seconds), token)
}

func deltaBody(s *Shadow, token string) []byte {
	v, m, ok := delta(s.Desired.state, s.Desired.meta, s.Reported.state)
	if !ok {
		return nil
	}
	dst := append(make([]byte, 0, 256), `{"version":`...)
	dst = strconv.AppendInt(dst, s.Version, 10)
	dst = append(appendTime(dst, s.Time), `,"state":`...)
	dst = append(v.Append(dst), `,"metadata":`...)
	return closeBody(appendMeta(dst, v, m), token)
}

func documentsBody(previous, current *Shadow, token string) []byte {
	room := roomFor(current)
	if previous.Live() {
		room += roomFor(previous)
	}
	dst := append(make([]byte, 0, room), '{')
	if previous.Live() {
		dst = append(dst, `"previous":{`...)
		dst = appendVersion(appendDocument(dst, previous, false), previous.Version)
		dst = append(dst, `},`...)
	}
	dst = append(dst, `"current":{`...)
	dst = appendVersion(appendDocument(dst, current, false), current.Version)
	return closeBody(appendTime(append(dst, '}'), current.Time), token)
}

// Deleted is the body of delete/accepted: the version that was deleted, and
// when.
func Deleted(was Stamp, token string) []byte {
	dst := append(make([]byte, 0, 64), `{"version":`...)
	dst = strconv.AppendInt(dst, was.Version, 10)
	return closeBody(appendTime(dst, was.Time), token)
}

// Rejected is the body of a rejected message for err: its code and sentence
// when it is an iot.Error, else 500 and nothing of the cause.
func Rejected(err error, token string) []byte {
	code, message := iot.Internal, iot.MessageOf(err)
	if e := (*iot.Error)(nil); errors.As(err, &e) {
		code = e.Code
	}
	dst := append(make([]byte, 0, 128), `{"code":`...)
	dst = strconv.AppendInt(dst, int64(code.HTTPStatus()), 10)
	dst = append(dst, `,"message":`...)
	return closeBody(appendString(dst, message), token)
}
