package wire

import (
	"errors"
	"net"
	"time"
)

const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// Serve accepts connections until ln is closed. Any other error of Accept (no
// file descriptors, a peer gone before it was accepted) is reported and tried
// again after a growing pause: a listener never dies of it.
func Serve(ln net.Listener, take func(net.Conn), report func(error)) {
	pause := acceptPauseMin
	for {
		c, err := ln.Accept()
		switch {
		case err == nil:
			pause = acceptPauseMin
			take(c)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			report(err)
			time.Sleep(pause)
			pause = min(2*pause, acceptPauseMax)
		}
	}
}
