package shadow

import (
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/store"
	"github.com/tidehold/tidehold/gateway/topic"
)

// Answers to tokens that begin with tokenPrefix are remembered for answerAge,
// the last answersPerClient of each client and answersMax in all
// (shadow-sync.md 2.4).
const (
	tokenPrefix      = "gw:"
	answerAge        = 24 * time.Hour
	answersPerClient = 1024
	answersMax       = 65536
	// answersTrimEvery is how many answers of a client come between two looks
	// at answersPerClient.
	answersTrimEvery = 32
	// trimmedClientsMax bounds the memory of those looks.
	trimmedClientsMax = 4096
)

// writerState is what the writer keeps between batches.
type writerState struct {
	swept     time.Time
	untrimmed map[string]int
}

// request is one request on its way, and then its outcome.
type request struct {
	key     iot.ShadowKey
	op      topic.Op
	origin  iot.Origin
	token   string
	update  doc.Request
	arrived time.Time
	// refused is what was wrong before the document was looked at.
	refused error
	// byTopic asks for get and rejected answers as messages.
	byTopic bool
	counted bool // among the unanswered requests of the connection
	sync    *syncRequest
	done    func(*request)

	// The outcome: messages, changes, body and document, or err; failed says
	// that err is our failure and not a refusal.
	messages []answer
	changes  []*doc.Shadow
	body     []byte
	doc      *doc.Shadow
	repeated bool
	err      error
	failed   bool
}

// answer is a message that tells of the outcome.
type answer struct {
	op   topic.Op
	name string
	body []byte
}

// needsNoCommit reports that r changes nothing, whatever the document is.
func (r *request) needsNoCommit() bool { return r.refused != nil || r.op == topic.Get && r.sync == nil }

// say adds a message.
func (r *request) say(op topic.Op, name string, body []byte) {
	r.messages = append(r.messages, answer{op, name, body})
}

// refuse is the outcome of a request that is not allowed or not possible.
func (r *request) refuse(err error) {
	r.err = err
	if r.byTopic {
		r.say(r.op, topic.Rejected, doc.Rejected(err, r.token))
	}
}

// fail takes back whatever the outcome was: nothing was stored.
func (r *request) fail(err error) {
	r.messages, r.changes, r.body, r.doc, r.repeated = nil, nil, nil, nil, false
	r.failed = true
	if errors.Is(err, store.ErrClosed) {
		r.err = err // the house is going down: no answer, so that it is sent again
		return
	}
	r.refuse(err)
}

// answer is the outcome of a request that needs no commit.
func (r *request) answer(cur *doc.Shadow, now time.Time) {
	if r.refused != nil {
		r.refuse(r.refused)
		return
	}
	body, err := doc.Get(cur, r.key, r.token, now)
	if err != nil {
		r.refuse(err)
		return
	}
	r.body, r.doc = body, cur
	if r.byTopic {
		r.say(topic.Get, topic.Accepted, body)
	}
}

// run executes r on the document cur and gives the next one, cur itself when
// nothing changed. Its error is the store's and undoes the whole batch.
func (s *Service) run(tx *store.Tx, r *request, cur *doc.Shadow, now time.Time) (*doc.Shadow, error) {
	if r.needsNoCommit() {
		r.answer(cur, now)
		return cur, nil
	}
	if repeated, err := s.repeat(tx, r, cur, now); repeated || err != nil {
		return cur, err
	}
	switch {
	case r.sync != nil:
		return s.commit(tx, r, cur, now)
	case r.op == topic.Delete:
		return s.delete(tx, r, cur, now)
	}
	return s.change(tx, r, cur, now)
}

// repeat gives the recorded answer to a request that was executed before.
func (s *Service) repeat(tx *store.Tx, r *request, cur *doc.Shadow, now time.Time) (bool, error) {
	client := r.client()
	if client == "" {
		return false, nil
	}
	made, found, err := recall(tx, client, r.token, r.digest(), now.Add(-answerAge))
	if err != nil || !found {
		return false, err
	}
	r.doc, r.repeated = cur, true
	if r.op == topic.Delete {
		r.body = doc.Deleted(made, r.token)
	} else {
		r.body = doc.Accepted(r.update, made)
	}
	if r.sync != nil {
		r.sync.record, err = readRecord(tx, r.sync.uplink, r.key)
		return true, err
	}
	r.say(r.op, topic.Accepted, r.body)
	return true, nil
}

// change applies the update of r.
func (s *Service) change(tx *store.Tx, r *request, cur *doc.Shadow, now time.Time) (*doc.Shadow, error) {
	res, err := doc.Apply(cur, r.update, s.cfg.Limits, now)
	if err != nil {
		r.refuse(err)
		return cur, nil
	}
	r.body, r.doc = res.Accepted, res.Next
	r.changes = append(r.changes, res.Next)
	r.say(topic.Update, topic.Accepted, res.Accepted)
	if res.Delta != nil {
		r.say(topic.Update, topic.Delta, res.Delta)
	}
	r.say(topic.Update, topic.Documents, res.Documents)
	return res.Next, s.remember(tx, r, doc.Stamp{Time: res.Next.Time, Version: res.Next.Version})
}

func (s *Service) delete(tx *store.Tx, r *request, cur *doc.Shadow, now time.Time) (*doc.Shadow, error) {
	tombstone, body, err := doc.Delete(cur, r.key, r.token, now)
	if err != nil {
		r.refuse(err)
		return cur, nil
	}
	r.body, r.doc = body, tombstone
	r.changes = append(r.changes, tombstone)
	r.say(topic.Delete, topic.Accepted, body)
	if r.op != topic.Delete {
		return tombstone, nil // an update follows, and is what counts
	}
	return tombstone, s.remember(tx, r, doc.Stamp{Time: tombstone.Time, Version: cur.Version})
}

// client names whose tokens are remembered; empty for nobody's.
func (r *request) client() string {
	switch {
	case r.sync != nil && r.sync.Token != "":
		return uplinkClient(r.sync.uplink)
	case r.sync == nil && strings.HasPrefix(r.token, tokenPrefix):
		return string(r.origin.ClientID)
	}
	return ""
}

// uplinkClient cannot be the id of a client: MQTT allows no NUL.
func uplinkClient(uplink string) string { return "\x00uplink/" + uplink }

// digest stands for the request: the same token with another request is not
// the same request.
func (r *request) digest() []byte {
	text := append([]byte(r.op), '\n')
	text = append(text, r.key.String()...)
	if r.op == topic.Update {
		text = r.update.Append(append(text, '\n'))
	}
	sum := sha256.Sum256(text)
	return sum[:16]
}

// remember keeps what was answered, in the transaction of the document.
func (s *Service) remember(tx *store.Tx, r *request, made doc.Stamp) error {
	client := r.client()
	if client == "" {
		return nil
	}
	if err := remember(tx, client, r.token, r.digest(), made); err != nil {
		return err
	}
	if !s.trimDue(client) {
		return nil
	}
	return trimAnswers(tx, client)
}

func (s *Service) trimDue(client string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.writer
	if w.untrimmed == nil || len(w.untrimmed) > trimmedClientsMax {
		w.untrimmed = make(map[string]int)
	}
	w.untrimmed[client]++
	return w.untrimmed[client]%answersTrimEvery == 0
}

// sweepInPassing removes what is too old once in a while.
func (s *Service) sweepInPassing(tx *store.Tx, now time.Time) error {
	s.mu.Lock()
	due := now.Sub(s.writer.swept) >= sweepEvery || now.Before(s.writer.swept)
	if due {
		s.writer.swept = now
	}
	s.mu.Unlock()
	if !due {
		return nil
	}
	return s.sweep(tx, now)
}

// publish sends the answers of r and tells the watchers, after the commit.
func (s *Service) publish(r *request) {
	now := s.clk.Now()
	for _, a := range r.messages {
		s.pub.Publish(iot.Message{
			Topic:   topic.ShadowAnswerTo(r.key, a.op, a.name),
			Payload: a.body,
			QoS:     1,
			Origin:  iot.Origin{Source: "sys/shadow", TraceID: r.origin.TraceID, Hops: r.origin.Hops},
			Arrived: now,
		})
	}
	s.tell(r)
}

// finish counts r and tells who waits for it.
func (s *Service) finish(r *request) {
	if r.counted {
		s.inFlight.leave(r.origin.ClientID)
	}
	s.fig.answered(r, s.clk.Now().Sub(r.arrived).Seconds())
	r.done(r)
}
