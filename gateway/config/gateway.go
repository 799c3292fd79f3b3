package config

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/tidehold/tidehold/gateway/config/tree"
	"github.com/tidehold/tidehold/gateway/config/value"
	"github.com/tidehold/tidehold/gateway/iot"
)

var (
	gatewayForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,36}$`)
	nameForm    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	regionForm  = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
)

// formed reads a text that must match a form.
func formed(m *tree.Map, key, def string, form *regexp.Regexp, want string) string {
	return tree.Get(m, key, want, def, func(s string) (string, error) {
		if !form.MatchString(s) {
			return "", fmt.Errorf("%q: want %s", s, want)
		}
		return s, nil
	})
}

// name reads the required `name` of an entry.
func name(m *tree.Map) string {
	return formed(m, "name", tree.Required, nameForm, "1 to 64 characters of A-Z a-z 0-9 _ -")
}

func (l *loader) gateway(m *tree.Map) {
	defer m.Done()
	g := &l.cfg.Gateway
	g.ID = iot.ThingName(formed(m, "id", tree.Required, gatewayForm, "1 to 36 characters of A-Z a-z 0-9 _ -"))
	g.Labels = m.TextMap("labels")
	g.Endpoint = host(m, "endpoint", l.localHost())
	aws := m.Map("aws")
	defer aws.Done()
	g.AWS.Region = formed(aws, "region", "us-east-1", regionForm, "a region like eu-west-1")
	g.AWS.AccountID = formed(aws, "account_id", "000000000000", accountForm, `12 digits in quotes, like "000000000000"`)
	g.AWS.AcceptAnyAccount = aws.Bool("accept_any_account", "off")
	written := tree.Get(m, "allow_sim_upstream", "on, off or auto", "auto", func(s string) (string, error) {
		if s == "auto" {
			return s, nil
		}
		on, err := value.ParseBool(s)
		return fmt.Sprint(on), err
	})
	l.later(func() { g.AllowSimUpstream = written == "true" || written == "auto" && l.allSimulated() })
}

// allSimulated reports whether no part touches hardware.
func (l *loader) allSimulated() bool {
	for _, bus := range l.cfg.Buses {
		if bus.Type != busSim {
			return false
		}
	}
	for _, in := range l.cfg.Inputs {
		if in.Pin != nil && !l.simulated(in.Pin.Chip) || in.Encoder != nil && !(l.simulated(in.Encoder.A.Chip) && l.simulated(in.Encoder.B.Chip)) {
			return false
		}
	}
	for _, out := range l.cfg.Outputs {
		if out.Pin != nil && !l.simulated(out.Pin.Chip) || out.PWM != nil && !l.simulated(out.PWM.Chip) {
			return false
		}
	}
	return true
}

// simulated reports whether a chip is a bus of type sim.
func (l *loader) simulated(chip string) bool {
	for _, bus := range l.cfg.Buses {
		if bus.Name == chip && bus.Type == busSim {
			return true
		}
	}
	return false
}

// localHost is <hostname>.local.
func (l *loader) localHost() string {
	name := l.opt.Hostname
	if name == "" {
		name, _ = os.Hostname()
	}
	name, _, _ = strings.Cut(name, ".")
	if !value.ValidHost(name) {
		name = "localhost"
	}
	return name + ".local"
}

// host reads a host name without scheme and port.
func host(m *tree.Map, key, def string) string {
	return tree.Get(m, key, "host name", def, parseHost)
}

func parseHost(s string) (string, error) {
	if !value.ValidHost(s) {
		return "", fmt.Errorf("%q is no host name: want it without scheme and port", s)
	}
	return s, nil
}

func (l *loader) storage(m *tree.Map) {
	defer m.Done()
	dir := "/var/lib/tidehold"
	if state, _ := l.getenv("STATE_DIRECTORY"); state != "" {
		dir, _, _ = strings.Cut(state, ":")
	}
	l.cfg.Storage.Dir = l.path(tree.Get(m, "dir", "path", dir, parsePath))
	l.cfg.Storage.Durability = m.Word("durability", DurabilityFull, DurabilityFull, DurabilityNormal)
	l.cfg.Storage.RulesCheckpoint = m.Duration("rules_checkpoint", "10s")
}

func parsePath(s string) (string, error) {
	if s == "" || strings.ContainsRune(s, 0) {
		return "", fmt.Errorf("%q is no path", s)
	}
	return s, nil
}

func (l *loader) log(m *tree.Map) {
	defer m.Done()
	l.cfg.Log.Level = m.Word("level", "info", "debug", "info", "warn", "error")
	l.cfg.Log.Format = m.Word("format", "auto", "auto", "text", "json")
}

func (l *loader) http(m *tree.Map) {
	defer m.Done()
	read := func(key, def string) value.Bind {
		sub := m.Map(key)
		defer sub.Done()
		b := tree.Get(sub, "bind", "BIND", def, value.ParseBind)
		l.sites.binds = append(l.sites.binds, bindSite{sub, "bind", b, "http." + key})
		return b
	}
	l.cfg.HTTP.DataPlane = read("data_plane", ":8443")
	l.cfg.HTTP.Control = read("control", "127.0.0.1:8444")
	l.cfg.HTTP.Metrics = read("metrics", "127.0.0.1:9464")
}

func (l *loader) tls(m *tree.Map) {
	defer m.Done()
	l.cfg.TLS.RequireSNI = m.Bool("require_sni", "off")
	m = m.Map("server")
	defer m.Done()
	s := &l.cfg.TLS.Server
	s.Names = m.Texts("names", "list of host names and addresses")
	for i, n := range s.Names {
		if _, err := parseHost(strings.TrimPrefix(n, "*.")); err != nil {
			m.Fail(fmt.Sprintf("names[%d]", i), err.Error(), "")
		}
	}
	s.Cert, s.Key = l.pair(m)
	l.probePair(m, s.Cert, s.Key)
}

// pair reads `cert` and `key`: both or neither.
func (l *loader) pair(m *tree.Map) (cert, key value.Secret) {
	cert = l.secret(m, "cert", "", value.Place{Path: true, Public: true})
	key = l.secret(m, "key", "", value.Place{Path: true})
	if cert.IsSet() != key.IsSet() && m.Has("cert") != m.Has("key") {
		given, missing := "cert", "key"
		if m.Has("key") {
			given, missing = "key", "cert"
		}
		m.Fail(given, fmt.Sprintf("%q stands without %q", given, missing), "give both or neither")
	}
	return cert, key
}

func (l *loader) shadow(m *tree.Map) {
	defer m.Done()
	s := &l.cfg.Shadow
	s.RequireThing = m.Bool("require_thing", "off")
	s.MaxBytes = int(m.Size("max_bytes", "8KiB", 1, 30*kib))
	s.MaxDepth = int(m.Integer("max_depth", "8", 1, 64))
	s.MaxInFlight = int(m.Integer("max_in_flight", "10", 0, 10_000))
	s.MaxRate = m.Rate("max_rate", "0")
}
