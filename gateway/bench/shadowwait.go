package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

const (
	// loadEvery paces the updates beside which single requests are timed.
	loadEvery = time.Millisecond
	// manyShadows is a large site; manyGets are read of it cold.
	manyShadows = 100_000
	manyGets    = 500
)

// shadowWaits times a single get and a single update while others make 1,000
// updates a second.
func (b *bench) shadowWaits(ctx context.Context) (err error) {
	t, slowed, err := b.shadowTarget(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.stop(false)) }()
	_, err = b.alone(ctx, "single/1000"+slowed, t, []bar{most("get_p99_ms", 5), most("update_p99_ms", 5), least(rate, 950)}, func(t *target) (Figures, error) {
		return b.waitRound(ctx, t)
	})
	return err
}

func (b *bench) waitRound(ctx context.Context, t *target) (Figures, error) {
	prefix := b.next("thing")
	others, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: prefix + "-others"})
	if err != nil {
		return nil, err
	}
	defer others.Close()
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Duration)
	defer cancel()
	loaded := make(chan int64, 1)
	go func() {
		loaded <- pace(ctx, &updates{things: shadowThings, prefix: prefix, conn: others, fill: strings.Repeat("x", shadowBytes)})
	}()
	go drainAll(others)
	p, err := b.probe(ctx, t, prefix+"-single")
	if err != nil {
		return nil, err
	}
	defer p.conn.Close()
	var gets, sets load.Histogram
	for ctx.Err() == nil {
		if err := errors.Join(p.time("update", p.body, &sets), p.time("get", nil, &gets)); err != nil {
			return nil, err
		}
	}
	return Figures{
		rate: float64(<-loaded) / b.cfg.Duration.Seconds(), "get_p99_ms": ms(gets.Quantile(.99)), "update_p99_ms": ms(sets.Quantile(.99)),
		"get_p50_ms": ms(gets.Quantile(.5)), "update_p50_ms": ms(sets.Quantile(.5)),
	}, nil
}

// pace sends an update every loadEvery, late ones at once, until ctx ends.
func pace(ctx context.Context, u *updates) int64 {
	for start := time.Now(); ctx.Err() == nil; time.Sleep(loadEvery) {
		for due := int64(time.Since(start) / loadEvery); u.sent < due; {
			u.update()
		}
		u.conn.Flush()
	}
	return u.sent
}

// drainAll reads until the connection ends.
func drainAll(c *load.Conn) {
	for {
		if _, err := c.Read(); err != nil {
			return
		}
	}
}

// probe is a client that has one request on its way.
type probe struct {
	conn  *load.Conn
	thing string
	body  []byte
	id    uint16
}

func (b *bench) probe(ctx context.Context, t *target, thing string) (*probe, error) {
	conn, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: thing})
	if err != nil {
		return nil, err
	}
	for _, answer := range []string{"get/accepted", "update/accepted"} {
		if err := conn.Subscribe("$aws/things/+/shadow/"+answer, 0); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return &probe{conn: conn, thing: thing, body: []byte(`{"state":{"reported":{"text":"` + strings.Repeat("x", shadowBytes) + `"}}}`)}, nil
}

// time sends one request and waits for its answer.
func (p *probe) time(op string, body []byte, into *load.Histogram) error {
	p.id = p.id%65535 + 1
	request := "$aws/things/" + p.thing + "/shadow/" + op
	start := time.Now()
	p.conn.Publish(request, 1, p.id, body)
	p.conn.Until(start.Add(answerMax))
	for {
		packet, err := p.conn.Read()
		if err != nil {
			return fmt.Errorf("%s of %s: %w", op, p.thing, err)
		}
		if packet.Type != load.Publish {
			continue
		}
		name, _, _, err := packet.Message(p.conn.Level())
		if err != nil {
			return err
		}
		if string(name) == request+"/accepted" {
			into.Add(time.Since(start))
			return nil
		}
	}
}

// shadowMany fills a gateway with shadows, starts it again, and reads some that
// nobody has asked for since.
func (b *bench) shadowMany(ctx context.Context) error {
	if b.cfg.Against != "" {
		return nil // only our own gateway can be started again
	}
	many := manyShadows
	if b.cfg.Duration < time.Second {
		many = manyShadows / 100
	}
	where := setup{yaml: "shadow: {max_in_flight: 0}\n", dir: b.dir + "/many"}
	if err := b.fill(ctx, where, many); err != nil {
		return err
	}
	started := time.Now()
	t, err := b.subject(ctx, where)
	if err != nil {
		return err
	}
	up := time.Since(started)
	_, err = b.alone(ctx, fmt.Sprintf("many/%d", many), t, []bar{most("start_ms", 2000), most("get_p99_ms", 5)}, func(t *target) (Figures, error) {
		f, err := b.coldRound(ctx, t, many)
		if err == nil {
			f["start_ms"] = ms(up)
		}
		return f, err
	})
	return errors.Join(err, t.stop(false))
}

func (b *bench) fill(ctx context.Context, where setup, many int) (err error) {
	t, err := b.subject(ctx, where)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.stop(false)) }()
	conn, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: "fill"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Subscribe("$aws/things/+/shadow/update/accepted", 0); err != nil {
		return err
	}
	u := &updates{things: many, prefix: "many", conn: conn, fill: strings.Repeat("x", shadowBytes)}
	for u.accepted < int64(many) {
		for u.sent < int64(many) && u.sent-u.accepted < shadowWindow {
			u.update()
		}
		conn.Until(time.Now().Add(answerMax))
		if err := u.hear(); err != nil {
			return fmt.Errorf("fill with %d shadows: %w", many, err)
		}
	}
	return nil
}

func (b *bench) coldRound(ctx context.Context, t *target, many int) (Figures, error) {
	p, err := b.probe(ctx, t, "cold")
	if err != nil {
		return nil, err
	}
	defer p.conn.Close()
	before, known := t.memory()
	var gets load.Histogram
	for range manyGets {
		p.thing = fmt.Sprintf("many-%d", rand.IntN(many))
		if err := p.time("get", nil, &gets); err != nil {
			return nil, err
		}
	}
	f := Figures{"get_p50_ms": ms(gets.Quantile(.5)), "get_p99_ms": ms(gets.Quantile(.99))}
	if after, _ := t.memory(); known {
		f["start_mb"], f["memory_mb"] = float64(before)/1e6, float64(after)/1e6
	}
	return f, nil
}
