package httpapi

import "testing"

func TestWatch_IsOneDocumentALineAndSaysWhyItEnds(t *testing.T) {
	_, c := serve(t, &house{})
	status, body, head := ask(t, c, "GET", "http://x/tidehold/v1/shadows/pump/watch?name=s", "")
	if want := "{\"version\":1}\n{\"error\":\"behind\"}\n"; status != 200 || body != want || head.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%d %s %q", status, head.Get("Content-Type"), body)
	}
	if _, body, _ := ask(t, c, "GET", "http://x/tidehold/v1/shadows/pump/history?name=s", ""); body != "[\"pump~s\"]\n" {
		t.Errorf("history: %s", body)
	}
	if status, _, _ := ask(t, c, "GET", "http://x/tidehold/v1/shadows/a%20b/watch", ""); status != 400 {
		t.Errorf("a malformed name: %d", status)
	}
}
