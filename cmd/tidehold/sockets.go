package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// firstSocket is the first descriptor that systemd passes (sd_listen_fds(3)).
const firstSocket = 3

// inheritedSockets are the listening sockets that systemd opened for this
// process, by name. Without systemd there are none.
func inheritedSockets() (map[string][]net.Listener, error) {
	count, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	sockets := make(map[string][]net.Listener)
	for i := range count {
		name := "unknown" // as systemd calls a socket without name
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		file := os.NewFile(uintptr(firstSocket+i), name)
		socket, err := net.FileListener(file) // a copy that is closed on exec
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("socket %q of systemd is no listening socket: %w", name, err)
		}
		sockets[name] = append(sockets[name], socket)
	}
	return sockets, nil
}
