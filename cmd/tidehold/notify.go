package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// supervisor is systemd, when it started us (sd_notify(3)). Without it every
// call does nothing.
type supervisor struct {
	socket   string
	watchdog time.Duration
}

func findSupervisor() supervisor {
	s := supervisor{socket: os.Getenv("NOTIFY_SOCKET")}
	if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil {
		s.watchdog = time.Duration(usec) * time.Microsecond
	}
	return s
}

func (s supervisor) tell(state string) error {
	if s.socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd at %s: %w", s.socket, err)
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}

// feed pings the watchdog three times per period, for as long as alive finds
// nothing wrong: a house that does not move is restarted.
func (s supervisor) feed(ctx context.Context, alive func() error, complain func(error)) {
	if s.socket == "" || s.watchdog <= 0 {
		return
	}
	tick := time.NewTicker(s.watchdog / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := alive(); err != nil {
			complain(fmt.Errorf("watchdog is not fed: %w", err))
			continue
		}
		if err := s.tell("WATCHDOG=1"); err != nil {
			complain(err)
		}
	}
}
