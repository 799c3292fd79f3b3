package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/config"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/shadow"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/gateway/uplink"
	"github.com/tidehold/tidehold/gateway/uplink/profile"
	"github.com/tidehold/tidehold/shadowsync"
	"github.com/tidehold/tidehold/shadowsync/selection"
)

// newSyncer builds the sync of one uplink in mode service and ties it to the
// link and to the shadow service.
func (g *Gateway) newSyncer(ctx context.Context, cfg config.Uplink, u *uplinkRoom, h *house, figures *shadowsync.Figures) (*shadowsync.Syncer, error) {
	if cfg.Shadows.Mode != config.ModeService {
		return nil, fmt.Errorf("shadows.mode %q is not available in this version (use service, or leave shadows out)", cfg.Shadows.Mode)
	}
	s, err := shadowsync.New(g.syncConfig(cfg, u), localShadows{h.shadows}, syncLink{u.link}, g.env.Clock, g.ids, figures, g.log)
	if err != nil {
		return nil, err
	}
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	u.link.OnOnline(func(bool, uint64) { s.Online() })
	u.link.OnOffline(func(error) { s.Offline() })
	h.shadows.Watch(func(c shadow.Change) {
		if c.Origin.Uplink != u.name {
			s.Hint(c.Key, c.Version)
		}
	})
	return s, nil
}

// syncConfig translates `uplinks[].shadows`.
func (g *Gateway) syncConfig(cfg config.Uplink, u *uplinkRoom) shadowsync.Config {
	which := g.selection(cfg)
	return shadowsync.Config{
		Uplink: cfg.Name, Gateway: string(g.cfg.Gateway.ID), Upstream: fmt.Sprintf("%s:%d", cfg.Endpoint.Host, cfg.Endpoint.Port),
		For: which.For, Exact: which.Exact(), MaxPerSecond: cfg.Shadows.MaxPerSecond,
		// One filter for all things where the far side allows it.
		Wide:  cfg.Profile.Name == profile.Tidehold && slices.ContainsFunc(cfg.Shadows.Things, wildcard),
		Renew: func() { u.link.Reconnect(errors.New("a new shadow needs a subscription")) },
	}
}

// selection says which shadows are synced, and how.
func (g *Gateway) selection(cfg config.Uplink) selection.Set {
	s := selection.Set{Things: cfg.Shadows.Things, Names: cfg.Shadows.Names, Policy: syncPolicy(cfg.Shadows.SyncPolicy)}
	s.Policy.Answers = cfg.Profile.Name == profile.Tidehold
	for _, o := range cfg.Shadows.Overrides {
		p := syncPolicy(o.SyncPolicy)
		s.Overrides = append(s.Overrides, selection.Override{
			Things: o.Things, Names: o.Names, Direction: &p.Direction, Desired: &p.Desired, Reported: &p.Reported,
			OnDelete: &p.OnDelete, MinInterval: &p.MinInterval,
		})
	}
	writable := make(map[iot.ThingName][]string)
	for _, t := range g.cfg.Things {
		if t.Writable != nil {
			writable[t.Name] = t.Writable
		}
	}
	s.Writable = func(thing iot.ThingName) []string { return writable[thing] }
	return s
}

func wildcard(pattern string) bool { return strings.Contains(pattern, "*") }

func syncPolicy(p config.SyncPolicy) shadowsync.Policy {
	winners := map[string]shadowsync.Winner{
		config.CloudWins: shadowsync.CloudWins, config.LocalWins: shadowsync.LocalWins, config.Latest: shadowsync.Latest,
	}
	directions := map[string]shadowsync.Direction{
		config.DirectionBoth: shadowsync.Both, config.DirectionUp: shadowsync.Up, config.DirectionDown: shadowsync.Down,
	}
	out := shadowsync.Policy{
		Direction: directions[p.Direction], Desired: winners[p.Desired], Reported: winners[p.Reported], MinInterval: p.MinInterval,
	}
	if p.OnDelete == config.DeleteWins {
		out.OnDelete = shadowsync.DeleteWins
	}
	return out
}

// localShadows is the shadow service as sync needs it.
type localShadows struct{ service *shadow.Service }

// Snapshot reads document and record of one shadow as of one commit.
func (l localShadows) Snapshot(ctx context.Context, key iot.ShadowKey, uplink string) (shadowsync.Snapshot, error) {
	s, err := l.service.Snapshot(ctx, key, uplink)
	return shadowsync.Snapshot{Doc: s.Doc, Version: s.Version, Record: s.Record}, err
}

// Commit does one step of a sync in one transaction.
func (l localShadows) Commit(ctx context.Context, key iot.ShadowKey, uplink string, w shadowsync.Write) (shadowsync.Snapshot, error) {
	s, err := l.service.Commit(ctx, key, uplink, shadow.SyncCommit{IfVersion: w.IfVersion, Delete: w.Delete, Update: w.Update, Record: w.Record})
	return shadowsync.Snapshot{Doc: s.Doc, Version: s.Version, Record: s.Record}, err
}

// Each calls f with every shadow and tombstone, and with every record of the
// uplink.
func (l localShadows) Each(ctx context.Context, uplink string, f func(iot.ShadowKey, time.Time) error) error {
	if err := l.service.Keys(ctx, func(k shadow.KeyState) error { return f(k.Key, k.Changed) }); err != nil {
		return err
	}
	return l.service.Records(ctx, uplink, func(key iot.ShadowKey, _ []byte) error {
		if key.Thing == "" {
			return nil // the uplink's own record
		}
		return f(key, time.Time{})
	})
}

// syncLink is the uplink as sync needs it.
type syncLink struct{ link *uplink.Link }

// Publish sends a request upstream. What the profile refuses never arrives.
func (s syncLink) Publish(name string, payload []byte, done func(error)) {
	s.link.Publish(uplink.Outgoing{Topic: name, Payload: payload, QoS: 1}, func(err error) {
		if errors.Is(err, uplink.ErrRefused) {
			err = iot.Errorf(iot.TooLarge, "%v", err)
		}
		done(err)
	})
}

// Subscribe takes what comes down under filter.
func (s syncLink) Subscribe(filter topic.Filter, take func(iot.Message, func())) {
	s.link.Subscribe(string(filter), 1, take)
}
