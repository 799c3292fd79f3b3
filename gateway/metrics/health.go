package metrics

import (
	"maps"
	"sync"
	"time"
)

// State is how well a component does.
type State string

// The states of a component and of the whole gateway (contract section 3).
const (
	OK       State = "ok"
	Degraded State = "degraded"
	Failed   State = "failed"
)

// Component is the health of one component.
type Component struct {
	State State     `json:"state"`
	Since time.Time `json:"since"`
	Error string    `json:"error,omitempty"`
}

// Health is the state of all components. The zero Health is empty and ready.
type Health struct {
	mu         sync.Mutex
	components map[string]Component
	watchers   []func(name string, c Component)
}

// Set records that a component is in state since now, with the reason when it
// is not well. The same state and error again changes nothing. Watchers are
// called in the caller's goroutine after a change.
func (h *Health) Set(name string, state State, err error, now time.Time) {
	c := Component{State: state, Since: now}
	if err != nil {
		c.Error = err.Error()
	}
	h.mu.Lock()
	old, known := h.components[name]
	if known && old.State == c.State && old.Error == c.Error {
		h.mu.Unlock()
		return
	}
	if known && old.State == c.State {
		c.Since = old.Since
	}
	if h.components == nil {
		h.components = make(map[string]Component)
	}
	h.components[name] = c
	watchers := h.watchers
	h.mu.Unlock()
	for _, watch := range watchers {
		watch(name, c)
	}
}

// Forget drops a component that is no longer configured.
func (h *Health) Forget(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.components, name)
}

// Watch calls f after every change from now on. f must not block.
func (h *Health) Watch(f func(name string, c Component)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers = append(h.watchers, f)
}

// Components is a copy of all components.
func (h *Health) Components() map[string]Component {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.components)
}

// Overall is the worst state of the components; failed only when a component
// failed without which nothing is served.
func (h *Health) Overall() State {
	worst := OK
	for _, c := range h.Components() {
		switch {
		case c.State == Failed:
			return Failed
		case c.State == Degraded:
			worst = Degraded
		}
	}
	return worst
}
