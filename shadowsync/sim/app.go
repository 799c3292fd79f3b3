package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/shadowsync"
	"github.com/tidehold/tidehold/shadowsync/home"
	"github.com/tidehold/tidehold/shadowsync/plain"
)

// app is a program upstream: it asks for one thing at a time, under a token of
// its own, and asks again until it is answered; or it keeps an intent slot.
type app struct {
	p       *plainWorld
	name    string
	slot    bool
	count   int
	waiting string // token
	topic   string
	payload []byte
}

// act begins a request unless one is under way; an intent may be replaced.
func (a *app) act() {
	if a.waiting != "" && !a.slot {
		return
	}
	a.count++
	a.waiting = fmt.Sprintf("%s%d", a.name, a.count)
	seen, base := a.p.judge.seen, ""
	if a.p.rand.IntN(2) == 0 && seen > 0 {
		base = fmt.Sprintf(`,"baseVersion":%d`, seen)
		a.p.judge.bases[a.waiting] = seen
	}
	if !a.slot && a.p.rand.IntN(10) == 0 {
		a.topic, a.payload = plainPrefix+"delete", fmt.Appendf(nil, `{"clientToken":"%s"%s}`, a.waiting, base)
	} else {
		a.ask(base)
	}
	a.p.log("app %s asks %s", a.name, a.payload)
	a.p.result.Edits++
	a.send(a.waiting)
}

// ask makes an update, or an intent, of one place; an intent is one in desired.
func (a *app) ask(base string) {
	place := places[a.p.rand.IntN(len(places))]
	a.topic = plainPrefix + "update"
	if a.slot {
		place, a.topic = places[a.p.rand.IntN(4)], plainPrefix+"want/"+a.name
	}
	patch := doc.Value{}.With(a.p.value(), place...)
	a.payload = fmt.Appendf(nil, `{"state":%s,"clientToken":"%s"%s}`, patch.Append(nil), a.waiting, base)
	a.p.judge.asked(a.waiting, patch)
}

// send brings the request to the broker, and again while nobody answers.
func (a *app) send(token string) {
	if a.waiting != token {
		return
	}
	a.p.broker.post(a.topic, a.payload)
	a.p.after(a.p.between(5*time.Second, 30*time.Second), func() { a.send(token) })
}

// hear takes the answers; an intent that was accepted is cleared by its app.
func (a *app) hear(name string, payload []byte) {
	token := doc.ParseToken(payload)
	op, answer, _ := strings.Cut(name, "/")
	if a.waiting == "" || token != a.waiting || op != "update" && op != "delete" || answer != topic.Accepted && answer != topic.Rejected {
		return
	}
	a.p.log("app %s hears %s %s", a.name, name, payload)
	if answer == topic.Accepted {
		a.p.judge.accepted(token)
	}
	a.waiting = ""
	if a.slot {
		a.p.broker.post(a.topic, nil)
	}
}

// plainJudge knows what the apps asked for and what became of it. It sees only
// commits, copies and answers.
type plainJudge struct {
	p        *plainWorld
	seen     int64             // version of the newest copy
	executed map[string]int64  // token to the version it made
	values   map[string]int64  // token to the number it writes
	places   map[string]string // of tokens
	bases    map[string]int64  // token to baseVersion
	changed  map[string]int64  // place to the version that changed it
	prior    map[string]int64  // the same before the last commit
}

func newPlainJudge(p *plainWorld) *plainJudge {
	return &plainJudge{
		p: p, executed: make(map[string]int64), values: make(map[string]int64), places: make(map[string]string),
		bases: make(map[string]int64), changed: make(map[string]int64),
	}
}

// asked takes down a request.
func (j *plainJudge) asked(token string, patch doc.Value) {
	for p, v := range patch.Flatten() {
		j.places[token] = p
		j.values[token] = number(v)
	}
}

// committed checks what a request did to the document: once (I4), and nothing
// that the policy keeps (I2).
func (j *plainJudge) committed(before doc.Value, w home.Write) {
	r, err := plain.Decode(w.Record)
	if err != nil {
		j.p.violate("I1: record does not read back: %v", err)
	}
	if err != nil || len(r.Done) == 0 {
		return
	}
	d := r.Done[len(r.Done)-1]
	if was, twice := j.executed[d.Token]; twice {
		j.p.violate("I4: %s, which made version %d, is executed again as %d", d.Token, was, j.p.version())
	}
	j.executed[d.Token] = j.p.version()
	j.p.result.Writes++
	if d.Op == topic.Delete {
		j.deleted(d.Token, before)
		return
	}
	place, section := j.places[d.Token], "desired"
	if strings.HasPrefix(place, "/reported") {
		section = "reported"
	}
	skipped := slices.Contains(d.Skipped, place)
	j.older(d.Token, place, before)
	if base, based := j.bases[d.Token]; based && j.winner(section) == shadowsync.LocalWins {
		j.kept(d.Token, place, base, before, skipped)
	}
	j.p.ledger.edited("g0", before, j.p.view(), false)
}

// deleted: under updateWins what changed after the app looked stays, and under
// deleteWins nothing (I3).
func (j *plainJudge) deleted(token string, before doc.Value) {
	j.p.result.Deletes++
	base, based := j.bases[token]
	spares := based && j.p.o.Policy.OnDelete == shadowsync.UpdateWins
	j.p.ledger.edited("g0", before, j.p.view(), !j.p.shadow.Live())
	after := j.p.view().Flatten()
	for place, v := range before.Flatten() {
		kept, there := after[place]
		newer := spares && j.prior[place] > base
		if there != newer || there && !kept.Equal(v) {
			j.p.violate("I3: %s, which deletes what stood at version %d, leaves %s at %s, changed at %d", token, base, kept, place, j.prior[place])
		}
	}
}

func (j *plainJudge) winner(section string) shadowsync.Winner {
	if section == "desired" {
		return j.p.o.Policy.Desired
	}
	return j.p.o.Policy.Reported
}

// older: what a request replaced must not have been written by somebody who had
// seen the request's own value (I2).
func (j *plainJudge) older(token, place string, before doc.Value) {
	if !j.p.o.Unique {
		return
	}
	stands, _ := j.p.ledger.side("g0")
	if id := j.values[token]; stands[place] != 0 && !j.stood(before, place, id) && j.p.ledger.knew(stands[place], id) {
		j.p.violate("I2: at %s the older %d replaced %d", place, id, stands[place])
	}
}

func (j *plainJudge) stood(before doc.Value, place string, id int64) bool {
	v := before.Get(doc.ParsePath(place)...)
	return v.Exists() && number(v) == id
}

// kept: under localWins what changed after the app looked stays (I3).
func (j *plainJudge) kept(token, place string, base int64, before doc.Value, skipped bool) {
	old, now := before.Get(doc.ParsePath(place)...), j.p.view().Get(doc.ParsePath(place)...)
	changed := j.newest(place) > base
	if changed && old.Exists() && old.Kind() != doc.Object && !now.Equal(old) {
		j.p.violate("I3: %s overwrote %s, which changed after version %d", token, place, base)
	}
	if skipped && !changed && old.Exists() {
		j.p.violate("I3: %s was not executed at %s, which had not changed since %d", token, place, base)
	}
}

// newest is when a place, or one below it, changed before the last commit.
func (j *plainJudge) newest(place string) (version int64) {
	for p, at := range j.prior {
		if p == place || strings.HasPrefix(p, place+"/") {
			version = max(version, at)
		}
	}
	return version
}

// note keeps the judge's own book of when each leaf last changed.
func (j *plainJudge) note(before doc.Value, version int64) {
	j.prior = maps.Clone(j.changed)
	for _, place := range changed(before.Flatten(), j.p.view().Flatten()) {
		j.changed[place] = version
	}
}

// copied: a subscriber of the copies never sees an older one (I5).
func (j *plainJudge) copied(payload []byte) {
	v, err := doc.ParseValue(payload)
	if err != nil {
		return // removed
	}
	version, _ := v.Get("version").Float()
	epoch, _ := v.Get("epoch").Float()
	b := j.p.broker
	next := [2]int64{int64(epoch), int64(version)}
	if next[0] < b.newest[0] || next[0] == b.newest[0] && next[1] < b.newest[1] {
		j.p.violate("I5: copy %v follows %v", next, b.newest)
	}
	b.newest = next
	j.seen = next[1]
}

// accepted: whoever is told so finds it done (I3).
func (j *plainJudge) accepted(token string) {
	if _, done := j.executed[token]; !done {
		j.p.violate("I3: %s was accepted and is not in the document", token)
	}
}

// agreed: the copy is the document (I1).
func (j *plainJudge) agreed() {
	text := j.p.broker.retained[plainPrefix+"doc"]
	if j.p.shadow == nil {
		return
	}
	v, err := doc.ParseValue(text)
	if err != nil {
		j.p.violate("I1: no copy of version %d", j.p.version())
		return
	}
	if version, _ := v.Get("version").Float(); int64(version) != j.p.version() {
		j.p.violate("I1: the copy has version %v, the document %d", version, j.p.version())
	}
	if gone := v.Get("deleted").Kind() == doc.Bool; gone == j.p.shadow.Live() {
		j.p.violate("I1: the copy says deleted %v, the document lives: %v", gone, j.p.shadow.Live())
	}
}
