package broker

import (
	"sync"

	"github.com/tidehold/tidehold/gateway/broker/wire"
	"github.com/tidehold/tidehold/gateway/topic"
)

// options of a subscription (MQTT 5, 3.8.3.1).
type options struct {
	qos            byte
	noLocal        bool
	asPublished    bool
	retainHandling byte
	id             int    // subscription identifier, 0 = none
	shared         *group // that the subscription is a member of
}

// entry is one subscription, or the place of a shared group among them.
type entry struct {
	session *session
	opt     options
	group   *group // set in the place of a group; the rest is empty then
}

// index finds subscriptions by topic name.
type index struct {
	mu     sync.RWMutex
	trie   topic.Trie[*entry]
	groups map[string]*entry // by $share/NAME/FILTER
	size   int
}

func newIndex() *index { return &index{groups: make(map[string]*entry)} }

func (x *index) len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.size
}

// match appends to dst the entries whose filter covers name.
func (x *index) match(name string, dst []*entry) []*entry {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.trie.Each(topic.Name(name), func(e *entry) { dst = append(dst, e) })
	return dst
}

// replace puts e under f in place of old, which may be nil, at one instant: no
// message falls between them.
func (x *index) replace(f wire.Filter, old, e *entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old != nil {
		x.drop(f, old)
	}
	x.size++
	if f.Share == "" {
		x.trie.Add(f.Topic, e)
		return
	}
	place := x.groups[f.Text]
	if place == nil {
		place = &entry{group: &group{}}
		x.groups[f.Text] = place
		x.trie.Add(f.Topic, place)
	}
	e.opt.shared = place.group
	place.group.join(e)
}

// remove takes e away from under f.
func (x *index) remove(f wire.Filter, e *entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drop(f, e)
}

func (x *index) drop(f wire.Filter, e *entry) {
	x.size--
	if f.Share == "" {
		x.trie.Remove(f.Topic, e)
		return
	}
	place := x.groups[f.Text]
	if place != nil && place.group.leave(e) == 0 {
		delete(x.groups, f.Text)
		x.trie.Remove(f.Topic, place)
	}
}

// group is the members of one shared subscription; each message goes to one of
// them (MQTT 5, 4.8.2).
type group struct {
	mu      sync.Mutex
	members []*entry
	next    int
}

func (g *group) join(e *entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = append(g.members, e)
}

func (g *group) leave(e *entry) (left int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, m := range g.members {
		if m == e {
			g.members = append(g.members[:i:i], g.members[i+1:]...)
			break
		}
	}
	return len(g.members)
}

// pick gives the member whose turn it is: of those connected who may receive
// the message, else one that is away and queues it, else nil.
func (g *group) pick(r *routed) *entry {
	g.mu.Lock()
	defer g.mu.Unlock()
	var away *entry
	for range g.members {
		g.next++
		e := g.members[g.next%len(g.members)]
		c := e.session.connection()
		if c == nil && min(e.opt.qos, r.QoS) > 0 && away == nil {
			away = e
		}
		if c != nil && c.b.auth.Receive(&c.public, r.Topic) {
			return e
		}
	}
	return away
}
