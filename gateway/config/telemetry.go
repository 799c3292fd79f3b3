package config

import (
	"fmt"
	"math"
	"time"

	"github.com/tidehold/tidehold/gateway/config/tree"
	"github.com/tidehold/tidehold/gateway/config/value"
	"github.com/tidehold/tidehold/gateway/topic"
)

func (l *loader) telemetry(m *tree.Map) {
	defer m.Done()
	t := &l.cfg.Telemetry
	t.Profile = m.Word("profile", ProfileBalanced, ProfileStrict, ProfileBalanced, ProfileSaver)
	t.Store = store(m.Map("store"))
	t.Order = m.Word("order", OrderLiveFirst, OrderLiveFirst, OrderFIFO, OrderNewestFirst)
	t.StoreQoS0 = m.Bool("store_qos0", "true")
	m.Each("classes", l.class)
	d := m.Map("drain")
	t.Drain = drain(d, Drain{Rate: Auto, Bytes: Auto, Inflight: Auto, StartJitter: Auto})
	t.Drain.LiveReserve = tree.Get(d, "live_reserve", "share", "50%", value.ParseShare)
	d.Done()
	c := m.Map("clock")
	defer c.Done()
	t.Clock = Clock{Hold: c.Duration("hold", "120s"), TrustDeviceTime: c.Bool("trust_device_time", "false")}
}

func store(m *tree.Map) Store {
	defer m.Done()
	return Store{
		MaxBytes:        tree.Get(m, "max_bytes", "size, or auto", "auto", autoSize),
		MinFree:         tree.Get(m, "min_free", "size, or auto", "auto", autoSize),
		WearDailyBudget: m.Size("wear_daily_budget", "1GiB", 0, math.MaxInt64),
	}
}

func autoSize(s string) (int64, error) {
	if s == "auto" {
		return Auto, nil
	}
	return value.ParseSize(s)
}

// Defaults of telemetry.md 8.2.
const (
	storeBytesMax  = 256 * mib
	storeFreeFloor = 200 * mib
)

// On resolves Auto for a file system of total bytes: MaxBytes is the smaller of
// 256MiB and 10 %, MinFree the larger of 200MiB and 5 %.
func (s Store) On(total int64) Store {
	if s.MaxBytes == Auto {
		s.MaxBytes = min(storeBytesMax, total/10)
	}
	if s.MinFree == Auto {
		s.MinFree = max(storeFreeFloor, total/20)
	}
	return s
}

func (l *loader) class(m *tree.Map) {
	defer m.Done()
	c := Class{Name: name(m), Class: uint8(m.Integer("cls", "1", 0, 3)), TTL: m.Duration("ttl", "0")}
	for i, text := range m.Texts("match", "list of topic filters", tree.Required) {
		f, err := localFilter(text)
		if err != nil {
			m.Fail(fmt.Sprintf("match[%d]", i), err.Error(), "")
			continue
		}
		c.Match = append(c.Match, f)
	}
	folds := c.Class == 1 || c.Class == 2
	overflow, fold := OverflowDropOldest, "off"
	if folds {
		overflow = OverflowFold
	}
	c.Overflow = m.Word("overflow", overflow, OverflowFold, OverflowDropOldest, OverflowDropNewest, OverflowReject)
	if folds && c.Overflow == OverflowFold {
		fold = "on"
	}
	c.Fold = m.Bool("fold", fold)
	if c.Fold && !folds {
		m.Fail("fold", fmt.Sprintf("class %d is never folded", c.Class), "fold goes with cls 1 and 2")
	}
	if n := len(l.cfg.Telemetry.Classes); n > 0 && covers(l.cfg.Telemetry.Classes[:n], "#") {
		m.Warn("", "no message gets here: an earlier class has the filter #", "the first class that matches takes a message")
	}
	l.sites.classes = append(l.sites.classes, site{m, c.Name})
	l.cfg.Telemetry.Classes = append(l.cfg.Telemetry.Classes, c)
}

func covers(classes []Class, f topic.Filter) bool {
	for _, c := range classes {
		for _, match := range c.Match {
			if match == f {
				return true
			}
		}
	}
	return false
}

// localFilter is a filter on topics of users.
func localFilter(s string) (topic.Filter, error) {
	f, err := topic.ParseFilter(s)
	if err == nil && topic.IsReserved(s) {
		return "", fmt.Errorf("filter %q: topics that begin with $ never go upstream", s)
	}
	return f, err
}

// drain reads the keys that both `drain` have; what is not written, or auto, is
// taken from around.
func drain(m *tree.Map, around Drain) Drain {
	d := around
	pick(m, "rate", "rate, or auto", value.ParseRate, &d.Rate)
	pick(m, "bytes", "rate of bytes, or auto", value.ParseRate, &d.Bytes)
	pick(m, "inflight", "whole number, or auto", func(s string) (int, error) {
		n, err := value.ParseInteger(s, 0, 65535)
		return int(n), err
	}, &d.Inflight)
	pick(m, "start_jitter", "duration, or auto", value.ParseDuration, &d.StartJitter)
	return d
}

// pick reads a value into at, unless it is absent or auto.
func pick[T any](m *tree.Map, key, form string, parse func(string) (T, error), at *T) {
	written := false
	v := tree.Get(m, key, form, "auto", func(s string) (v T, err error) {
		if s == "auto" {
			return v, nil
		}
		v, err = parse(s)
		written = err == nil
		return v, err
	})
	if written {
		*at = v
	}
}

// resolve fills what is left to the profile.
func (d Drain) resolve(p Profile) Drain {
	if d.Rate == Auto {
		d.Rate = p.Rate
	}
	if d.Bytes == Auto {
		d.Bytes = p.Bytes
	}
	if d.Inflight == Auto {
		d.Inflight = p.Inflight
	}
	if d.StartJitter == time.Duration(Auto) {
		d.StartJitter = p.StartJitter
	}
	return d
}
