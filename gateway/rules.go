package gateway

import (
	"context"
	"encoding/json"

	"github.com/tidehold/tidehold/gateway/config"
	"github.com/tidehold/tidehold/gateway/function"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/rules"
	"github.com/tidehold/tidehold/gateway/telemetry"
)

// profileAWS is the profile of uplinks that have rules and Basic Ingest.
const profileAWS = "aws-iot-core"

// rulesConfig is what the file says about rules.
func (g *Gateway) rulesConfig() rules.Config {
	cfg := actionsConfig(g.cfg)
	cfg.Region, cfg.Account, cfg.Dir = g.cfg.Gateway.AWS.Region, g.cfg.Gateway.AWS.AccountID, g.cfg.Storage.Dir
	if cfg.Checkpoint = g.cfg.Storage.RulesCheckpoint; cfg.Checkpoint == 0 {
		cfg.Checkpoint = -1 // in memory only
	}
	for _, t := range g.cfg.Tables {
		cfg.Keys[t.Name] = t.Key
	}
	for _, r := range g.cfg.Rules {
		cfg.Rules = append(cfg.Rules, ruleOf(r))
	}
	return cfg
}

// actionsConfig is the part by which a rule is judged.
func actionsConfig(c *config.Config) rules.Config {
	cfg := rules.Config{Keys: make(map[string][]string), Actions: make(map[string]json.RawMessage)}
	for _, r := range c.Roles {
		cfg.Roles = append(cfg.Roles, rules.Role{Name: r.Name, Document: json.RawMessage(r.Document)})
	}
	for _, a := range c.Actions {
		cfg.Actions[a.Name] = a.Action
	}
	return cfg
}

// ruleOf translates an entry of `rules`.
func ruleOf(r config.Rule) rules.Rule {
	return rules.Rule{
		Name: r.Name, SQL: r.SQL, Version: r.AWSIoTSQLVersion, Description: r.Description, Disabled: r.Disabled,
		Actions: r.Actions, ErrorAction: r.ErrorAction,
	}
}

// checkRule judges a rule in the light of the whole file: what New would
// refuse, and which actions cannot work on this gateway.
func checkRule(c *config.Config, r config.Rule) (doubts []config.Doubt, err error) {
	cfg := actionsConfig(c)
	if err := cfg.Check(ruleOf(r)); err != nil {
		return nil, err
	}
	var outputs, functions, uplinks []string
	for _, o := range c.Outputs {
		outputs = append(outputs, o.Name)
	}
	for _, f := range c.Functions {
		functions = append(functions, f.Name)
	}
	for _, u := range c.Uplinks {
		if u.Enabled {
			uplinks = append(uplinks, u.Name)
		}
	}
	cfg.Doubts(ruleOf(r), outputs, functions, uplinks, len(awsUplinks(c)) > 0, func(path, why, hint string) {
		doubts = append(doubts, config.Doubt{Path: path, Message: "this action cannot work: " + why, Hint: hint})
	})
	return doubts, nil
}

// functionsOf are the local functions.
func functionsOf(c *config.Config) (all []function.Function) {
	for _, f := range c.Functions {
		all = append(all, functionOf(f))
	}
	return all
}

func functionOf(f config.Function) function.Function {
	return function.Function{
		Name: f.Name, Command: f.Command, Dir: f.Dir, Env: f.Env, URL: f.URL, Instances: f.Instances, Memory: f.Memory,
		Timeout: f.Timeout, Idle: f.Idle, Once: f.Once, Envelope: f.Envelope,
	}
}

// awsUplinks are the enabled uplinks that are AWS.
func awsUplinks(c *config.Config) (names []string) {
	for _, u := range c.Uplinks {
		if u.Enabled && u.Profile.Name == profileAWS {
			names = append(names, u.Name)
		}
	}
	return names
}

// outlets are the outputs as actions reach them.
type outlets struct{ house *house }

// Drive sets an output in the name of who.
func (o outlets) Drive(output, command, who string, payload []byte) error {
	return o.house.binding.Drive(output, command, who, payload)
}

// records answer get_registry_data, with what the control plane says.
type records struct{ rooms *rooms }

// Describe gives the answer of the operation of that name about a thing.
func (d records) Describe(ctx context.Context, api string, thing iot.ThingName) ([]byte, error) {
	return d.rooms.control.Describe(ctx, api, thing)
}

// namesakes hands messages to the rules of the same name at AWS.
type namesakes struct {
	spool   *telemetry.Spool
	uplinks []string
}

func (g *Gateway) basicIngest(spool *telemetry.Spool) namesakes {
	return namesakes{spool, awsUplinks(g.cfg)}
}

// Ingest stores a message for the rule at every AWS upstream; false without
// any. It blocks until the message is stored.
func (n namesakes) Ingest(ctx context.Context, rule string, m iot.Message) (bool, error) {
	for _, uplink := range n.uplinks {
		if err := untilStored(ctx, func(done func(error)) error { return n.spool.Ingest(uplink, rule, m, done) }); err != nil {
			return true, err
		}
	}
	return len(n.uplinks) > 0, nil
}
