package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

const (
	pingTimeout    = 10 * time.Second
	subackTimeout  = 10 * time.Second
	farewellWithin = 2 * time.Second        // for the PUBACK of the last status
	quiesce        = 250 * time.Millisecond // for the DISCONNECT
	// filtersMax is the number of filters in one SUBSCRIBE where the profile
	// sets none.
	filtersMax = 50
	// suspectWithin: a connection closed so soon after a publish makes it suspect.
	suspectWithin = 2 * time.Second
)

var errStopped = errors.New("uplink stops")

// epoch is one connection from CONNACK to its end.
type epoch struct {
	link    *Link
	node    Endpoint
	wire    *wire
	client  mqtt.Client
	out     *outbox
	in      *window
	subs    []subscription
	running *sync.WaitGroup
	// told is set once OnOnline was called.
	told bool
}

// live makes one attempt and, when it succeeds, stays until the connection
// ends. It gives the loss; the caller ignores it when ctx ended.
func (l *Link) live(ctx context.Context, running *sync.WaitGroup) event {
	life, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(errStopped)
	if !l.begin(kill) {
		return event{kind: evLost, err: errCut}
	}
	e, sessionPresent, err := l.open(ctx, life, running)
	if err != nil {
		return l.classify(err)
	}
	loss := e.serve(ctx, sessionPresent)
	e.close(loss.err)
	return loss
}

// begin arms Cut for the attempt; false when the link is cut already.
func (l *Link) begin(kill context.CancelCauseFunc) bool {
	l.mu.Lock()
	l.kill = kill
	cut := l.machine.state == Severed
	l.mu.Unlock()
	if !cut {
		l.step(event{kind: evBegin})
	}
	return !cut
}

// open dials and connects.
func (l *Link) open(ctx, life context.Context, running *sync.WaitGroup) (*epoch, bool, error) {
	attempt, cancel := context.WithTimeout(ctx, l.profile.ConnectTimeout)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	node := l.node()
	conn, err := l.dial(attempt, node, func() { l.step(event{kind: evAddress}) })
	if err != nil {
		return nil, false, err
	}
	e := &epoch{link: l, node: node, wire: newWire(conn), in: newWindow(), running: running}
	e.out = newOutbox(l.cfg.PendingMax, func(n int) { l.figures.pending.Set(float64(n), l.cfg.Name) })
	context.AfterFunc(life, func() { e.wire.fail(context.Cause(life)) })
	l.mu.Lock()
	e.subs, l.additions = append(e.subs, l.subs...), nil
	l.mu.Unlock()
	l.step(event{kind: evOpened})
	present, err := e.connect(attempt)
	if err != nil {
		e.wire.fail(err)
		return nil, false, err
	}
	return e, present, nil
}

// refusedError is a CONNACK that says no.
type refusedError struct{ code byte }

var connackWords = map[byte]string{
	1: "protocol version not accepted",
	2: "client id refused",
	3: "server unavailable",
	4: "bad user name or password",
	5: "not authorised",
}

func (e *refusedError) Error() string {
	words := connackWords[e.code]
	if words == "" {
		words = "refused"
	}
	return fmt.Sprintf("upstream answers CONNECT with %d: %s", e.code, words)
}

// connect sends CONNECT and waits for CONNACK.
func (e *epoch) connect(ctx context.Context) (sessionPresent bool, err error) {
	o := e.options(ctx)
	if name := e.link.cfg.StatusTopic; name != "" {
		o.SetBinaryWill(name, e.link.statusBody(false), 1, true)
	}
	return e.connectWith(ctx, o)
}

func (e *epoch) connectWith(ctx context.Context, o *mqtt.ClientOptions) (sessionPresent bool, err error) {
	e.client = mqtt.NewClient(o)
	token := e.client.Connect().(*mqtt.ConnectToken)
	select {
	case <-token.Done():
	case <-ctx.Done():
		e.wire.fail(fmt.Errorf("no CONNACK from %s: %w", e.node, ctx.Err()))
		<-token.Done()
	}
	if code := e.wire.refusal(); code != 0 {
		return false, &refusedError{code}
	}
	if err := token.Error(); err != nil {
		if code := token.ReturnCode(); connackWords[code] != "" {
			return false, &refusedError{code}
		}
		return false, err
	}
	return token.SessionPresent(), nil
}

// options are those of broker-storage.md 3.5. OrderMatters keeps commands in
// order; arrive never blocks a living epoch for longer than its limits say.
func (e *epoch) options(ctx context.Context) *mqtt.ClientOptions {
	cfg := e.link.cfg
	o := mqtt.NewClientOptions()
	o.AddBroker("tcp://" + e.node.Address())
	o.SetClientID(cfg.ClientID).SetUsername(cfg.Username).SetPassword(cfg.Password)
	o.SetProtocolVersion(4).SetCleanSession(false)
	o.SetAutoReconnect(false).SetConnectRetry(false).SetResumeSubs(false)
	o.SetStore(mqtt.NewOrderedMemoryStore()).SetOrderMatters(true).SetAutoAckDisabled(true)
	o.SetKeepAlive(cfg.KeepAlive).SetPingTimeout(pingTimeout).SetWriteTimeout(writeTimeout)
	if deadline, ok := ctx.Deadline(); ok {
		o.SetConnectTimeout(time.Until(deadline))
	}
	o.SetCustomOpenConnectionFn(e.once)
	o.SetDefaultPublishHandler(e.arrive)
	return o
}

// serve runs the epoch: subscribes, tells the house, and waits for the end.
func (e *epoch) serve(ctx context.Context, sessionPresent bool) event {
	l := e.link
	l.step(event{kind: evAccepted})
	e.running.Go(e.send)
	e.running.Go(e.acknowledge)
	refused, loss := e.subscribe(ctx, e.subs)
	l.complain(refused)
	if loss.err != nil {
		return loss
	}
	l.step(event{kind: evSubscribed})
	e.resume(sessionPresent)
	l.step(event{kind: evResumed})
	for {
		select {
		case <-e.wire.dead:
			return e.judge()
		case <-l.added:
			if loss := e.extend(ctx); loss.err != nil {
				return loss
			}
		case <-ctx.Done():
			e.farewell()
			return event{kind: evLost, err: errStopped}
		}
	}
}

// extend subscribes to what was added since the epoch began.
func (e *epoch) extend(ctx context.Context) event {
	l := e.link
	l.mu.Lock()
	additions := l.additions
	l.additions = nil
	var subs []subscription
	for _, a := range additions {
		subs = append(subs, a.subscription)
	}
	e.subs = append(e.subs, subs...)
	l.mu.Unlock()
	refused, loss := e.subscribe(ctx, subs)
	if len(refused) > 0 {
		l.complain(refused)
	}
	for _, a := range additions {
		if loss.err == nil && !slices.Contains(refused, a.filter) {
			a.standing()
		}
	}
	return loss
}

// subscribe sends filters, in as many SUBSCRIBEs as the profile asks for.
func (e *epoch) subscribe(ctx context.Context, subs []subscription) (refused []string, loss event) {
	size := e.link.profile.MaxFilters
	if size == 0 {
		size = filtersMax
	}
	batch := make(map[string]byte)
	flush := func() event {
		if len(batch) == 0 {
			return event{}
		}
		no, loss := e.subscribeBatch(ctx, batch)
		refused = append(refused, no...)
		clear(batch)
		return loss
	}
	for _, s := range subs {
		if _, known := batch[s.filter]; !known && len(batch) == size {
			if loss := flush(); loss.err != nil {
				return refused, loss
			}
		}
		batch[s.filter] = max(batch[s.filter], s.qos)
	}
	loss = flush()
	return refused, loss
}

func (e *epoch) subscribeBatch(ctx context.Context, batch map[string]byte) (refused []string, loss event) {
	names := strings.Join(sortedKeys(batch), " ")
	token := e.client.SubscribeMultiple(batch, nil).(*mqtt.SubscribeToken)
	timer := time.NewTimer(subackTimeout)
	defer timer.Stop()
	select {
	case <-token.Done():
	case <-e.wire.dead:
		err := fmt.Errorf("connection closed at SUBSCRIBE to %s (denied by the upstream's policy?): %w", names, e.wire.why)
		return nil, e.suspect(err, names)
	case <-timer.C:
		return nil, event{kind: evLost, err: fmt.Errorf("no SUBACK for %s within %v", names, subackTimeout)}
	case <-ctx.Done():
		return nil, event{kind: evLost, err: errStopped}
	}
	if err := token.Error(); err != nil {
		return nil, event{kind: evLost, err: fmt.Errorf("subscribe to %s: %w", names, err)}
	}
	for filter, granted := range token.Result() {
		if granted > 2 {
			refused = append(refused, filter)
		}
	}
	return refused, event{}
}

// complain records filters that the upstream refused: the link is online, and
// not well.
func (l *Link) complain(refused []string) {
	var complaint error
	if len(refused) > 0 {
		complaint = fmt.Errorf("upstream refuses the subscription to %s", strings.Join(refused, " "))
		l.log.Warn("uplink subscription refused", "topic", strings.Join(refused, " "))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.complaint = complaint
}

// resume opens the epoch for messages, tells the house and publishes the status.
func (e *epoch) resume(sessionPresent bool) {
	l := e.link
	l.session = "resumed"
	if !sessionPresent {
		l.session = "new"
		l.statusEpoch++
	}
	l.statusEpoch = max(l.statusEpoch, 1)
	l.mu.Lock()
	l.epoch = e
	watchers := l.onOnline
	l.mu.Unlock()
	e.told = true
	for _, f := range watchers {
		f(sessionPresent, l.statusEpoch)
	}
	if l.cfg.StatusTopic != "" {
		e.publish(l.cfg.StatusTopic, l.statusBody(true))
	}
}

// publish sends a retained message of the link itself and does not wait.
func (e *epoch) publish(name string, body []byte) {
	done := func(err error) {
		if err != nil {
			e.link.log.Debug("uplink status not published", "topic", name, "err", err)
		}
	}
	if err := e.out.add(&parcel{m: Outgoing{Topic: name, Payload: body, QoS: 1, Retain: true}, done: done}); err != nil {
		done(err)
	}
}

// statusBody is the content of the status topic (shadow-sync.md 2.6).
func (l *Link) statusBody(online bool) []byte {
	session := l.session
	if session == "" {
		session = "new"
	}
	body, err := json.Marshal(struct {
		Online  bool   `json:"online"`
		Epoch   uint64 `json:"epoch"`
		Session string `json:"session"`
		Since   int64  `json:"since"`
	}{online, l.statusEpoch, session, l.clk.Now().UnixMilli()})
	if err != nil {
		panic(fmt.Sprintf("uplink: status body: %v", err))
	}
	return body
}

// farewell publishes the status and disconnects, so that no will is sent.
func (e *epoch) farewell() {
	e.link.mu.Lock()
	e.link.epoch = nil
	e.link.mu.Unlock()
	if name := e.link.cfg.StatusTopic; name != "" {
		published := make(chan struct{})
		p := &parcel{m: Outgoing{Topic: name, Payload: e.link.statusBody(false), QoS: 1, Retain: true}, done: func(error) { close(published) }}
		if e.out.first(p) == nil {
			timer := time.NewTimer(farewellWithin)
			defer timer.Stop()
			select {
			case <-published:
			case <-timer.C:
			case <-e.wire.dead:
			}
		}
	}
	e.client.Disconnect(uint(quiesce.Milliseconds()))
}

// close ends the epoch: no more messages, every open one gets its error, then
// the house hears of it.
func (e *epoch) close(why error) {
	l := e.link
	l.mu.Lock()
	l.epoch = nil
	watchers := l.onOffline
	l.mu.Unlock()
	e.wire.fail(why)
	for _, p := range e.out.close() {
		l.figures.count(l.cfg.Name, ErrEpochEnded, 0)
		p.done(ErrEpochEnded)
	}
	if !e.told {
		return
	}
	for _, f := range watchers {
		f(why)
	}
}

// judge says why the connection ended. A close by the other side right after a
// publish that is still open is suspected to be a policy's refusal.
func (e *epoch) judge() event {
	err := e.wire.why
	if !byPeer(err) {
		return event{kind: evLost, err: err}
	}
	name, sent, open := e.out.oldest()
	if !open || e.link.clk.Up()-sent > suspectWithin {
		return event{kind: evLost, err: fmt.Errorf("upstream closed the connection: %w", err)}
	}
	return e.suspect(fmt.Errorf("upstream closed the connection right after a publish to %q (denied by its policy?): %w", name, err), name)
}

func (e *epoch) suspect(err error, subject string) event {
	if !byPeer(e.wire.why) {
		return event{kind: evLost, err: err}
	}
	return event{kind: evLost, class: lossDenial, err: err, subject: subject}
}

// byPeer reports whether the other side ended the connection.
func byPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || isCloseFrame(err)
}

// once hands the open connection to paho.
func (e *epoch) once(_ *mqttURL, _ mqtt.ClientOptions) (net.Conn, error) { return e.wire, nil }
