package plain

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync"
	"github.com/tidehold/tidehold/shadowsync/home"
)

// Request is one from upstream.
type Request struct {
	Key iot.ShadowKey
	// Op is get, update, delete or want.
	Op      topic.Op
	App     string // of an intent slot
	Payload []byte
}

// Reply is a message to upstream: Name follows R/{thing}/{shadow}/.
type Reply struct {
	Name    string
	Payload []byte
}

// Plan is what becomes of a request.
type Plan struct {
	// Write is what to do locally, nil when the request is answered at once.
	Write *home.Write
	// Record is the one after it; with Keep it has to be stored although
	// nothing else is written.
	Record Record
	Keep   bool
	// Replies are the answers when there is no Write.
	Replies []Reply
	// Skipped are the places left alone because they changed meanwhile.
	Skipped []string
	// Conflicts are all places that changed meanwhile, with who wins.
	Conflicts []shadowsync.Conflict

	op     topic.Op // of the answers
	update doc.Request
	token  string
	app    string
}

// extras are the members of a request that AWS does not have.
type extras struct {
	base, issued       int64 // document version; milliseconds
	hasBase, hasIssued bool
}

func readExtras(payload []byte) extras {
	var e extras
	body, err := doc.ParseValue(payload)
	if err != nil {
		return e
	}
	e.base, e.hasBase = integer(body.Get("baseVersion"))
	e.issued, e.hasIssued = integer(body.Get("issuedAt"))
	return e
}

func integer(v doc.Value) (int64, bool) {
	if v.Kind() != doc.Number {
		return 0, false
	}
	n, err := strconv.ParseInt(v.Text(), 10, 64)
	return n, err == nil
}

// Decide says what becomes of a request, given the local document.
func Decide(r Request, snap home.Snapshot, rec Record, p shadowsync.Policy, lim doc.Limits, now time.Time) Plan {
	plan := Plan{Record: rec, op: r.Op, app: r.App}
	switch r.Op {
	case topic.Get:
		plan.get(r, snap, now)
	case topic.Delete:
		plan.delete(r, snap, p, now)
	default:
		plan.change(r, snap, p, lim, now)
	}
	return plan
}

func (p *Plan) reply(answer string, body []byte) {
	p.Replies = append(p.Replies, Reply{Name: string(p.op) + "/" + answer, Payload: body})
}

// refuse answers at once. An intent is taken down all the same: its slot comes
// again with every connection.
func (p *Plan) refuse(err error) {
	p.Write = nil
	p.reply(topic.Rejected, doc.Rejected(err, p.token))
	if p.app != "" {
		p.Record, p.Keep = p.Record.wanted(p.app, p.token), true
	}
}

func (p *Plan) get(r Request, snap home.Snapshot, now time.Time) {
	p.token = doc.ParseToken(r.Payload)
	body, err := doc.Get(snap.Doc, r.Key, p.token, now)
	if err != nil {
		p.refuse(err)
		return
	}
	p.reply(topic.Accepted, body)
}

// change is an update or an intent.
func (p *Plan) change(r Request, snap home.Snapshot, policy shadowsync.Policy, lim doc.Limits, now time.Time) {
	p.op = topic.Update
	if r.Op == want && len(r.Payload) == 0 {
		p.Record, p.Keep = p.Record.wanted(r.App, ""), p.Record.Wants[r.App] != ""
		return
	}
	u, err := doc.ParseRequest(r.Payload, lim)
	p.token, p.update = u.Token, u
	if r.Op == want && p.token == "" {
		sum := sha256.Sum256(r.Payload)
		p.token = hex.EncodeToString(sum[:16])
	}
	if done, ok := p.Record.find(p.token, topic.Update, now); ok && err == nil {
		p.reply(topic.Accepted, withSkipped(doc.Accepted(u, done.stamp()), done.Skipped))
		return // the answer may have been lost
	}
	if r.Op == want && p.Record.Wants[r.App] == p.token {
		return // seen before
	}
	switch {
	case err != nil:
	case policy.Direction == shadowsync.Up:
		err = iot.Errorf(iot.Forbidden, "Forbidden")
	case r.Op == want && (u.Reported.Exists() || u.Clear):
		err = iot.Errorf(iot.InvalidRequest, "State contains an invalid node: 'reported'")
	case u.Version != nil && *u.Version != snap.Version:
		err = iot.Errorf(iot.Conflict, "Version conflict")
	}
	if err != nil {
		p.refuse(err)
		return
	}
	p.write(snap, policy, readExtras(r.Payload), now)
}

// write leaves out what changed meanwhile and writes the rest.
func (p *Plan) write(snap home.Snapshot, policy shadowsync.Policy, e extras, now time.Time) {
	u := p.update
	u.Version = nil
	if u.Clear {
		u.Clear, u.Desired, u.Reported = false, doc.NullValue(), doc.NullValue()
	}
	f := filter{doc: snap.Doc, policy: policy, extras: e}
	u.Desired = f.section("desired", u.Desired)
	u.Reported = f.section("reported", u.Reported)
	p.Skipped = f.skipped
	asked := doc.ObjectValue(doc.Member{Key: "desired", Value: p.update.Desired}, doc.Member{Key: "reported", Value: p.update.Reported})
	stood := shadowsync.LocalDoc(snap.Doc, snap.Version).State
	p.conflict(f.skipped, shadowsync.LocalWins, stood, asked)
	p.conflict(f.overruled, shadowsync.CloudWins, stood, asked)
	version := snap.Version
	p.Write = &home.Write{IfVersion: &version, Update: &u}
	p.done(topic.Update, snap.Version+1, now)
}

// conflict takes down the places that winner has.
func (p *Plan) conflict(places []string, winner shadowsync.Winner, stood, asked doc.Value) {
	for _, place := range places {
		path := doc.ParsePath(place)
		p.Conflicts = append(p.Conflicts, shadowsync.Conflict{Path: path, Local: stood.Get(path...), Upstream: asked.Get(path...), Winner: winner, Writer: p.writer()})
	}
}

// writer is who sent the request, as far as it says: the app of an intent slot,
// else the token.
func (p Plan) writer() string {
	switch {
	case p.app != "":
		return p.app
	case p.token != "":
		return p.token
	}
	return "upstream, without a token"
}

// done puts the request into the record that goes with the write.
func (p *Plan) done(op topic.Op, version int64, now time.Time) {
	p.Record = p.Record.with(Done{Token: p.token, Op: op, Version: version, Time: now.Unix(), Skipped: p.Skipped}, now)
	if p.app != "" {
		p.Record = p.Record.wanted(p.app, p.token)
	}
	p.Write.Record = p.Record.Encode()
}

// delete deletes the shadow; under UpdateWins one that changed since the app
// saw it loses only what did not.
func (p *Plan) delete(r Request, snap home.Snapshot, policy shadowsync.Policy, now time.Time) {
	p.token = doc.ParseToken(r.Payload)
	if done, ok := p.Record.find(p.token, topic.Delete, now); ok {
		p.reply(topic.Accepted, withSkipped(doc.Deleted(done.stamp(), p.token), done.Skipped))
		return
	}
	switch {
	case policy.Direction == shadowsync.Up:
		p.refuse(iot.Errorf(iot.Forbidden, "Forbidden"))
		return
	case snap.Doc == nil:
		p.refuse(doc.NotFound(r.Key))
		return
	}
	version := snap.Version
	p.Write = &home.Write{IfVersion: &version}
	e := readExtras(r.Payload)
	if e.hasBase && policy.OnDelete == shadowsync.UpdateWins {
		p.Write.Update, p.Skipped = removeOlder(snap.Doc, e.base)
		p.conflict(p.Skipped, shadowsync.LocalWins, shadowsync.LocalDoc(snap.Doc, snap.Version).State, doc.Value{})
	}
	if len(p.Skipped) == 0 {
		p.Write.Update, p.Write.Delete = nil, true
	}
	p.done(topic.Delete, snap.Version, now)
}

// removeOlder is the update that removes every leaf not changed after base, and
// the places of the others.
func removeOlder(d *doc.Shadow, base int64) (*doc.Request, []string) {
	u, skipped := &doc.Request{}, []string(nil)
	for _, name := range [...]string{"desired", "reported"} {
		var patch doc.Value
		for leaf := range d.Section(name).Leaves() {
			if leaf.Version > base {
				skipped = append(skipped, "/"+name+leaf.Path.String())
				continue
			}
			patch = patch.With(doc.NullValue(), leaf.Path...)
		}
		if name == "desired" {
			u.Desired = patch
		} else {
			u.Reported = patch
		}
	}
	return u, skipped
}

// Conclude gives the answers to a request whose Write is done: before and after
// are the documents around it, after nil when it is deleted.
func (p Plan) Conclude(before, after *doc.Shadow, now time.Time) []Reply {
	if p.op == topic.Delete {
		version := before.Version
		p.reply(topic.Accepted, withSkipped(doc.Deleted(doc.Stamp{Version: version, Time: now.Unix()}, p.token), p.Skipped))
		if after == nil {
			return p.Replies
		}
	}
	u := *p.Write.Update
	u.Token = p.update.Token
	at := time.Unix(after.Time, 0)
	result, err := doc.Apply(before, u, doc.Limits{}, at)
	if err != nil {
		return p.Replies
	}
	if p.op == topic.Update {
		p.reply(topic.Accepted, withSkipped(doc.Accepted(p.update, doc.Stamp{Version: after.Version, Time: after.Time}), p.Skipped))
	}
	p.op = topic.Update
	if result.Delta != nil {
		p.reply(topic.Delta, result.Delta)
	}
	p.reply(topic.Documents, result.Documents)
	return p.Replies
}

// Refuse is the plan for a request whose Write was refused for good.
func (p Plan) Refuse(before Record, err error) Plan {
	p.Record = before
	p.refuse(err)
	return p
}

// withSkipped adds the member skipped to an answer.
func withSkipped(body []byte, skipped []string) []byte {
	if len(skipped) == 0 {
		return body
	}
	items := make([]doc.Value, len(skipped))
	for i, place := range skipped {
		items[i] = doc.StringValue(place)
	}
	out := append(body[:len(body)-1:len(body)-1], `,"skipped":`...)
	return append(doc.ArrayValue(items...).Append(out), '}')
}
