package console

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler_ServesThePageWithAStrictPolicyAndNothingFromElsewhere(t *testing.T) {
	rec := httptest.NewRecorder()
	Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), "<title>Tidehold</title>") {
		t.Fatalf("status %d, %d bytes", rec.Code, rec.Body.Len())
	}
	if got := rec.Header().Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'") {
		t.Errorf("policy %q", got)
	}
	for _, foreign := range []string{"http://", "https://", "//cdn"} {
		if strings.Contains(rec.Body.String(), foreign) {
			t.Errorf("the page names %q: it must work without internet", foreign)
		}
	}
}
