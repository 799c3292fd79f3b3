// Package console serves the embedded web console: assets only. The page asks
// the health endpoint of the same origin and shows what it says; it works
// without internet, and nothing on it acts.
package console

import (
	_ "embed"
	"net/http"
)

//go:embed index.html
var page []byte

// policy lets the page run its own script and style and ask its own origin.
const policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler serves the overview page.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-cache")
		w.Write(page)
	})
}
