package gateway

import (
	"github.com/tidehold/tidehold/drivers/input"
	"github.com/tidehold/tidehold/drivers/output"
	"github.com/tidehold/tidehold/drivers/sim"
	"github.com/tidehold/tidehold/gateway/config"
	"github.com/tidehold/tidehold/gateway/policy"
	"github.com/tidehold/tidehold/gateway/rules"
)

// CheckOptions lets the rooms that will use a configuration look at it when it
// is loaded: `tidehold check` refuses what Run would refuse.
func CheckOptions(parts config.Parts) config.Options {
	return config.Options{
		Parts: parts, Actions: rules.Kinds(),
		CheckRule: func(r config.Rule) error { return rules.Check(ruleOf(r)) },
		CheckPolicy: func(document string) (doubts []string, err error) {
			parsed, err := policy.Parse([]byte(document))
			if err != nil {
				return nil, err
			}
			return parsed.Lint(), nil
		},
		CheckSimulated: sim.CheckSensor, CheckInput: input.Check, CheckOutput: output.Check,
	}
}

// ruleOf translates an entry of `rules`.
func ruleOf(r config.Rule) rules.Rule {
	return rules.Rule{
		Name: r.Name, SQL: r.SQL, Version: r.AWSIoTSQLVersion, Description: r.Description, Disabled: r.Disabled,
		Actions: r.Actions, ErrorAction: r.ErrorAction,
	}
}
