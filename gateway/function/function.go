// Package function runs the gateway's local functions, the counterpart of AWS
// Lambda (rules.md section 8): an executable that reads one JSON text a line
// and answers with one, kept warm; or an HTTP endpoint on loopback.
//
// What it promises. One process serves one call at a time, in the order in
// which the calls got hold of it; a function has Instances of them, and at most
// WaitingMax calls wait for one. A call ends at its context's deadline or at
// the function's Timeout, whichever comes first: a process that has not
// answered by then is killed with everything it started. Event and answer have
// at most PayloadMax bytes. A process gets the memory Function.Memory allows
// (RLIMIT_DATA, set before its first event), no core dump, few files, and an
// environment of its own that holds nothing of the daemon's. A process that
// fails is started again by a later call, after a pause that doubles up to
// BackoffMax; calls in the pause fail at once.
//
// Invoke blocks its caller for as long as the call takes and may be called
// from any goroutine. Run brackets the processes: none outlives it, and none
// is started outside it.
package function

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
)

// Limits of functions (rules.md section 8).
const (
	PayloadMax   = 6 << 20          // bytes of an event or an answer
	TimeoutMax   = 60 * time.Second // of any call
	WaitingMax   = 100              // calls that wait for one function
	BackoffMax   = 30 * time.Second // between the starts of a failing process
	InstancesMax = 16               // processes of one function

	backoffMin    = 100 * time.Millisecond
	defaultMemory = 128 << 20
	defaultIdle   = 5 * time.Minute
)

// nameForm is AWS's form of a function's name.
var nameForm = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// Function is one configured function: Command or URL must be given. Every
// other zero value means its default.
type Function struct {
	Name string
	// Command is an executable with its arguments.
	Command []string
	// Dir is the working directory of the process, `/` by default.
	Dir string
	// Env is added to the process's small environment.
	Env map[string]string
	// URL is an endpoint on loopback that takes the event by POST.
	URL string
	// Instances is how many calls may run at once, 1 by default.
	Instances int
	// Memory bounds the bytes of data of one process, 128 MiB by default.
	Memory int64
	// Timeout bounds a call, 60 s by default and at most.
	Timeout time.Duration
	// Idle is how long an unused process is kept, 5 min by default.
	Idle time.Duration
	// Once starts a process for every call, with the call's context in its
	// environment; without it the process is kept warm.
	Once bool
	// Envelope sends {"event":…,"context":{…}} instead of the event alone.
	Envelope bool
}

// Config is what a Runner needs to know.
type Config struct {
	Functions []Function
	// Dial reaches endpoints; nil is the host's network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Call is one invocation.
type Call struct {
	// Function is a name, or an ARN that holds it before the optional alias.
	Function string
	// Event is a JSON text.
	Event []byte
	// The context of the call.
	Rule, Topic, TraceID, ClientID string
}

// Runner holds the functions.
type Runner struct {
	functions map[string]*pool
	log       *slog.Logger

	calls    *metrics.Counter
	duration *metrics.Histogram

	mu      sync.Mutex
	running bool
	// alive is held by every process and every call; Run waits for it.
	alive sync.WaitGroup
	stop  context.Context
}

// New checks the functions. It starts none.
func New(cfg Config, m *metrics.Registry, log *slog.Logger) (*Runner, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &Runner{
		functions: make(map[string]*pool), log: log,
		calls:    m.Counter("function_calls_total", "Calls of local functions.", "function", "result"),
		duration: m.Histogram("function_duration_seconds", "Time a call of a local function took.", []float64{.001, .005, .02, .1, .5, 2, 10, 60}, "function"),
	}
	for _, f := range cfg.Functions {
		f = f.withDefaults()
		if err := f.check(); err != nil {
			return nil, err
		}
		if r.functions[f.Name] != nil {
			return nil, iot.Errorf(iot.InvalidRequest, "function %q is given twice", f.Name)
		}
		r.functions[f.Name] = newPool(r, f, cfg.Dial)
	}
	return r, nil
}

// Check reports why New would refuse f.
func Check(f Function) error { return f.withDefaults().check() }

func (f Function) withDefaults() Function {
	if f.Instances == 0 {
		f.Instances = 1
	}
	if f.Memory == 0 {
		f.Memory = defaultMemory
	}
	if f.Timeout == 0 {
		f.Timeout = TimeoutMax
	}
	if f.Idle == 0 {
		f.Idle = defaultIdle
	}
	if f.Dir == "" {
		f.Dir = "/"
	}
	return f
}

func (f Function) check() error {
	switch {
	case !nameForm.MatchString(f.Name):
		return iot.Errorf(iot.InvalidRequest, "function %q: a name has 1 to 64 characters of a-z A-Z 0-9 _ -", f.Name)
	case (len(f.Command) > 0) == (f.URL != ""):
		return iot.Errorf(iot.InvalidRequest, "function %q: give either a command or a url", f.Name)
	case f.Instances < 1 || f.Instances > InstancesMax:
		return iot.Errorf(iot.InvalidRequest, "function %q: instances %d: want 1 to %d", f.Name, f.Instances, InstancesMax)
	case f.Timeout < 0 || f.Timeout > TimeoutMax:
		return iot.Errorf(iot.InvalidRequest, "function %q: timeout %v: want at most %v", f.Name, f.Timeout, TimeoutMax)
	case f.Memory < 1<<20:
		return iot.Errorf(iot.InvalidRequest, "function %q: memory %d: want at least 1 MiB", f.Name, f.Memory)
	case f.URL != "":
		return checkURL(f)
	case strings.ContainsRune(strings.Join(f.Command, ""), 0):
		return iot.Errorf(iot.InvalidRequest, "function %q: the command holds a zero byte", f.Name)
	}
	return nil
}

// NameOf is the name of the function that an ARN or a name means: what follows
// `function:`, without the alias or version behind it.
func NameOf(arn string) string {
	if _, rest, ok := strings.Cut(arn, ":function:"); ok {
		name, _, _ := strings.Cut(rest, ":")
		return name
	}
	return arn[strings.LastIndexByte(arn, ':')+1:]
}

// Names are the functions, sorted.
func (r *Runner) Names() []string {
	names := make([]string, 0, len(r.functions))
	for name := range r.functions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Run lets functions be called until ctx ends, puts idle processes to rest
// meanwhile, and returns when every process has ended.
func (r *Runner) Run(ctx context.Context) error {
	stop, end := context.WithCancel(ctx)
	r.mu.Lock()
	r.running, r.stop = true, stop
	r.mu.Unlock()
	rest := time.NewTicker(time.Second)
	defer rest.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-rest.C:
			for _, p := range r.functions {
				p.rest()
			}
		}
	}
	r.mu.Lock()
	r.running = false
	r.mu.Unlock()
	end() // ends the calls under way
	for _, p := range r.functions {
		p.end()
	}
	r.alive.Wait()
	return nil
}

// enter registers a call; false outside Run.
func (r *Runner) enter() (context.Context, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.running {
		return nil, false
	}
	r.alive.Add(1)
	return r.stop, true
}

// Invoke calls a function and gives its answer, a JSON text. An unknown
// function is NotFound, an event that is no JSON or is too large InvalidRequest
// or TooLarge, a function that is pausing after a failure Unavailable; what
// went wrong inside the function is an Internal error.
func (r *Runner) Invoke(ctx context.Context, c Call) ([]byte, error) {
	name := NameOf(c.Function)
	p := r.functions[name]
	if p == nil {
		return nil, iot.Errorf(iot.NotFound, "function %q does not exist", name)
	}
	stop, ok := r.enter()
	if !ok {
		return nil, iot.Errorf(iot.Unavailable, "function %q: functions do not run now", name)
	}
	defer r.alive.Done()
	ctx, cancel := context.WithTimeout(ctx, p.of.Timeout)
	defer cancel()
	defer context.AfterFunc(stop, cancel)()
	start := time.Now()
	answer, err := p.invoke(ctx, c)
	r.duration.Observe(time.Since(start).Seconds(), name)
	if err != nil {
		r.calls.Inc(name, "failed")
		return nil, fmt.Errorf("function %q: %w", name, err)
	}
	r.calls.Inc(name, "ok")
	return answer, nil
}

// line is the event as the function gets it: compact, on one line.
func (f Function) line(c Call) ([]byte, error) {
	if len(c.Event) > PayloadMax {
		return nil, iot.Errorf(iot.TooLarge, "the event has %d bytes; at most %d", len(c.Event), PayloadMax)
	}
	var line bytes.Buffer
	if f.Envelope {
		line.WriteString(`{"event":`)
	}
	if err := json.Compact(&line, c.Event); err != nil {
		return nil, iot.Errorf(iot.InvalidRequest, "the event is no JSON: %v", err)
	}
	if f.Envelope {
		about, err := json.Marshal(map[string]string{"functionName": f.Name, "ruleName": c.Rule, "topic": c.Topic, "traceId": c.TraceID, "clientId": c.ClientID})
		if err != nil {
			return nil, err
		}
		line.WriteString(`,"context":`)
		line.Write(about)
		line.WriteByte('}')
	}
	line.WriteByte('\n')
	return line.Bytes(), nil
}

// answerOf checks what a function said: nothing at all is null; an object with
// errorMessage is a failure, as with AWS Lambda.
func answerOf(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return []byte("null"), nil
	}
	if !json.Valid(text) {
		return nil, fmt.Errorf("it answered no JSON: %q", clip(text, 80))
	}
	var failed struct {
		Message *string `json:"errorMessage"`
		Type    string  `json:"errorType"`
	}
	if text[0] == '{' && json.Unmarshal(text, &failed) == nil && failed.Message != nil {
		return nil, fmt.Errorf("it failed: %s", strings.TrimSpace(failed.Type+" "+*failed.Message))
	}
	return text, nil
}

func clip(text []byte, n int) string {
	if len(text) > n {
		return string(text[:n]) + "…"
	}
	return string(text)
}
