// Package console serves the embedded web console: assets only. The page asks
// the health endpoint of the same origin and shows what it says. Things and
// shadows it asks for as any app does, with requests that it signs by an access
// key which its reader types in and which stays in the page; so it shows
// nobody more than the key's policy allows. It works without internet, and
// nothing on it acts.
package console

import (
	"embed"
	"net/http"
)

//go:embed index.html console.css console.js
var assets embed.FS

// policy lets the page load its own script and style and ask its own origin,
// and nothing else: a key is typed into it.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler serves the overview page at / and what it loads below /console/.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/console/", http.StripPrefix("/console/", http.FileServerFS(assets)))
	mux.Handle("/", http.FileServerFS(assets))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cache-Control", "no-cache")
		mux.ServeHTTP(w, r)
	})
}
