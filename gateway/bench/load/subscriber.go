package load

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// subscriber is one receiving client: one goroutine reads, acknowledges and
// checks.
type subscriber struct {
	run    *run
	number int
	conn   *Conn
	once   sync.Once

	fresh   []int64 // arrived since the last look at the socket, by publisher
	touched []int
	checks  []check
	latency Histogram
	last    time.Duration
	fail    error
}

func newSubscriber(r *run, number int) *subscriber {
	return &subscriber{run: r, number: number, fresh: make([]int64, r.Publishers), checks: make([]check, r.Publishers)}
}

func (s *subscriber) connect(ctx context.Context) (err error) {
	s.conn, err = Dial(ctx, Options{Address: s.run.Address, TLS: s.run.TLS, ClientID: fmt.Sprintf("%s-sub%d", s.run.Prefix, s.number)})
	if err != nil {
		return err
	}
	filter := s.run.Prefix + "/+"
	if s.run.Pair {
		filter = s.run.topic(s.number)
	}
	if err := s.conn.Subscribe(filter, s.run.QoS); err != nil {
		return err
	}
	s.conn.OnIdle(s.settle)
	return nil
}

func (s *subscriber) close() {
	if s.conn != nil {
		s.once.Do(s.conn.Close)
	}
}

// read takes messages until the connection ends.
func (s *subscriber) read() {
	for {
		packet, err := s.conn.Read()
		if err == nil {
			err = s.take(packet)
		}
		if err != nil {
			if !ended(err) {
				s.fail = fmt.Errorf("subscriber %d: %w", s.number, err)
			}
			s.settle()
			return
		}
	}
}

// take does the client's part of one packet.
func (s *subscriber) take(packet Packet) error {
	if packet.Type == Pubrel {
		s.conn.Ack(Pubcomp, packet.ID())
		return nil
	}
	if packet.Type != Publish {
		return nil
	}
	_, id, payload, err := packet.Message(s.conn.Level())
	if err != nil {
		return err
	}
	publisher, seq, due, ok := unstamp(payload)
	if !ok || publisher >= len(s.checks) {
		return fmt.Errorf("%w: a message without its stamp", ErrMalformed)
	}
	s.last = time.Since(s.run.start)
	s.latency.Add(s.last - due)
	s.checks[publisher].see(seq)
	if s.fresh[publisher]++; s.fresh[publisher] == 1 {
		s.touched = append(s.touched, publisher)
	}
	switch packet.QoS() {
	case 1:
		s.conn.Ack(Puback, id)
	case 2:
		s.conn.Ack(Pubrec, id)
	}
	return nil
}

// settle makes the arrivals of this batch known to their publishers.
func (s *subscriber) settle() {
	for _, i := range s.touched {
		p := s.run.publishers[i]
		p.delivered.Add(s.fresh[i])
		s.run.moved.Add(s.fresh[i])
		s.fresh[i] = 0
		p.progress()
	}
	s.touched = s.touched[:0]
}
