package sim

import (
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync"
)

var key = iot.ShadowKey{Thing: "pump"}

// cloud is the upstream shadow service with one shadow.
type cloud struct {
	w        *World
	shadow   *doc.Shadow
	recorded map[string]message // what was accepted, by client and request
	doubled  map[string]bool    // tokens accepted, then refused as a double
}

// message is one on its way down.
type message struct {
	op      topic.Op
	answer  string
	payload []byte
}

func newCloud(w *World) *cloud {
	return &cloud{w: w, recorded: make(map[string]message), doubled: make(map[string]bool)}
}

func (c *cloud) clock() time.Time { return time.Unix(1_700_000_000, 0).Add(c.w.now) }

// view is the state in canonical form.
func (c *cloud) view() doc.Value { return shadowsync.LocalDoc(c.shadow, 0).State }

func (c *cloud) limits() doc.Limits { return doc.Limits{} }

// request serves a request of gateway g.
func (c *cloud) request(g *gateway, op topic.Op, payload []byte) {
	token := doc.ParseToken(payload)
	if op == topic.Get {
		c.get(token)
		return
	}
	seen := g.name + " " + string(op) + " " + string(payload)
	if m, ok := c.recorded[seen]; ok && c.w.o.Policy.Answers {
		c.w.log("cloud repeats %s/%s %s", m.op, m.answer, token)
		c.publish(m)
		return
	}
	var m message
	if op == topic.Update {
		m = c.update(g, payload)
	} else {
		m = c.delete(g, token)
	}
	if _, ok := c.recorded[seen]; ok && m.answer == topic.Rejected {
		c.doubled[token] = true
	}
	if strings.HasPrefix(token, "gw:") && m.answer == topic.Accepted {
		c.recorded[seen] = m
	}
}

func (c *cloud) get(token string) {
	body, err := doc.Get(c.shadow, key, token, c.clock())
	if err != nil {
		c.publish(message{topic.Get, topic.Rejected, doc.Rejected(err, token)})
		return
	}
	c.publish(message{topic.Get, topic.Accepted, body})
}

// update applies a request; g is nil when a user sent it.
func (c *cloud) update(g *gateway, payload []byte) message {
	r, err := doc.ParseRequest(payload, c.limits())
	var result doc.Result
	if err == nil {
		result, err = doc.Apply(c.shadow, r, c.limits(), c.clock())
	}
	if err != nil {
		m := message{topic.Update, topic.Rejected, doc.Rejected(err, r.Token)}
		c.w.result.Races++
		c.w.log("cloud refuses %s: %v", payload, err)
		c.publish(m)
		return m
	}
	before := c.view()
	if g == nil {
		c.w.ledger.clears(r)
	}
	blind := r.Version == nil && c.shadow.Live()
	c.shadow = result.Next
	c.w.log("cloud has v%d %s", c.shadow.Version, c.view())
	c.note(g, before, blind)
	m := message{topic.Update, topic.Accepted, result.Accepted}
	c.publish(m)
	if result.Delta != nil {
		c.publish(message{topic.Update, topic.Delta, result.Delta})
	}
	c.publish(message{topic.Update, topic.Documents, result.Documents})
	return m
}

// note tells the ledger what changed. blind marks a write by sync over a
// document that it could not name a version of.
func (c *cloud) note(g *gateway, before doc.Value, blind bool) {
	if g == nil {
		c.w.ledger.edited("cloud", before, c.view(), !c.shadow.Live())
		return
	}
	c.w.result.Writes++
	if blind {
		c.w.result.Races++
		c.w.ledger.excuse(before)
	}
	c.w.ledger.synced("cloud", g.name, before, c.view(), !c.shadow.Live())
}

func (c *cloud) delete(g *gateway, token string) message {
	before := c.view()
	blind := g != nil && c.shadow.Live() && (g.state.Record.Push == nil || g.state.Record.Push.Version != c.shadow.Version)
	next, body, err := doc.Delete(c.shadow, key, token, c.clock())
	if err != nil {
		m := message{topic.Delete, topic.Rejected, doc.Rejected(err, token)}
		c.publish(m)
		return m
	}
	c.shadow = next
	c.w.log("cloud has deleted, tombstone v%d", c.shadow.Version)
	c.note(g, before, blind)
	m := message{topic.Delete, topic.Accepted, body}
	c.publish(m)
	return m
}

// publish sends m to every session.
func (c *cloud) publish(m message) {
	for _, g := range c.w.gateways {
		g.link.down(m)
	}
}

// edit is one thing a user does upstream.
func (c *cloud) edit() {
	if c.w.rand.IntN(12) == 0 {
		if c.shadow.Live() {
			c.w.result.Edits++
			c.w.log("cloud user deletes")
			c.delete(nil, "")
		}
		return
	}
	r := c.w.randomUpdate(c.view())
	c.w.result.Edits++
	c.w.log("cloud user writes %s", r.Append(nil))
	c.update(nil, r.Append(nil))
}

// reset is a new upstream under the old name.
func (c *cloud) reset() {
	c.w.log("cloud begins anew")
	c.w.ledger.excuse(c.view())
	c.w.ledger.reset("cloud")
	c.shadow, c.w.begun = nil, true
	c.w.result.Edits += 10
	for _, g := range c.w.gateways {
		g.link.cut(time.Second, true)
	}
}
