package console

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler_ServesThePageWithAStrictPolicyAndNothingFromElsewhere(t *testing.T) {
	for path, has := range map[string]string{
		"/": "<title>Tidehold</title>", "/console/console.js": "drawThings", "/console/console.css": ".online", "/console/": "<title>Tidehold</title>",
	} {
		rec := httptest.NewRecorder()
		Handler().ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		body := rec.Body.String()
		if rec.Code != 200 || !strings.Contains(body, has) {
			t.Fatalf("%s: status %d, %d bytes without %q", path, rec.Code, len(body), has)
		}
		got := rec.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(got, "default-src 'none'") || strings.Contains(got, "unsafe") {
			t.Errorf("%s: policy %q", path, got)
		}
		for _, foreign := range []string{"http://", "https://", "//cdn", "innerHTML", "eval(", " style=", " onclick="} {
			if strings.Contains(body, foreign) {
				t.Errorf("%s has %q: it must work without internet, and show texts alone", path, foreign)
			}
		}
	}
}
