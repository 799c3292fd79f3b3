package shadow

import (
	"container/list"
	"sync"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
)

// cache keeps committed documents parsed, the least recently used go first. A
// nil document is known not to exist.
type cache struct {
	mu    sync.Mutex
	max   int
	bytes int
	byKey map[iot.ShadowKey]*list.Element
	order *list.List // of *cached, most recently used first
}

type cached struct {
	key  iot.ShadowKey
	doc  *doc.Shadow
	cost int
}

func newCache(bytesMax int) *cache {
	return &cache{max: bytesMax, byKey: make(map[iot.ShadowKey]*list.Element), order: list.New()}
}

func (c *cache) get(key iot.ShadowKey) (*doc.Shadow, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).doc, true
}

// put keeps a document whose storage form has that length.
func (c *cache) put(key iot.ShadowKey, d *doc.Shadow, stored int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
	entry := &cached{key, d, cost(key, stored)}
	c.byKey[key] = c.order.PushFront(entry)
	c.bytes += entry.cost
	for c.bytes > c.max && c.order.Len() > 1 {
		c.remove(c.order.Back().Value.(*cached).key)
	}
}

// cost is about what a parsed document takes: measured 6 to 9 bytes for each
// byte of its storage form.
func cost(key iot.ShadowKey, stored int) int {
	return 400 + len(key.Thing) + len(key.Shadow) + 8*stored
}

func (c *cache) drop(key iot.ShadowKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
}

func (c *cache) remove(key iot.ShadowKey) {
	e, ok := c.byKey[key]
	if !ok {
		return
	}
	c.bytes -= e.Value.(*cached).cost
	c.order.Remove(e)
	delete(c.byKey, key)
}

func (c *cache) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}
