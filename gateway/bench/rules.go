package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

// filterYAML is a rule that looks into every message and never fires.
const filterYAML = `rules: [{name: filter, sql: "SELECT temperature FROM 'rules/+' WHERE temperature > 24.5 AND status = 'ok'", actions: [{republish: {topic: never}}]}]
`

// reading is a payload of about 300 bytes, as the filter expects it.
const reading = `{"device":"climate-1","site":"hall-7","ts":1732456789123,"temperature":21.5,"humidity":41.25,"pressure":1013.25,` +
	`"battery":{"voltage":3.71,"percent":87,"charging":false},"gps":{"lat":52.520008,"lon":13.404954,"alt":34},"tags":["indoor","east","second-floor"],"status":"ok","firmware":"2.14.3"}`

// rules measures what one rule whose filter fails costs a publisher: the same
// gateway with the rule and without, in turns.
func (b *bench) rules(ctx context.Context) (err error) {
	if b.cfg.Against != "" {
		return nil // no other broker has these rules
	}
	var targets []*target
	for _, s := range []struct{ name, yaml string }{{"filter", filterYAML}, {"none", ""}} {
		t, err := b.subject(ctx, setup{yaml: s.yaml})
		if err != nil {
			return err
		}
		t.name = s.name
		targets = append(targets, t)
		defer func() { err = errors.Join(err, t.stop(false)) }()
	}
	for qos := range byte(2) {
		bars := []bar{least(rate, .9).ofPeer(), most(lost, 0)}
		if _, err := b.compare(ctx, fmt.Sprintf("filter/qos%d", qos), targets, bars, func(t *target) (Figures, error) {
			return b.publish(ctx, t, qos)
		}); err != nil {
			return err
		}
	}
	return nil
}

// publish has one client send readings to another, windowMessages on their way.
func (b *bench) publish(ctx context.Context, t *target, qos byte) (Figures, error) {
	name := "rules/" + b.next("t")
	app, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: b.next("app")})
	if err != nil {
		return nil, err
	}
	defer app.Close()
	if err := app.Subscribe(name, qos); err != nil {
		return nil, err
	}
	device, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: b.next("device")})
	if err != nil {
		return nil, err
	}
	defer device.Close()
	free, heard := make(chan struct{}, windowMessages), make(chan int, 1)
	for range windowMessages {
		free <- struct{}{}
	}
	go func() { heard <- hear(app, free) }()
	acks := make(chan struct{})
	go func() { // acknowledgements of the gateway
		defer close(acks)
		for {
			if _, err := device.Read(); err != nil {
				return
			}
		}
	}()
	m := meter{t: t}
	m.begin()
	start, sent := time.Now(), 0
	for time.Since(start) < b.cfg.Duration && ctx.Err() == nil {
		select {
		case <-free:
		default:
			device.Flush()
			<-free
		}
		sent++
		device.Publish(name, qos, uint16(sent%65535+1), []byte(reading))
	}
	device.Flush()
	for range windowMessages {
		select {
		case <-free:
		case <-time.After(answerMax):
		}
	}
	took := time.Since(start)
	m.end()
	app.Close()
	device.Close()
	<-acks
	f := Figures{rate: float64(sent) / took.Seconds(), lost: float64(sent - <-heard)}
	if m.known {
		f[cpu] = float64(m.used.Microseconds()) / float64(sent)
	}
	return f, nil
}

// hear counts messages until the connection ends, and frees a place for each.
func hear(c *load.Conn, free chan<- struct{}) (n int) {
	for {
		packet, err := c.Read()
		if err != nil {
			return n
		}
		if packet.Type != load.Publish {
			continue
		}
		if _, id, _, err := packet.Message(c.Level()); err == nil && packet.QoS() == 1 {
			c.Ack(load.Puback, id)
		}
		n++
		free <- struct{}{}
	}
}
