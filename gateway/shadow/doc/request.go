package doc

import (
	"strconv"
	"unicode/utf8"

	"github.com/tidehold/tidehold/gateway/iot"
)

// tokenBytesMax is the longest clientToken (shadow.md section 9).
const tokenBytesMax = 64

// echoedNameBytesMax is the longest member name that a refusal repeats.
const echoedNameBytesMax = 128

// Limits bound a document. 0 means none; nesting is never deeper than 100.
type Limits struct {
	// MaxBytes bounds the compact JSON of desired plus reported after an update.
	MaxBytes int
	// MaxDepth bounds the container levels of a section, itself being level 1.
	MaxDepth int
}

// DefaultLimits are AWS's: 8192 bytes, 8 levels.
func DefaultLimits() Limits { return Limits{MaxBytes: 8192, MaxDepth: 8} }

func (l Limits) depth() int {
	if l.MaxDepth <= 0 || l.MaxDepth > depthCeiling {
		return depthCeiling
	}
	return l.MaxDepth
}

// Request is an update of a shadow. The zero Request changes nothing but the
// version.
type Request struct {
	// Desired and Reported are patches: Absent leaves the section as it is,
	// Null removes it, an Object is merged into it (null members remove).
	Desired, Reported Value
	// Clear is `"state":null`: both sections go.
	Clear bool
	// Version is the version the shadow must have; nil means any.
	Version *int64
	// Token is the clientToken, empty for none.
	Token string
}

// ParseRequest reads and checks an update payload in the order of shadow.md
// section 2. Errors are UnsupportedMedia or InvalidRequest with AWS's texts;
// the token of a request that was readable is set even then.
func ParseRequest(payload []byte, lim Limits) (Request, error) {
	if !utf8.Valid(payload) {
		return Request{}, iot.Errorf(iot.UnsupportedMedia, "Unsupported documented encoding; supported encoding is UTF-8")
	}
	// Levels as the parser counts: 1 is state, 2 its sections.
	raw, ok := readEnvelope(string(payload), lim.depth()+1)
	if !ok {
		return Request{}, invalid("Invalid JSON")
	}
	var r Request
	if !raw.tokenOK() {
		return r, invalid("Invalid clientToken")
	}
	r.Token = raw.token.text
	if err := r.takeState(raw.state); err != nil {
		return r, err
	}
	if err := r.Check(lim); err != nil {
		return r, err
	}
	return r, r.takeVersion(raw.version)
}

// ParseToken reads the clientToken of a get or delete payload; whatever is no
// readable token counts as none (shadow.md section 2).
func ParseToken(payload []byte) string {
	if len(payload) == 0 || !utf8.Valid(payload) {
		return ""
	}
	raw, ok := readEnvelope(string(payload), 0)
	if !ok || !raw.tokenOK() {
		return ""
	}
	return raw.token.text
}

func invalid(format string, args ...any) *iot.Error {
	return iot.Errorf(iot.InvalidRequest, format, args...)
}

// envelope holds the top-level members that mean something.
type envelope struct{ token, state, version Value }

// readEnvelope reads a whole JSON object; other members are checked and left.
func readEnvelope(text string, depth int) (envelope, bool) {
	var e envelope
	p := parser{text: text, max: depth}
	if !p.take('{') {
		return e, false
	}
	if p.take('}') {
		return e, p.end()
	}
	for {
		if !e.member(&p) {
			return e, false
		}
		if p.take(',') {
			continue
		}
		return e, p.take('}') && p.end()
	}
}

func (e *envelope) member(p *parser) bool {
	p.space()
	key, ok := p.str()
	if !ok || !p.take(':') {
		return false
	}
	into := (*Value)(nil)
	switch key {
	case "clientToken":
		into = &e.token
	case "state":
		into = &e.state
	case "version":
		into = &e.version
	default:
		_, ok = p.skip()
		return ok
	}
	*into, ok = p.value(1)
	return ok
}

func (e *envelope) tokenOK() bool {
	return e.token.kind == Absent || e.token.kind == String && len(e.token.text) <= tokenBytesMax
}

// takeState is rules 4 to 7.
func (r *Request) takeState(state Value) error {
	switch state.kind {
	case Absent:
		return invalid("Missing required node: state")
	case Null:
		r.Clear = true
		return nil
	case Object:
	default:
		return invalid("State node must be an object")
	}
	for _, m := range state.parts {
		switch m.Key {
		case "desired":
			r.Desired = m.Value
		case "reported":
			r.Reported = m.Value
		default:
			return invalidNode(m.Key)
		}
	}
	return nil
}

func invalidNode(name string) error {
	if len(name) > echoedNameBytesMax {
		return invalid("State contains an invalid node")
	}
	return invalid("State contains an invalid node: '%s'", name)
}

// Check is rules 3 and 7 to 9 of shadow.md section 2, for requests that were
// built and not parsed. Errors are InvalidRequest with AWS's texts.
func (r Request) Check(lim Limits) error {
	if len(r.Token) > tokenBytesMax {
		return invalid("Invalid clientToken")
	}
	if !r.Desired.isPatch() {
		return invalid("Desired node must be an object")
	}
	if !r.Reported.isPatch() {
		return invalid("Reported node must be an object")
	}
	if r.Desired.hasArrayNull(false) || r.Reported.hasArrayNull(false) {
		return invalid("State contains an invalid node")
	}
	if depth := lim.depth(); r.Desired.tooDeep(depth) || r.Reported.tooDeep(depth) {
		return invalid("JSON contains too many levels of nesting; maximum is %d", depth)
	}
	return nil
}

func (v Value) isPatch() bool { return v.kind == Absent || v.kind == Null || v.kind == Object }

// hasArrayNull reports a null below an array; inside says that v is below one.
func (v Value) hasArrayNull(inside bool) bool {
	if v.deep {
		return v.nulls&arrayNull != 0 || inside && v.nulls&anyNull != 0
	}
	if v.kind == Null {
		return inside
	}
	inside = inside || v.kind == Array
	for i := range v.parts {
		if v.parts[i].Value.hasArrayNull(inside) {
			return true
		}
	}
	return false
}

// tooDeep reports whether v has more than left container levels.
func (v Value) tooDeep(left int) bool {
	if v.kind != Array && v.kind != Object {
		return false
	}
	if v.deep || left == 0 {
		return true
	}
	for i := range v.parts {
		if v.parts[i].Value.tooDeep(left - 1) {
			return true
		}
	}
	return false
}

// takeVersion is rule 10.
func (r *Request) takeVersion(v Value) error {
	if v.kind == Absent || v.kind == Null {
		return nil
	}
	if v.kind == Number {
		if n, err := strconv.ParseInt(v.text, 10, 64); err == nil && n >= 0 {
			r.Version = &n
			return nil
		}
	}
	return invalid("Invalid version")
}

// Append writes the request document behind dst, as a client would send it.
func (r Request) Append(dst []byte) []byte {
	dst = append(dst, `{"state":`...)
	dst = r.AppendState(dst)
	if r.Version != nil {
		dst = append(dst, `,"version":`...)
		dst = strconv.AppendInt(dst, *r.Version, 10)
	}
	return closeBody(dst, r.Token)
}

// AppendState writes the state of the request behind dst, as it was sent.
func (r Request) AppendState(dst []byte) []byte {
	if r.Clear {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	dst, more := appendSection(dst, "desired", r.Desired, false)
	dst, _ = appendSection(dst, "reported", r.Reported, more)
	return append(dst, '}')
}

// appendSection writes a member unless v is Absent; more says that a member
// stands before it, and afterwards that one stands there.
func appendSection(dst []byte, name string, v Value, more bool) ([]byte, bool) {
	if v.kind == Absent {
		return dst, more
	}
	return v.Append(appendKey(dst, name, !more)), true
}
