package load

import (
	"context"
	"errors"
	"os"
	"time"
)

// Drain takes the messages of publisher 0 that wait for a session, until want
// of them arrived, none came for stall, or limit is over, and gives what is
// missing as lost. It acknowledges QoS 1.
func Drain(ctx context.Context, c *Conn, want int64, limit, stall time.Duration) (*Outcome, error) {
	start := time.Now()
	var seen check
	var last time.Duration
	defer c.Until(time.Time{})
	for seen.distinct < want && time.Since(start) < limit && ctx.Err() == nil {
		c.Until(time.Now().Add(stall))
		packet, err := c.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, err
		}
		if packet.Type != Publish {
			continue
		}
		_, id, payload, err := packet.Message(c.level)
		if err != nil {
			return nil, err
		}
		if _, seq, _, ok := unstamp(payload); ok {
			seen.see(seq)
			last = time.Since(start)
		}
		if packet.QoS() == 1 {
			c.Ack(Puback, id)
		}
	}
	c.Flush()
	return &Outcome{
		Published: want, Delivered: seen.distinct, Lost: want - seen.distinct,
		Duplicated: seen.duplicated, Reordered: seen.reordered, Elapsed: last,
	}, ctx.Err()
}
