package config

import (
	"fmt"
	"regexp"

	"github.com/tidehold/tidehold/gateway/config/tree"
)

var (
	thingPattern  = regexp.MustCompile(`^[A-Za-z0-9:_*-]{1,128}$`)
	shadowPattern = regexp.MustCompile(`^(~|[$A-Za-z0-9:_*-]{1,64})$`)
	winners       = []string{CloudWins, LocalWins, Latest}
)

func (l *loader) shadows(m *tree.Map, u Uplink) *ShadowSync {
	defer m.Done()
	s := &ShadowSync{}
	s.Things, s.Names = patterns(m)
	s.Mode = m.Word("mode", "auto", "auto", ModeService, ModePlain)
	if s.Mode == "auto" {
		s.Mode = ModePlain
		if u.Profile.Service {
			s.Mode = ModeService
		}
	}
	s.SyncPolicy = syncPolicy(m, SyncPolicy{Direction: DirectionBoth, Desired: CloudWins, Reported: LocalWins, OnDelete: UpdateWins}, "200ms")
	s.MaxPerSecond = m.Rate("max_per_second", "10")
	s.Marker = m.Bool("marker", "false")
	if s.Marker && s.Mode == ModePlain {
		m.Warn("marker", "marker counts only for mode service, and the mode is plain", "")
	}
	s.Root = tree.Get(m, "root", "topic template", "shadow/{gateway}", func(text string) (string, error) { return l.filledTopic(text, u.Name) })
	if m.Has("root") && s.Mode == ModeService {
		m.Warn("root", "root counts only for mode plain, and the mode is service", "")
	}
	m.Each("overrides", func(m *tree.Map) {
		defer m.Done()
		var o SyncOverride
		o.Things, o.Names = patterns(m)
		o.SyncPolicy = syncPolicy(m, s.SyncPolicy, s.MinInterval.String())
		s.Overrides = append(s.Overrides, o)
	})
	return s
}

// patterns reads `things` and `names`.
func patterns(m *tree.Map) (things, names []string) {
	things = m.Texts("things", "list of patterns", "*")
	names = m.Texts("names", "list of patterns", "*")
	for key, list := range map[string][]string{"things": things, "names": names} {
		form, want := thingPattern, "a thing name with *"
		if key == "names" {
			form, want = shadowPattern, "a shadow name with *, or ~ for the classic shadow"
		}
		for i, p := range list {
			if !form.MatchString(p) {
				m.Fail(fmt.Sprintf("%s[%d]", key, i), fmt.Sprintf("%q: want %s", p, want), "")
			}
		}
	}
	return things, names
}

// syncPolicy reads the keys that an override may replace; around has the
// values of what it stands in.
func syncPolicy(m *tree.Map, around SyncPolicy, interval string) SyncPolicy {
	p := SyncPolicy{
		Direction:   m.Word("direction", around.Direction, DirectionBoth, DirectionUp, DirectionDown),
		OnDelete:    m.Word("on_delete", around.OnDelete, UpdateWins, DeleteWins),
		MinInterval: m.Duration("min_interval", interval),
	}
	c := m.Map("conflict")
	defer c.Done()
	p.Desired = c.Word("desired", around.Desired, winners...)
	p.Reported = c.Word("reported", around.Reported, winners...)
	return p
}

// checkSubscriptions counts what an uplink subscribes to (upstream.md section
// 4): shadow sync by service takes seven filters for each of up to seven
// shadows, then one for each thing.
func (l *loader) checkSubscriptions(m *tree.Map, u Uplink) {
	if u.Profile.MaxSubscriptions == 0 || !u.Enabled {
		return
	}
	count := len(u.Commands)
	if u.Shadows != nil && u.Shadows.Mode == ModeService {
		count += len(l.syncedThings(u.Shadows.Things))
	}
	if count > u.Profile.MaxSubscriptions {
		m.Fail("shadows", fmt.Sprintf("needs at least %d subscriptions; %s allows %d on one connection", count, u.Profile.Name, u.Profile.MaxSubscriptions),
			"list fewer things, or take one thing with a named shadow per device")
	}
}

// syncedThings are the things of the file that a pattern covers.
func (l *loader) syncedThings(patterns []string) map[string]bool {
	known := []string{string(l.cfg.Gateway.ID)}
	for _, t := range l.cfg.Things {
		known = append(known, string(t.Name))
	}
	for _, t := range l.targets() {
		known = append(known, string(t.Thing))
	}
	covered := make(map[string]bool)
	for _, name := range known {
		for _, p := range patterns {
			if patternCovers(p, name) {
				covered[name] = true
			}
		}
	}
	return covered
}

// patternCovers matches a name with `*` greedily.
func patternCovers(pattern, name string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p, n = p+1, n+1
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
