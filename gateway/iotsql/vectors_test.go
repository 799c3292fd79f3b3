package iotsql

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// vector is one case of testdata/rules (format in its README).
type vector struct {
	Name           string
	SQLVersion     string
	SQL            string
	Topic          string
	Payload        *string
	PayloadBase64  *string
	RepublishTopic *string
	Context        struct {
		ClientID       string
		Shadows        map[string]json.RawMessage
		UserProperties [][2]string
		MQTT           *struct {
			ContentType   string `json:"content_type"`
			ResponseTopic string `json:"response_topic"`
		}
	}
	Expect struct {
		Error     string
		Matched   bool
		Output    json.RawMessage
		RawBase64 *string
		Topic     string
		Tolerance float64
		Outputs   []timed
	}
	Inputs []struct {
		AtMS    int64 `json:"at_ms"`
		Topic   string
		Payload string
	}
	UntilMS int64 `json:"until_ms"`
}

type timed struct {
	AtMS   int64 `json:"at_ms"`
	Output json.RawMessage
}

// ruleName is the name that stands for {rule}.
const ruleName = "rule1"

func loadVectors(t testing.TB) []vector {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "rules", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	var all []vector
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var some []vector
		if err := json.Unmarshal(text, &some); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, some...)
	}
	return all
}

// TestVectors_AllPass runs every vector in-process; the test acts as a rule
// with one republish action.
func TestVectors_AllPass(t *testing.T) {
	for _, v := range loadVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			if err := runVector(&v); err != nil {
				t.Errorf("%s\npayload %s\n%v", v.SQL, v.payload(), err)
			}
		})
	}
}

func (v *vector) payload() []byte {
	switch {
	case v.PayloadBase64 != nil:
		raw, err := base64.StdEncoding.DecodeString(*v.PayloadBase64)
		if err != nil {
			panic(err)
		}
		return raw
	case v.Payload != nil:
		return []byte(*v.Payload)
	}
	return nil
}

func (v *vector) context() *Context {
	m := iot.Message{Topic: strings.ReplaceAll(v.Topic, "{rule}", ruleName), Payload: v.payload()}
	m.Origin.ClientID = iot.ClientID(v.Context.ClientID)
	m.Origin.TraceID = "7b1a4c1e-7a0b-4f64-9f0e-3d1b6f8f2a10"
	m.Origin.Protocol = 4
	if len(v.Context.UserProperties) > 0 || v.Context.MQTT != nil {
		m.Properties = &iot.Properties{}
		for _, p := range v.Context.UserProperties {
			m.Properties.User = append(m.Properties.User, iot.UserProperty{Key: p[0], Value: p[1]})
		}
	}
	if v.Context.MQTT != nil {
		m.Properties.ContentType = v.Context.MQTT.ContentType
		m.Properties.ResponseTopic = v.Context.MQTT.ResponseTopic
	}
	uuids := 0
	return &Context{
		Message: m,
		NowMS:   1_700_000_000_000,
		Rule:    ruleName,
		Random:  func() float64 { return 0.25 },
		NewUUID: func() string { uuids++; return fmt.Sprintf("00000000-0000-4000-8000-%012d", uuids) },
		Lookups: Lookups{Shadow: func(thing, shadow, _ string) ([]byte, bool) {
			key := thing
			if shadow != "" {
				key += "/" + shadow
			}
			document, ok := v.Context.Shadows[key]
			return document, ok
		}},
	}
}

func runVector(v *vector) error {
	s, err := Parse(v.SQL, v.SQLVersion)
	if v.Expect.Error != "" {
		return wantParseError(err)
	}
	if err != nil {
		return fmt.Errorf("Parse: %w", err)
	}
	if v.Inputs != nil {
		return runTimed(v, s)
	}
	return runOne(v, s)
}

func wantParseError(err error) error {
	var e *Error
	switch {
	case err == nil:
		return errors.New("got no error, want SqlParseException")
	case !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Expected == "":
		return fmt.Errorf("got %v, want an *Error with a place and an expectation", err)
	}
	return nil
}

func covers(s *Statement, name string) bool {
	if strings.HasPrefix(name, "$aws/rules/"+ruleName+"/") {
		return true
	}
	f, ok := s.Filter()
	return ok && topic.Match(f, topic.Name(name))
}

func runOne(v *vector, s *Statement) error {
	ctx := v.context()
	var out Output
	var err error
	if covers(s, ctx.Message.Topic) {
		out, err = s.Eval(ctx)
	}
	switch {
	case err != nil:
		return fmt.Errorf("Eval: %w", err)
	case out.Fired != v.Expect.Matched:
		return fmt.Errorf("fired %v, want %v (payload %s)", out.Fired, v.Expect.Matched, out.Payload)
	case !out.Fired:
		return nil
	}
	if v.RepublishTopic != nil {
		if err := wantTopic(v, s, ctx); err != nil {
			return err
		}
	}
	if v.Expect.RawBase64 != nil {
		if got := base64.StdEncoding.EncodeToString(out.Payload); got != *v.Expect.RawBase64 {
			return fmt.Errorf("got bytes %q, want base64 %s", out.Payload, *v.Expect.RawBase64)
		}
		return nil
	}
	return sameJSON(out.Payload, v.Expect.Output, v.Expect.Tolerance)
}

func wantTopic(v *vector, s *Statement, ctx *Context) error {
	tpl, err := ParseTemplate(*v.RepublishTopic, s)
	if err != nil {
		return fmt.Errorf("ParseTemplate: %w", err)
	}
	got, err := tpl.Eval(ctx)
	if err != nil {
		return err
	}
	if got != v.Expect.Topic {
		return fmt.Errorf("got topic %q, want %q", got, v.Expect.Topic)
	}
	return nil
}

// runTimed feeds inputs at their times and lets the clock run to the end,
// waking the State whenever it asks for it.
func runTimed(v *vector, s *Statement) error {
	st := s.NewState()
	ctx := &Context{Rule: ruleName}
	var got []timed
	var failure error
	now := int64(0)
	emit := func(o Output, err error) {
		failure = errors.Join(failure, err)
		got = append(got, timed{ctx.NowMS, o.Payload})
	}
	advance := func(to int64) {
		for {
			wait, ok := st.Wait()
			if !ok || now+wait > to {
				break
			}
			now += wait
			ctx.NowMS, ctx.UpMS = now, now
			st.Tick(ctx, emit)
		}
		now = to
		ctx.NowMS, ctx.UpMS = now, now
		st.Tick(ctx, emit)
	}
	for _, in := range v.Inputs {
		advance(in.AtMS)
		ctx.Message = iot.Message{Topic: in.Topic, Payload: []byte(in.Payload)}
		if covers(s, in.Topic) {
			st.Handle(ctx, emit)
		}
	}
	advance(v.UntilMS)
	if failure != nil {
		return failure
	}
	return sameOutputs(got, v.Expect.Outputs)
}

func sameOutputs(got, want []timed) error {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Errorf("got %d outputs, missing at %d ms: %s", len(got), want[i].AtMS, want[i].Output)
		case i >= len(want):
			return fmt.Errorf("unwanted output at %d ms: %s", got[i].AtMS, got[i].Output)
		case got[i].AtMS != want[i].AtMS:
			return fmt.Errorf("output %d at %d ms, want at %d ms: %s", i, got[i].AtMS, want[i].AtMS, got[i].Output)
		}
		if err := sameJSON(got[i].Output, want[i].Output, 0); err != nil {
			return fmt.Errorf("at %d ms: %w", got[i].AtMS, err)
		}
	}
	return nil
}

// sameJSON compares two JSON texts; numbers by exact value, or relatively with
// a tolerance.
func sameJSON(got, want []byte, tolerance float64) error {
	a, errA := exactJSON(got)
	b, errB := exactJSON(want)
	if errA != nil || errB != nil || !sameTree(a, b, tolerance) {
		return fmt.Errorf("got %s, want %s %v %v", got, want, errA, errB)
	}
	return nil
}

func exactJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("more than one value")
	}
	return v, nil
}

func sameTree(a, b any, tolerance float64) bool {
	switch a := a.(type) {
	case json.Number:
		n, ok := b.(json.Number)
		return ok && sameNumber(a, n, tolerance)
	case []any:
		list, ok := b.([]any)
		return ok && slices.EqualFunc(a, list, func(x, y any) bool { return sameTree(x, y, tolerance) })
	case map[string]any:
		m, ok := b.(map[string]any)
		if !ok || len(a) != len(m) {
			return false
		}
		for key, x := range a {
			y, there := m[key]
			if !there || !sameTree(x, y, tolerance) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

func sameNumber(a, b json.Number, tolerance float64) bool {
	x, okX := new(big.Rat).SetString(a.String())
	y, okY := new(big.Rat).SetString(b.String())
	if !okX || !okY {
		return false
	}
	if tolerance == 0 {
		return x.Cmp(y) == 0
	}
	f, _ := x.Float64()
	g, _ := y.Float64()
	return f-g <= tolerance*max(g, -g) && g-f <= tolerance*max(g, -g)
}
