package iotsql

import (
	"fmt"
	"testing"
)

// documentOf is the document of a payload.
func documentOf(payload []byte) *Document {
	d := new(Document)
	d.Reset(payload)
	return d
}

// Once a payload was read, nobody reads it again: after the first rule the
// opening brace is gone, and whoever scanned the text anew would see no JSON.
func TestDocument_IsScannedOnceHoweverManyRulesLook(t *testing.T) {
	payload := []byte(`{"t":21.5,"o":{"k":"x"}}`)
	ctx := contextOf("a", string(payload))
	ctx.Document = documentOf(payload)
	fired := 0
	for i := range 100 {
		s := mustParse(t, fmt.Sprintf("SELECT o.k FROM 'a' WHERE t > %d AND o.k = 'x'", i%20))
		out, err := s.Eval(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if out.Fired && string(out.Payload) == `{"k":"x"}` {
			fired++
		}
		payload[0] = 'x'
	}
	if fired != 100 {
		t.Errorf("%d of 100 rules saw the document", fired)
	}
	if out, _ := mustParse(t, "SELECT o.k FROM 'a' WHERE t > 0").Eval(contextOf("a", string(payload))); out.Fired {
		t.Error("a text that lost its brace must be no JSON: the test proves nothing")
	}
}
