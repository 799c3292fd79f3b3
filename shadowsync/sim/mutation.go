package sim

import (
	"strings"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync"
)

// Mutation breaks the system under test on purpose, to show that the checkers
// see it.
type Mutation int

// The mutations.
const (
	None            Mutation = iota
	WholeBase                // after a push the base is the whole document, not its settled leaves
	PushForgotten            // an unanswered push is forgotten, and so counts as not done
	BaseLast                 // the base is written only when both sides are done
	BlindCommit              // local commits ignore that the document has moved
	BlindPush                // updates carry no version
	SameTokenForAll          // answers to others are taken for our own
	EchoApplied              // the document that our own push made is taken for somebody's edit
	NoBase                   // the merge knows of no common past
	WrongWinner              // the policy of one section decides the other
	NoTombstone              // a deleted shadow counts as one that never was
	LocalWaits               // local requests wait while upstream is asked
	VersionReused            // a document gets the version of the one before
	TokenForgotten           // plain: what was executed is not remembered
	WantForgotten            // plain: an intent slot is executed each time it is seen
	AnswerFirst              // plain: a request is answered before it is committed
	DeleteBlind              // plain: a delete takes all, whatever its app had seen
	CopyOnce                 // plain: a copy that did not arrive is not sent again
)

// echo takes our own document for somebody's edit where the mutation says so.
func (g *gateway) echo(a shadowsync.Answer) {
	ours := strings.HasPrefix(a.Token, "gw:"+g.name+":")
	if g.w.o.Mutation != EchoApplied || a.Kind != topic.Documents || !ours || !g.shadow.Live() {
		return
	}
	before := g.view()
	next := *g.shadow
	wanted, err := doc.Next(&next, doc.Request{Desired: a.Doc.State.Get("desired"), Reported: a.Doc.State.Get("reported")}, doc.Limits{}, g.clock())
	if err != nil {
		return
	}
	g.put(wanted)
	g.w.result.Writes++
	g.w.ledger.synced(g.name, "cloud", before, g.view(), false)
}

// mutate breaks what the mutation says.
func (g *gateway) mutate(before shadowsync.State, e shadowsync.Event, effects []shadowsync.Effect) []shadowsync.Effect {
	_, answered := e.(shadowsync.Answer)
	resolved := answered && before.Record.Push != nil && g.state.Record.Push == nil && !before.Record.Push.Delete
	switch g.w.o.Mutation {
	case PushForgotten:
		if _, tick := e.(shadowsync.Tick); tick && before.Phase == shadowsync.Pushing && g.state.Phase == shadowsync.Idle {
			g.state.Record.Push = nil
		}
	case WholeBase:
		if resolved && g.state.Known {
			g.state.Record.Base = g.state.Upstream.State
			effects = restore(effects, g.state.Record)
		}
	case BaseLast:
		if resolved {
			g.state.Record.Base = before.Record.Base
			effects = restore(effects, g.state.Record)
		}
	case BlindPush:
		for i, effect := range effects {
			if p, ok := effect.(shadowsync.Publish); ok && p.Op == topic.Update {
				r, _ := doc.ParseRequest(p.Payload, doc.Limits{})
				r.Version = nil
				effects[i] = shadowsync.Publish{Op: p.Op, Payload: r.Append(nil)}
			}
		}
	}
	return effects
}

func restore(effects []shadowsync.Effect, r shadowsync.Record) []shadowsync.Effect {
	for i, effect := range effects {
		if _, ok := effect.(shadowsync.Store); ok {
			effects[i] = shadowsync.Store{Record: r.Encode()}
		}
	}
	return effects
}
