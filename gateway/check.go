package gateway

import (
	"github.com/tidehold/tidehold/drivers/input"
	"github.com/tidehold/tidehold/drivers/output"
	"github.com/tidehold/tidehold/drivers/sim"
	"github.com/tidehold/tidehold/gateway/config"
	"github.com/tidehold/tidehold/gateway/function"
	"github.com/tidehold/tidehold/gateway/policy"
	"github.com/tidehold/tidehold/gateway/rules"
	"github.com/tidehold/tidehold/gateway/rules/role"
)

// CheckOptions lets the rooms that will use a configuration look at it when it
// is loaded: `tidehold check` refuses what Run would refuse.
func CheckOptions(parts config.Parts) config.Options {
	return config.Options{
		Parts: parts, Actions: rules.Kinds(),
		CheckRule: checkRule, CheckFunction: func(f config.Function) error { return function.Check(functionOf(f)) },
		CheckRole: func(r config.Role) error {
			_, err := role.Parse(r.Name, []byte(r.Document))
			return err
		},
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
