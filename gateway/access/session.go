package access

import (
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/policy"
)

const (
	// decisionsMax is how many decisions a client's cache holds; at the limit
	// one of them, any, makes room.
	decisionsMax = 4096
	// cacheBytesMax is the limit of all caches together; beyond it decisions
	// are not kept (security.md 1.5).
	cacheBytesMax = 32 << 20
	// decisionBytes is what one decision costs besides its resource.
	decisionBytes = 128
)

// action is one of the actions of the message path.
type action uint8

const (
	actConnect action = iota
	actPublish
	actRetain
	actSubscribe
	actReceive
)

var actions = [...]struct{ name, prefix string }{
	actConnect:   {"iot:Connect", "client/"},
	actPublish:   {"iot:Publish", "topic/"},
	actRetain:    {"iot:RetainPublish", "topic/"},
	actSubscribe: {"iot:Subscribe", "topicfilter/"},
	actReceive:   {"iot:Receive", "topic/"},
}

// countable is the label of an action: what anybody may ask for must not make
// new series.
func countable(name string) string {
	rest, ok := strings.CutPrefix(name, "iot:")
	if !ok || len(rest) > 40 {
		return "other"
	}
	return rest
}

// verdict is a decision as it is cached.
type verdict struct {
	allowed, explicit bool
	by                string // the deciding policy
}

func (v verdict) reason() string {
	if !v.explicit {
		return "implicit"
	}
	return "policy " + v.by
}

type question struct {
	action action
	name   string
}

// session is what is compiled and cached for a client, of one generation.
type session struct {
	generation uint64
	compiled   *policy.Compiled

	mu    sync.RWMutex
	cache map[question]verdict
	bytes *atomic.Int64 // the share of this session in the checker's sum
}

// current gives c's session; a new one when the policies have changed since.
// Two goroutines may compile at once: either result is right.
func (k *Checker) current(c *Client) *session {
	generation := k.generation.Load()
	if s := c.session.Load(); s != nil && s.generation == generation {
		return s
	}
	s := &session{generation: generation, compiled: k.compile(c), cache: make(map[question]verdict), bytes: new(atomic.Int64)}
	// The broker has no word for a client that is gone for good, so the garbage
	// collector gives its memory back to the sum.
	runtime.AddCleanup(s, func(share *atomic.Int64) { k.cacheBytes.Add(-share.Load()) }, s.bytes)
	c.session.Store(s)
	return s
}

// compile collects the policies of c's principal and binds them to c.
func (k *Checker) compile(c *Client) *policy.Compiled {
	r := k.rights(c)
	named := r.Policies
	for _, name := range r.Names {
		if d, ok := k.document(name); ok {
			named = append(named, policy.Named{Name: name, Document: d})
			continue
		}
		k.log.Warn("policy is missing; it grants nothing", "principal", c.Principal.ID, "policy", name)
	}
	if r.Everything {
		named = append(named, policy.Named{Name: "everything", Document: k.everything})
	}
	return policy.Compile(named, c.connection(r), k.scope)
}

// rights of c's principal: the configuration's word for local programs and
// users, the directory's for all others.
func (k *Checker) rights(c *Client) Rights {
	switch c.Principal.Kind {
	case iot.House:
		return Rights{Everything: true}
	case iot.Local:
		return Rights{Names: []string{LocalPolicy}}
	case iot.UserKind:
		return Rights{Names: k.table.Load().users[c.Principal.ID].policies}
	case iot.Anonymous:
		return Rights{}
	}
	if k.directory == nil {
		return Rights{}
	}
	return k.directory.Rights(c.Principal, c.ID)
}

func (k *Checker) document(name string) (*policy.Document, bool) {
	if d, ok := k.table.Load().policies[name]; ok {
		return d, true
	}
	if k.directory == nil {
		return nil, false
	}
	return k.directory.Policy(name)
}

// connection is c as policies see it.
func (c *Client) connection(r Rights) policy.Connection {
	conn := policy.Connection{
		ClientID: string(c.ID), HTTP: c.HTTP, SourceIP: c.RemoteIP, Domain: c.ServerName, Secure: c.Secure,
		Subject: r.Subject, Issuer: r.Issuer, Thing: r.Thing,
	}
	if c.Principal.Kind == iot.CertificateKind {
		conn.CertificateID = c.Principal.ID
	}
	if c.Persistent {
		conn.ConnectAttributes = append(conn.ConnectAttributes, "PersistentConnect")
	}
	if c.Will {
		conn.ConnectAttributes = append(conn.ConnectAttributes, "LastWill")
		conn.LastWillTopic = c.WillTopic
	}
	return conn
}

// verdict decides one of the cached actions.
func (k *Checker) verdict(c *Client, a action, name string) verdict {
	s, q := k.current(c), question{a, name}
	s.mu.RLock()
	v, ok := s.cache[q]
	s.mu.RUnlock()
	if ok {
		return v
	}
	d := s.compiled.Evaluate(k.request(actions[a].name, actions[a].prefix+name, s.compiled))
	v = verdict{allowed: d.Allowed, explicit: d.Explicit, by: d.Policy}
	if !d.Volatile {
		s.keep(q, v, &k.cacheBytes)
	}
	return v
}

// keep caches a verdict within the limits.
func (s *session) keep(q question, v verdict, sum *atomic.Int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.cache[q]; known {
		return
	}
	if len(s.cache) >= decisionsMax {
		s.evict(sum)
	}
	cost := int64(len(q.name) + decisionBytes)
	if sum.Load()+cost > cacheBytesMax {
		return
	}
	q.name = strings.Clone(q.name) // the caller's may be part of a packet's buffer
	s.cache[q] = v
	s.bytes.Add(cost)
	sum.Add(cost)
}

func (s *session) evict(sum *atomic.Int64) {
	for q := range s.cache {
		delete(s.cache, q)
		cost := int64(len(q.name) + decisionBytes)
		s.bytes.Add(-cost)
		sum.Add(-cost)
		return
	}
}

func loopback(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	return err == nil && addr.Unmap().IsLoopback()
}
