package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidehold/tidehold/gateway/bench/load"
)

// besideStuck is the figure of stuck: the rate beside a subscriber that stopped
// reading, as a share of the rate without it.
const besideStuck = "of_undisturbed"

// stuck lets one subscriber of the same topic stop reading, without keepalive,
// and measures the others.
func (b *bench) stuck(ctx context.Context) (err error) {
	targets, stop, err := b.pair(ctx, setup{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for qos := range byte(2) {
		bars := append(flawless(qos), least(besideStuck, .95))
		if _, err := b.compare(ctx, fmt.Sprintf("qos%d", qos), targets, bars, func(t *target) (Figures, error) {
			plan := b.plan(t, shapes[0], qos, usualSize)
			before, err := b.flow(ctx, t, plan)
			if err != nil {
				return nil, err
			}
			plan.Prefix = b.next("bench")
			silent, err := load.Dial(ctx, load.Options{Address: t.address, ClientID: plan.Prefix + "-stuck", SmallBuffers: true})
			if err != nil {
				return nil, err
			}
			defer silent.Drop()
			if err := silent.Subscribe(plan.Prefix+"/+", qos); err != nil {
				return nil, err
			}
			f, err := b.flow(ctx, t, plan)
			if err == nil && before[rate] > 0 {
				f[besideStuck] = f[rate] / before[rate]
			}
			return f, err
		}); err != nil {
			return err
		}
	}
	return nil
}
