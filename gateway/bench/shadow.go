package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

const (
	shadowThings = 200
	shadowBytes  = 1024
	// shadowWindow is what is pipelined: two updates of each thing.
	shadowWindow = 2 * shadowThings
)

// shadow measures the shadow service through MQTT: how many durable updates it
// takes, how long one waits among others, and how it starts with many.
func (b *bench) shadow(ctx context.Context) error {
	for _, cell := range []func(context.Context) error{b.shadowUpdates, b.shadowWaits, b.shadowMany} {
		if err := cell(ctx); err != nil {
			return err
		}
	}
	return nil
}

// shadowTarget starts a gateway, or the durable half of one when commits are to
// be slowed; slowed ends the names of its cells.
func (b *bench) shadowTarget(ctx context.Context) (t *target, slowed string, err error) {
	if b.cfg.CommitDelay > 0 && b.cfg.Against == "" {
		t, err = b.durableTarget(ctx, b.cfg.CommitDelay, "strict")
		return t, "/" + b.cfg.CommitDelay.String(), err
	}
	t, err = b.subject(ctx, setup{yaml: "shadow: {max_in_flight: 0}\n"})
	return t, "", err
}

// shadowUpdates pipelines updates of many things and counts what was accepted,
// which means durable.
func (b *bench) shadowUpdates(ctx context.Context) (err error) {
	t, slowed, err := b.shadowTarget(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.stop(false)) }()
	_, err = b.alone(ctx, "update/200/1024"+slowed, t, []bar{most(lost, 0), most("rejected", 0), least(rate, 5000)}, func(t *target) (Figures, error) {
		return b.shadowRound(ctx, t)
	})
	return err
}

func (b *bench) shadowRound(ctx context.Context, t *target) (Figures, error) {
	prefix := b.next("thing")
	app, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: prefix + "-app"})
	if err != nil {
		return nil, err
	}
	defer app.Close()
	for _, answer := range []string{"accepted", "rejected"} {
		if err := app.Subscribe("$aws/things/+/shadow/update/"+answer, 0); err != nil {
			return nil, err
		}
	}
	u := &updates{things: shadowThings, prefix: prefix, conn: app, fill: strings.Repeat("x", shadowBytes)}
	m := meter{t: t}
	m.begin()
	f, err := u.run(ctx, b.cfg.Duration)
	if m.end(); err != nil {
		return nil, err
	}
	if m.known && u.accepted > 0 {
		f[cpu] = float64(m.used.Nanoseconds()) / 1e3 / float64(u.accepted)
	}
	return f, nil
}

// updates is one client that updates its things in turn and hears the answers.
type updates struct {
	things                   int
	prefix, fill             string
	conn                     *load.Conn
	sent, accepted, rejected int64
}

// run keeps the window full until the time is over, then waits for the rest.
func (u *updates) run(ctx context.Context, d time.Duration) (Figures, error) {
	start := time.Now()
	last := start
	for ctx.Err() == nil {
		for open := time.Since(start) < d; open && u.sent-u.accepted-u.rejected < shadowWindow; {
			u.update()
		}
		if u.sent == u.accepted+u.rejected {
			break
		}
		u.conn.Until(time.Now().Add(answerMax))
		if err := u.hear(); errors.Is(err, os.ErrDeadlineExceeded) {
			break
		} else if err != nil {
			return nil, err
		}
		last = time.Now()
	}
	return Figures{
		rate: float64(u.accepted) / last.Sub(start).Seconds(), "rejected": float64(u.rejected),
		lost: float64(u.sent - u.accepted - u.rejected),
	}, ctx.Err()
}

// update sends one reported state of about shadowBytes.
func (u *updates) update() {
	thing := fmt.Sprintf("%s-%d", u.prefix, u.sent%int64(u.things))
	head := fmt.Sprintf(`{"state":{"reported":{"n":%d,"text":"`, u.sent)
	body := head + u.fill[:shadowBytes-len(head)-4] + `"}}}`
	u.sent++
	u.conn.Publish("$aws/things/"+thing+"/shadow/update", 1, uint16(u.sent%65535+1), []byte(body))
}

// hear takes one packet.
func (u *updates) hear() error {
	packet, err := u.conn.Read()
	if err != nil || packet.Type != load.Publish {
		return err
	}
	name, _, _, err := packet.Message(u.conn.Level())
	if err != nil {
		return err
	}
	if bytes.HasSuffix(name, []byte("/accepted")) {
		u.accepted++
	} else {
		u.rejected++
	}
	return nil
}
