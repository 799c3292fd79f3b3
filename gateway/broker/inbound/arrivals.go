package inbound

import (
	"sync"
	"sync/atomic"

	"github.com/tidehold/tidehold/gateway/broker/keep"
)

// Arrivals are the exchanges whose messages are being accepted, by the mark in
// iot.Origin.Exchange. The zero value is ready.
type Arrivals struct {
	last atomic.Uint64
	open sync.Map // mark -> arrival
}

type arrival struct {
	in       *Exchanges
	exchange keep.Exchange
}

// Bring gives an exchange its mark, and what forgets it.
func (a *Arrivals) Bring(in *Exchanges, x keep.Exchange) (mark uint64, forget func()) {
	mark = a.last.Add(1)
	a.open.Store(mark, arrival{in, x})
	return mark, func() { a.open.Delete(mark) }
}

// Take gives the exchange of a mark once, to be put on disk with its message.
func (a *Arrivals) Take(mark uint64) keep.Exchange {
	if mark == 0 {
		return keep.Exchange{}
	}
	found, ok := a.open.LoadAndDelete(mark)
	if !ok {
		return keep.Exchange{}
	}
	x := found.(arrival)
	x.in.Keep(x.exchange.PacketID)
	return x.exchange
}
