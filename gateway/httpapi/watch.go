package httpapi

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// streamWriteMax is how long a reader of a stream may take to make room; then
// its connection is cut.
const streamWriteMax = 10 * time.Second

// stream is an answer without end: it writes one JSON document a line until
// its reader goes, or it cannot go on.
type stream func(write func(line []byte) error) error

// send writes the lines as they come. A stream that fails ends with a line
// that has the error's message.
func (f stream) send(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(w)
	write := func(line []byte) error {
		if err := out.SetWriteDeadline(time.Now().Add(streamWriteMax)); err != nil {
			return err
		}
		if _, err := w.Write(append(line[:len(line):len(line)], '\n')); err != nil {
			return err
		}
		return out.Flush()
	}
	if out.Flush() != nil { // the head: whoever waits for it knows that we listen
		return
	}
	if err := f(write); err != nil {
		last, _ := json.Marshal(map[string]string{"error": iot.MessageOf(err)})
		_ = write(last) // the reader may be the reason
	}
}

// shadowHistory gives the last changes of a shadow, the newest first.
func (s *Server) shadowHistory(_ api, r *http.Request) (any, error) {
	key, err := shadowKey(r)
	if err != nil {
		return nil, err
	}
	return s.services.Shadows.History(r.Context(), key)
}

// watchShadow streams a shadow: as it is, and then after every change.
func (s *Server) watchShadow(_ api, r *http.Request) (any, error) {
	key, err := shadowKey(r)
	if err != nil {
		return nil, err
	}
	return stream(func(write func([]byte) error) error {
		return s.services.Shadows.Follow(r.Context(), key, write)
	}), nil
}
