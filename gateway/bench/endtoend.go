package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

const (
	// endToEndRate is requests per second: far below every peak.
	endToEndRate = 200
	// answerMax is how long an answer may take before it is lost.
	answerMax = 5 * time.Second
)

// endToEndYAML is a rule that republishes what it hears.
const endToEndYAML = `shadow: {max_in_flight: 0}
rules: [{name: again, sql: "SELECT n FROM 'e2e/in/+' WHERE n >= 0", actions: [{republish: {topic: "e2e/out/${topic(3)}", qos: 1}}]}]
`

// exchange is a request whose answer carries the request's number.
type exchange struct {
	name, request, answer string
	// body makes a request; the answer has `"n":NUMBER` in it.
	body func(n int) string
}

// endToEnd measures from a device's publish to what another device hears,
// through the rules and through the shadow service.
func (b *bench) endToEnd(ctx context.Context) (err error) {
	if b.cfg.Against != "" {
		return nil // no other broker has these rules
	}
	t, err := b.subject(ctx, setup{yaml: endToEndYAML})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.stop(false)) }()
	for _, x := range []exchange{
		{"rule", "e2e/in/%s", "e2e/out/%s", func(n int) string { return fmt.Sprintf(`{"n":%d}`, n) }},
		{"delta", "$aws/things/%s/shadow/update", "$aws/things/%s/shadow/update/delta", func(n int) string {
			return fmt.Sprintf(`{"state":{"desired":{"n":%d}}}`, n)
		}},
	} {
		if _, err := b.alone(ctx, x.name, t, []bar{most(lost, 0)}, func(t *target) (Figures, error) {
			return b.exchange(ctx, t, x)
		}); err != nil {
			return err
		}
	}
	return nil
}

// exchange sends requests on time and times their answers.
func (b *bench) exchange(ctx context.Context, t *target, x exchange) (Figures, error) {
	thing := b.next("thing")
	app, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: thing + "-app"})
	if err != nil {
		return nil, err
	}
	defer app.Close()
	if err := app.Subscribe(fmt.Sprintf(x.answer, thing), 1); err != nil {
		return nil, err
	}
	device, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: thing + "-device"})
	if err != nil {
		return nil, err
	}
	defer device.Close()
	total := max(int(b.cfg.Duration.Seconds()*endToEndRate), 1)
	each := time.Second / endToEndRate
	start := time.Now()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for n := range total {
			time.Sleep(time.Until(start.Add(time.Duration(n) * each)))
			device.Publish(fmt.Sprintf(x.request, thing), 1, uint16(n%65535+1), []byte(x.body(n)))
			device.Flush()
		}
	}()
	var h load.Histogram
	for h.Count() < int64(total) {
		app.Until(start.Add(time.Duration(total)*each + answerMax))
		n, ok, err := readNumber(app)
		if err != nil {
			break // what is missing is lost
		}
		if ok {
			h.Add(time.Since(start) - time.Duration(n)*each)
		}
	}
	<-sent
	f := Figures{lost: float64(int64(total) - h.Count())}
	f.latency(&h)
	return f, device.Err()
}

// readNumber reads one packet; ok when it is a message with a number.
func readNumber(c *load.Conn) (n int, ok bool, err error) {
	packet, err := c.Read()
	if err != nil || packet.Type != load.Publish {
		return 0, false, err
	}
	_, id, payload, err := packet.Message(c.Level())
	if err != nil {
		return 0, false, err
	}
	if packet.QoS() == 1 {
		c.Ack(load.Puback, id)
	}
	_, after, found := bytes.Cut(payload, []byte(`"n":`))
	if !found {
		return 0, false, nil
	}
	digits := bytes.TrimLeft(after, " ")
	if end := bytes.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	n, err = strconv.Atoi(string(digits))
	return n, err == nil, nil
}
