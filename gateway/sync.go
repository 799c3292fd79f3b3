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
	"github.com/tidehold/tidehold/gateway/shadow/doc"
	"github.com/tidehold/tidehold/gateway/topic"
	"github.com/tidehold/tidehold/gateway/uplink"
	"github.com/tidehold/tidehold/gateway/uplink/profile"
	"github.com/tidehold/tidehold/shadowsync"
	"github.com/tidehold/tidehold/shadowsync/dispute"
	"github.com/tidehold/tidehold/shadowsync/home"
	"github.com/tidehold/tidehold/shadowsync/plain"
	"github.com/tidehold/tidehold/shadowsync/selection"
)

// syncFigures are the metrics of all syncs of a gateway.
type syncFigures struct {
	service *shadowsync.Figures
	plain   *plain.Figures
	journal *dispute.Journal
}

// addSync builds the sync of one uplink and ties it to the link and to the
// shadow service: mode service for an upstream with shadows of its own, mode
// plain for one that only keeps messages.
func (g *Gateway) addSync(ctx context.Context, cfg config.Uplink, u *uplinkRoom, h *house, f syncFigures) (err error) {
	if cfg.Shadows.Mode == config.ModePlain {
		u.carrier, err = g.newCarrier(cfg, u, h, f)
		return err
	}
	u.syncer, err = g.newSyncer(ctx, cfg, u, h, f)
	return err
}

func (g *Gateway) newSyncer(ctx context.Context, cfg config.Uplink, u *uplinkRoom, h *house, f syncFigures) (*shadowsync.Syncer, error) {
	settings := g.syncConfig(cfg, u)
	settings.Journal = g.conflicts(cfg.Name, f.journal)
	s, err := shadowsync.New(settings, localShadows{h.shadows}, syncLink{u.link}, g.env.Clock, g.ids, f.service, g.log)
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

// newCarrier builds the sync with a plain broker: the gateway is the only
// authority, the upstream holds retained copies and carries requests.
func (g *Gateway) newCarrier(cfg config.Uplink, u *uplinkRoom, h *house, f syncFigures) (*plain.Carrier, error) {
	c, err := plain.New(plain.Config{
		Uplink: cfg.Name, Root: cfg.Shadows.Root, For: g.selection(cfg).For, Limits: g.shadowConfig().Limits,
		MaxPerSecond: cfg.Shadows.MaxPerSecond, Journal: g.conflicts(cfg.Name, f.journal),
	}, localShadows{h.shadows}, plainLink{u.link}, g.env.Clock, f.plain, g.log)
	if err != nil {
		return nil, err
	}
	u.link.OnOnline(func(_ bool, epoch uint64) { c.Online(epoch) })
	u.link.OnOffline(func(error) { c.Offline() })
	h.shadows.Watch(func(change shadow.Change) { c.Hint(change.Key) })
	return c, nil
}

// conflicts writes the conflicts of one uplink into the journal.
func (g *Gateway) conflicts(uplink string, j *dispute.Journal) func(iot.ShadowKey, shadowsync.Conflict) {
	return func(key iot.ShadowKey, c shadowsync.Conflict) {
		e := dispute.Entry{At: g.env.Clock.Now(), Uplink: uplink, Thing: key.Thing, Shadow: key.Shadow, Path: c.Path.String(), Winner: c.Winner.String(), Writer: c.Writer}
		for value, into := range map[*doc.Value]*string{&c.Local: &e.Local, &c.Upstream: &e.Upstream} {
			if value.Exists() {
				*into = value.String()
			}
		}
		j.Add(e)
	}
}

// syncConfig translates `uplinks[].shadows`.
func (g *Gateway) syncConfig(cfg config.Uplink, u *uplinkRoom) shadowsync.Config {
	which := g.selection(cfg)
	return shadowsync.Config{
		Uplink: cfg.Name, Gateway: string(g.cfg.Gateway.ID), Upstream: fmt.Sprintf("%s:%d", cfg.Endpoint.Host, cfg.Endpoint.Port),
		For: which.For, Exact: which.Exact(), MaxPerSecond: cfg.Shadows.MaxPerSecond,
		// One filter for all things where the far side allows it.
		Wide: cfg.Profile.Name == profile.Tidehold && slices.ContainsFunc(cfg.Shadows.Things, wildcard),
	}
}

// selection says which shadows are synced, and how.
func (g *Gateway) selection(cfg config.Uplink) selection.Set {
	s := selection.Set{Things: cfg.Shadows.Things, Names: cfg.Shadows.Names, Policy: syncPolicy(cfg.Shadows.SyncPolicy)}
	s.Policy.Marker = cfg.Shadows.Marker
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
func (l localShadows) Snapshot(ctx context.Context, key iot.ShadowKey, uplink string) (home.Snapshot, error) {
	s, err := l.service.Snapshot(ctx, key, uplink)
	return snapshotOf(s), err
}

// Commit does one step of a sync in one transaction.
func (l localShadows) Commit(ctx context.Context, key iot.ShadowKey, uplink string, w home.Write) (home.Snapshot, error) {
	s, err := l.service.Commit(ctx, key, uplink, shadow.SyncCommit{IfVersion: w.IfVersion, Delete: w.Delete, Update: w.Update, Record: w.Record})
	return snapshotOf(s), err
}

func snapshotOf(s shadow.Snapshot) home.Snapshot {
	return home.Snapshot{Doc: s.Doc, Version: s.Version, Deleted: s.Deleted, DeletedAt: s.DeletedAt, Record: s.Record}
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
	s.link.Publish(uplink.Outgoing{Topic: name, Payload: payload, QoS: 1, Ahead: true}, func(err error) {
		if errors.Is(err, uplink.ErrRefused) {
			err = iot.Errorf(iot.TooLarge, "%v", err)
		}
		done(err)
	})
}

// Subscribe takes what comes down under filter.
func (s syncLink) Subscribe(filter topic.Filter, take func(iot.Message, func()), standing func()) {
	s.link.Extend(string(filter), 1, take, standing)
}

// plainLink is the uplink as sync with a plain broker needs it.
type plainLink struct{ link *uplink.Link }

// Publish sends an answer or a retained document upstream.
func (p plainLink) Publish(name string, payload []byte, retain bool, done func(error)) {
	p.link.Publish(uplink.Outgoing{Topic: name, Payload: payload, QoS: 1, Retain: retain, Ahead: true}, done)
}

// Subscribe takes what comes down under filter.
func (p plainLink) Subscribe(filter topic.Filter, take func(iot.Message, func())) {
	p.link.Subscribe(string(filter), 1, take)
}
