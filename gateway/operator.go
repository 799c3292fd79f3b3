package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/access"
	"github.com/tidehold/tidehold/gateway/httpapi"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/registry/accesskey"
	"github.com/tidehold/tidehold/gateway/store"
)

// operator answers the questions of people and supervisors about the gateway
// as a whole: it is httpapi's Operator, Uplinks and Sim.
type operator struct{ g *Gateway }

// statusAnswer is `tidehold status` (contract section 3).
type statusAnswer struct {
	Gateway    iot.ThingName                `json:"gateway"`
	State      metrics.State                `json:"state"`
	Listeners  []Address                    `json:"listeners"`
	Components map[string]metrics.Component `json:"components"`
}

// Status is the state of the gateway and of every component.
func (o operator) Status() any {
	listeners := o.g.addresses()
	slices.SortFunc(listeners, func(a, b Address) int { return strings.Compare(a.Name+a.Address, b.Name+b.Address) })
	health := &o.g.metrics.Health
	return statusAnswer{o.g.cfg.Gateway.ID, health.Overall(), listeners, health.Components()}
}

// Version is `tidehold version` of the running gateway.
func (o operator) Version() any {
	return map[string]string{"version": o.g.env.Version, "commit": o.g.env.Commit, "go": o.g.env.Go}
}

// SpoolStats is `tidehold spool stats`.
func (o operator) SpoolStats() any { return o.g.rooms.spool.Stats() }

// Rules are all rules, each with how it does.
func (o operator) Rules() any { return o.g.rooms.rules.Book() }

// userAnswer is a line of `tidehold user list`.
type userAnswer struct {
	Name     string   `json:"userName"`
	Policies []string `json:"policies"`
}

// Users are the password identities of the configuration, without their hashes.
func (o operator) Users() any {
	all := []userAnswer{}
	for _, u := range o.g.cfg.Security.Users {
		all = append(all, userAnswer{u.Name, append([]string{}, u.Policies...)})
	}
	return all
}

// Denials are the last refusals of policies, oldest first.
func (o operator) Denials() any { return append([]access.Denial{}, o.g.rooms.checker.Denials()...) }

// SyncStatus is the state of every synchronised shadow, by uplink.
func (o operator) SyncStatus() any {
	all := make(map[string]any)
	for _, u := range o.g.rooms.uplinks {
		if shadows, synced := u.shadows(); synced {
			all[u.name] = shadows
		}
	}
	return all
}

// conflictsShown is how many conflicts one answer has.
const conflictsShown = 1000

// Conflicts are the newest conflicts of shadow sync, the newest first; of one
// thing when it is named.
func (o operator) Conflicts(ctx context.Context, thing iot.ThingName) (any, error) {
	return o.g.rooms.conflicts.List(ctx, thing, conflictsShown)
}

// CreateAccessKey makes a key for the control endpoint.
func (o operator) CreateAccessKey(ctx context.Context, policy string) (any, error) {
	return o.g.CreateAccessKey(ctx, policy)
}

// AccessKeys are all keys, without their secrets.
func (o operator) AccessKeys(ctx context.Context) (any, error) {
	all, err := o.g.rooms.registry.AccessKeys().List(ctx)
	return append([]accesskey.Key{}, all...), err
}

// DeleteAccessKey removes a key; what it signed for is over at once.
func (o operator) DeleteAccessKey(ctx context.Context, id string) error {
	return o.g.rooms.registry.DeleteAccessKey(ctx, id)
}

// CreateAccessKey makes a key for the control endpoint; an empty policy lets
// it do everything, an unknown one is NotFound. The secret is told only here.
func (g *Gateway) CreateAccessKey(ctx context.Context, policy string) (accesskey.Key, error) {
	if policy != "" {
		if _, err := g.rooms.registry.PolicyVersion(ctx, policy, 0); err != nil {
			return accesskey.Key{}, err
		}
	}
	return g.rooms.registry.AccessKeys().Create(ctx, policy)
}

// probeWait is how long a probe may take before the room counts as hung.
const probeWait = 5 * time.Second

// Ready reports why the gateway cannot serve.
func (o operator) Ready() error {
	if o.g.metrics.Health.Overall() == metrics.Failed {
		return errors.New("a component has failed")
	}
	if len(o.g.rooms.broker.Addresses()) == 0 && len(o.g.cfg.MQTT.Listeners) > 0 {
		return errors.New("no MQTT listener is open")
	}
	return o.g.Live()
}

// Live reports why the gateway should be restarted.
func (o operator) Live() error { return o.g.Live() }

// Live walks through the rooms whose hanging would stop the house: both
// writers, the loop of the outputs and the broker. A refusing disk is an answer, only silence is not:
// restarting would not help a full card.
func (g *Gateway) Live() error {
	r := g.rooms
	if r == nil {
		return nil // still starting; the supervisor has a limit for that
	}
	for name, db := range map[string]*store.DB{"state.db": r.files.state, "messages.db": r.files.messages} {
		ctx, cancel := context.WithTimeout(context.Background(), probeWait)
		err := db.Write(ctx, "probe", func(*store.Tx) error { return nil })
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("the writer of %s does not answer within %v", name, probeWait)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeWait)
	defer cancel()
	if err := r.drivers.outputs.Alive(ctx); err != nil {
		return err
	}
	answered := make(chan struct{})
	go func() {
		r.broker.Clients()
		close(answered)
	}()
	select {
	case <-answered:
		return nil
	case <-time.After(probeWait):
		return fmt.Errorf("the broker does not answer within %v", probeWait)
	}
}

// UplinkStatus is the state of every link.
func (o operator) UplinkStatus() (all []httpapi.UplinkStatus) {
	for _, u := range o.g.rooms.uplinks {
		s := u.link.Status()
		one := httpapi.UplinkStatus{Name: s.Name, Profile: s.Profile, State: string(s.State), Since: s.Since, Error: s.Error, Node: s.Node, Attempts: s.Attempts}
		if shadows, synced := u.shadows(); synced {
			one.Shadows = make(map[string]int)
			for _, shadow := range shadows {
				one.Shadows[shadow.State]++
			}
		}
		all = append(all, one)
	}
	return all
}

// CutUplink holds a link down until RestoreUplink.
func (o operator) CutUplink(name string) error {
	u, err := o.uplink(name)
	if err == nil {
		u.link.Cut()
	}
	return err
}

// TestUplink tries a link step by step, with a message on a topic of our own
// (upstream.md 1.11).
func (o operator) TestUplink(ctx context.Context, name string) (any, error) {
	u, err := o.uplink(name)
	if err != nil {
		return nil, err
	}
	return u.link.Try(ctx, "gw/"+string(o.g.cfg.Gateway.ID)+"/sys/test"), nil
}

// RestoreUplink lets a cut link connect again, at once.
func (o operator) RestoreUplink(name string) error {
	u, err := o.uplink(name)
	if err == nil {
		u.link.Restore()
	}
	return err
}

// uplink finds an uplink; without a name it is the only one.
func (o operator) uplink(name string) (*uplinkRoom, error) {
	all := o.g.rooms.uplinks
	if name == "" && len(all) == 1 {
		return all[0], nil
	}
	var names []string
	for _, u := range all {
		if u.link.Status().Name == name {
			return u, nil
		}
		names = append(names, u.link.Status().Name)
	}
	if name == "" {
		return nil, iot.Errorf(iot.InvalidRequest, "which uplink? there are: %s", strings.Join(names, ", "))
	}
	return nil, iot.Errorf(iot.NotFound, "uplink %q does not exist; there are: %s", name, strings.Join(names, ", "))
}

// SimGet tells what a simulated part is like.
func (o operator) SimGet(part, quantity string) (map[string]any, error) {
	values, err := o.g.rooms.drivers.world.Get(part, quantity)
	return values, simError(err)
}

// SimSet changes the simulated world.
func (o operator) SimSet(part, quantity, value string) error {
	return simError(o.g.rooms.drivers.world.Set(part, quantity, value))
}

// SimFault breaks a simulated part, or repairs it.
func (o operator) SimFault(part, fault string) error {
	return simError(o.g.rooms.drivers.world.Fault(part, fault, ""))
}

func simError(err error) error {
	if err == nil {
		return nil
	}
	return iot.Errorf(iot.NotFound, "sim: %v", err)
}
