package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// BodyBytesMax is the largest request body: AWS's publish limit.
const BodyBytesMax = 128 << 10

// requestID is the header that names an answer; SDKs show it in their errors.
const requestID = "X-Amzn-Requestid"

// headerWait is how long a client may take to send its request head.
const headerWait = 10 * time.Second

// Config says where to listen. An empty address means not at all.
type Config struct {
	// Socket is the path of the operator's Unix socket.
	Socket string
	// Control, Metrics and DataPlane are HOST:PORT.
	Control, Metrics, DataPlane string
	// DataPlaneTLS asks for a client certificate; without it there is no data
	// plane mouth.
	DataPlaneTLS *tls.Config
	// ControlTLS encrypts the control endpoint wherever others than this host can
	// reach it (contract section 4); nil there is an error.
	ControlTLS *tls.Config
	// Handed gives data plane connections that another listener has accepted and
	// secured; nil is none.
	Handed net.Listener
	// Listen opens sockets; nil means the host's network.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
}

// Server serves the three mouths.
type Server struct {
	cfg      Config
	services Services
	log      *slog.Logger
	panics   *metrics.Counter
	requests *metrics.Counter
	mouths   []mouth
}

type mouth struct {
	name     string
	listener net.Listener
	server   *http.Server
}

// New builds a server; nothing listens before Listen.
func New(cfg Config, s Services, m *metrics.Registry, log *slog.Logger) *Server {
	if cfg.Listen == nil {
		cfg.Listen = (&net.ListenConfig{}).Listen
	}
	return &Server{
		cfg: cfg, services: s, log: log,
		panics:   m.Counter("http_panics_total", "HTTP requests that panicked and were answered with 500."),
		requests: m.Counter("http_requests_total", "HTTP requests by mouth and status class.", "mouth", "class"),
	}
}

// Listen opens all mouths. A mouth that cannot be opened is an error that
// names it; those opened before stay open until Run ends.
func (s *Server) Listen(ctx context.Context) error {
	if s.cfg.Socket != "" {
		if err := s.open(ctx, "socket", "unix", s.cfg.Socket, s.operatorRoutes()); err != nil {
			return err
		}
	}
	var failed []error
	if s.cfg.Control != "" {
		failed = append(failed, s.open(ctx, "control", "tcp", s.cfg.Control, s.controlRoutes()))
	}
	if s.cfg.DataPlane != "" && s.cfg.DataPlaneTLS != nil {
		failed = append(failed, s.open(ctx, "data_plane", "tcp", s.cfg.DataPlane, s.deviceRoutes()))
	}
	if s.cfg.Handed != nil {
		s.mouths = append(s.mouths, s.mouth(handed, s.cfg.Handed, s.deviceRoutes()))
	}
	if s.cfg.Metrics != "" {
		failed = append(failed, s.open(ctx, "metrics", "tcp", s.cfg.Metrics, s.metricsRoutes()))
	}
	return errors.Join(failed...)
}

func (s *Server) open(ctx context.Context, name, network, address string, routes http.Handler) error {
	if network == "unix" {
		if err := clearSocket(address); err != nil {
			return err
		}
	}
	listener, err := s.cfg.Listen(ctx, network, address)
	if err != nil {
		return fmt.Errorf("http: listen %s on %s: %w (is another process there? see `ss -ltnp`, or change http.%s.bind)", name, address, err, name)
	}
	if network == "unix" {
		if err := os.Chmod(address, 0o660); err != nil {
			return errors.Join(fmt.Errorf("http: set the mode of socket %s: %w", address, err), listener.Close())
		}
	}
	if listener, err = s.secure(name, listener); err != nil {
		return err
	}
	s.mouths = append(s.mouths, s.mouth(name, listener, routes))
	return nil
}

// secure encrypts the mouths that need it.
func (s *Server) secure(name string, listener net.Listener) (net.Listener, error) {
	switch {
	case name == "data_plane":
		return tls.NewListener(listener, s.cfg.DataPlaneTLS), nil
	case name != "control" || onLoopback(listener.Addr()):
		return listener, nil
	case s.cfg.ControlTLS == nil:
		return nil, errors.Join(fmt.Errorf("http: control on %s has no certificate; bind it to 127.0.0.1", listener.Addr()), listener.Close())
	}
	return tls.NewListener(listener, s.cfg.ControlTLS), nil
}

// onLoopback reports whether only this host reaches an address. It is asked of
// the open socket: a name in the configuration may stand for any address.
func onLoopback(a net.Addr) bool {
	open, err := netip.ParseAddrPort(a.String())
	return err == nil && open.Addr().Unmap().IsLoopback()
}

// handed is the mouth of connections from elsewhere: it has no address.
const handed = "handed"

func (s *Server) mouth(name string, listener net.Listener, routes http.Handler) mouth {
	return mouth{name, securedListener{listener}, &http.Server{
		Handler: s.guard(name, tellTLS(routes)), ConnContext: rememberConn, ReadHeaderTimeout: headerWait, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}}
}

// clearSocket removes a socket that nobody serves any more. A living one is
// another gateway's: an error.
func clearSocket(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("http: socket %s is served by another gateway; stop it, or give --socket another path", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("http: remove the dead socket %s: %w", path, err)
	}
	return nil
}

// Addresses gives the name and address of each open mouth.
func (s *Server) Addresses() map[string]string {
	all := make(map[string]string)
	for _, m := range s.mouths {
		if m.name != handed {
			all[m.name] = m.listener.Addr().String()
		}
	}
	return all
}

// Run serves until ctx ends, then lets running requests finish for 2 s.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, m := range s.mouths {
		group.Go(func() error {
			if err := m.server.Serve(m.listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("http: serve %s: %w", m.name, err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if m.server.Shutdown(end) != nil {
				m.server.Close() // streams do not end by themselves
			}
			return nil
		})
	}
	return group.Wait()
}

// guard counts requests and turns a panic into a 500 for this request alone.
func (s *Server) guard(name string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		w.Header().Set(requestID, s.services.IDs.UUID())
		defer func() {
			if p := recover(); p != nil {
				s.panics.Inc()
				s.log.Error("http request panicked", "path", r.URL.Path, "err", p, "stack", string(debug.Stack()))
				writeError(seen, iot.Errorf(iot.Internal, "Internal service failure"))
			}
			s.requests.Inc(name, fmt.Sprintf("%dxx", seen.status/100))
		}()
		next.ServeHTTP(seen, r)
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the status.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// readBody reads a bounded body.
func readBody(r *http.Request, most int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err != nil {
		return nil, iot.Errorf(iot.InvalidRequest, "request body: %v", err)
	}
	if int64(len(body)) > most {
		return nil, iot.Errorf(iot.TooLarge, "The payload exceeds the maximum size allowed")
	}
	return body, nil
}
