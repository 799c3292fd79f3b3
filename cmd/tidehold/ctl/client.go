// Package ctl holds the client verbs of the command line. They speak the same
// HTTP API as any SDK, over the gateway's Unix socket: whatever `tidehold` can
// do, a program can do.
package ctl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Exit codes (operations.md section 5).
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitNotFound    = 3
	ExitDenied      = 4
	ExitUnreachable = 5
	ExitUnhealthy   = 6
)

// UsageError is a wrong command line.
type UsageError struct{ Err error }

// Error gives the cause.
func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e UsageError) Unwrap() error { return e.Err }

// errUnreachable means no gateway answers.
var errUnreachable = errors.New("no gateway answers")

// errUnhealthy means the gateway says that it failed.
var errUnhealthy = errors.New("the gateway has failed; see the components above")

// ExitCode maps an error to the exit code of the process.
func ExitCode(err error) int {
	var usage UsageError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		return ExitUsage
	case errors.Is(err, errUnreachable):
		return ExitUnreachable
	case errors.Is(err, errUnhealthy), errors.Is(err, errDamaged):
		return ExitUnhealthy
	}
	switch iot.CodeOf(err) {
	case iot.NotFound:
		return ExitNotFound
	case iot.Forbidden, iot.Unauthorized:
		return ExitDenied
	}
	return ExitFailed
}

// DemoDir is where `tidehold demo` of this user keeps its state by default.
func DemoDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("tidehold-demo-%d", os.Getuid()))
}

// findSocket picks the socket: the flag, $TIDEHOLD_SOCKET, the service's, a
// running demo's (contract section 3).
func findSocket(flag string) string {
	if flag != "" {
		return flag
	}
	if env := os.Getenv("TIDEHOLD_SOCKET"); env != "" {
		return env
	}
	const service = "/run/tidehold/ctl.sock"
	if _, err := os.Stat(service); err == nil {
		return service
	}
	for _, dir := range demoDirs() {
		socket := filepath.Join(dir, "ctl.sock")
		if conn, err := net.DialTimeout("unix", socket, time.Second); err == nil {
			conn.Close()
			return socket
		}
	}
	return service
}

// demoDirs are the default folder of a demo and those it takes when that one
// is taken.
func demoDirs() []string {
	others, _ := filepath.Glob(DemoDir() + "-*")
	return append([]string{DemoDir()}, others...)
}

// client asks one gateway.
type client struct {
	socket string
	http   *http.Client
}

func newClient(socket string) *client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", socket)
	}
	return &client{socket, &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 60 * time.Second}}
}

// ask sends one request and gives the body of the answer. A refusal comes back
// as *iot.Error with the code of the status.
func (c *client) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	return c.askWith(ctx, method, path, body, nil)
}

// askWith is ask with headers.
func (c *client) askWith(ctx context.Context, method, path string, body []byte, headers map[string]string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://gateway"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("read the answer of the gateway: %w", err)
	}
	if resp.StatusCode >= 400 {
		return nil, refusal(resp.StatusCode, answer)
	}
	return answer, nil
}

func (c *client) unreachable(err error) error {
	return fmt.Errorf("%w at socket %s: %v (is `tidehold run` or `tidehold demo` running? --socket names another)", errUnreachable, c.socket, errors.Unwrap(err))
}

func refusal(status int, body []byte) error {
	var text struct{ Message string }
	if json.Unmarshal(body, &text) != nil || text.Message == "" {
		text.Message = fmt.Sprintf("the gateway answered %d %s", status, http.StatusText(status))
	}
	if name, is := unknownRule(status, text.Message); is {
		return iot.Errorf(iot.NotFound, "rule %q does not exist", name)
	}
	codes := map[int]iot.Code{
		400: iot.InvalidRequest, 401: iot.Unauthorized, 403: iot.Forbidden, 404: iot.NotFound, 409: iot.Conflict,
		413: iot.TooLarge, 415: iot.UnsupportedMedia, 429: iot.Throttled, 503: iot.Unavailable,
	}
	return iot.Errorf(codes[status], "%s", text.Message)
}

// unknownRule reads AWS's answer about a rule that does not exist: it calls that
// denied (http-api.md section 2), where operations.md section 5 tells people
// apart what is not there and what they may not. No other 401 has this sentence.
func unknownRule(status int, message string) (name string, is bool) {
	rest, is := strings.CutPrefix(message, "Access to topic rule '")
	if !is || status != http.StatusUnauthorized {
		return "", false
	}
	return strings.CutSuffix(rest, "' was denied")
}

// lineBytesMax is the longest line of a stream.
const lineBytesMax = 1 << 20

// follow reads a stream line by line until it ends, ctx does (nil), or each
// fails.
func (c *client) follow(ctx context.Context, path string, each func(line []byte) error) error {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://gateway"+path, nil)
	if err != nil {
		return err
	}
	endless := http.Client{Transport: c.http.Transport}
	resp, err := endless.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, lineBytesMax))
		if err != nil {
			return fmt.Errorf("read the answer of the gateway: %w", err)
		}
		return refusal(resp.StatusCode, answer)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		if err := each(lines.Bytes()); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return lines.Err()
}
