package access

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

const (
	// denialQuiet is how long the same denial is only counted (security.md 1.6).
	denialQuiet = 10 * time.Second
	// denialKeysMax is how many different denials are told apart in that time;
	// the others share one line.
	denialKeysMax = 1024
	// sweepEvery is how often a full table is looked through for room.
	sweepEvery = time.Second
	// denialsKept is how many are kept for the console; the oldest goes.
	denialsKept = 256
)

// Denial is one logged denial.
type Denial struct {
	At        time.Time     `json:"at"`
	Client    iot.ClientID  `json:"client"`
	Principal iot.Principal `json:"principal"`
	Action    string        `json:"action"`
	Resource  string        `json:"resource"`
	// Reason is `implicit`, the denying policy, or why no policy was asked.
	Reason string `json:"reason"`
	// Suggest is a statement that would allow it; empty where a policy denies.
	Suggest string `json:"suggest,omitempty"`
	// Count is how many of the same were not logged since the last one.
	Count int `json:"count"`
}

// denialKey tells denials apart. The principal counts because requests over HTTP
// have no client id.
type denialKey struct {
	client    iot.ClientID
	principal iot.Principal
	action    string
	resource  string
}

// othersKey stands for all denials beyond denialKeysMax.
var othersKey = denialKey{client: "(others)"}

type denialMark struct {
	told  time.Duration // monotonic
	quiet int           // not told since
}

// denials remembers what was told lately.
type denials struct {
	mu    sync.Mutex
	marks map[denialKey]*denialMark
	swept time.Duration // monotonic; when marks were last cleared
	kept  []Denial
}

// note logs a denial unless the same was logged just now.
func (k *Checker) note(c *Client, action, resource, reason, suggest string) {
	d := Denial{At: k.clk.Now(), Client: c.ID, Principal: c.Principal, Action: action, Resource: resource, Reason: reason, Suggest: suggest}
	if !k.denials.tell(&d, k.clk.Up()) {
		return
	}
	k.log.Warn("authz.denied", "client", string(d.Client), "principal", d.Principal.ID,
		"action", d.Action, "resource", d.Resource, "policy", d.Reason, "count", d.Count, "suggest", d.Suggest)
}

// literal keeps what clients send from being a wildcard or a variable in a
// policy (security.md 1.3).
var literal = strings.NewReplacer("${", "${$}{", "*", "${*}", "?", "${?}")

// suggestion is the narrowest statement that allows an action: the operator who
// means it may paste it into a policy.
func suggestion(action, arn string) string {
	text, err := json.Marshal(struct{ Effect, Action, Resource string }{"Allow", action, literal.Replace(arn)})
	if err != nil {
		return ""
	}
	return string(text)
}

// tell decides whether d is due, and fills in its Count.
func (n *denials) tell(d *Denial, up time.Duration) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.marks == nil {
		n.marks = make(map[denialKey]*denialMark)
	}
	mark, known := n.mark(denialKey{d.Client, d.Principal, d.Action, d.Resource}, up)
	if known && up-mark.told < denialQuiet {
		mark.quiet++
		return false
	}
	d.Count, mark.told, mark.quiet = mark.quiet, up, 0
	if len(n.kept) == denialsKept {
		n.kept = slices.Delete(n.kept, 0, 1)
	}
	n.kept = append(n.kept, *d)
	return true
}

// mark finds the mark of a key, or makes one while there is room.
func (n *denials) mark(key denialKey, up time.Duration) (mark *denialMark, known bool) {
	if mark, known = n.marks[key]; known {
		return mark, true
	}
	if len(n.marks) >= denialKeysMax && up-n.swept >= sweepEvery {
		n.sweep(up)
	}
	if len(n.marks) >= denialKeysMax {
		key = othersKey
		if mark, known = n.marks[key]; known {
			return mark, true
		}
	}
	mark = &denialMark{}
	n.marks[key] = mark
	return mark, false
}

// sweep forgets what is not quiet any more.
func (n *denials) sweep(up time.Duration) {
	n.swept = up
	for key, mark := range n.marks {
		if up-mark.told >= denialQuiet && mark.quiet == 0 || up-mark.told >= 6*denialQuiet {
			delete(n.marks, key)
		}
	}
}

// Denials are the last logged denials, oldest first.
func (k *Checker) Denials() []Denial {
	k.denials.mu.Lock()
	defer k.denials.mu.Unlock()
	return slices.Clone(k.denials.kept)
}
