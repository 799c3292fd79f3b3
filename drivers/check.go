package drivers

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// reservedReadings cannot name a reading: they have their own meaning in
// telemetry and in the shadow.
var reservedReadings = []string{"ts", "ok", "fault"}

// pollMin keeps a slip of the pen from flooding a bus.
const pollMin = 10 * time.Millisecond

// CheckSensor checks an entry of `sensors` against its driver: address, poll,
// options, names and units of readings. Filters are checked by drivers/filter.
func CheckSensor(c SensorConfig, d Driver) []Problem {
	own, shape := DriverFor(c, d)
	sheet, problems := own.Describe(), shape
	if len(shape) == 0 {
		_, problems = CheckOptions(sheet.Options, c.Options)
	}
	problems = append(problems, checkPlace(c, sheet)...)
	if c.Poll <= 0 {
		problems = append(problems, Problem{Path: "poll", Message: "want more than 0"})
	} else if c.Poll < pollMin {
		problems = append(problems, Problem{Path: "poll", Message: fmt.Sprintf("%v is too often", c.Poll), Hint: fmt.Sprintf("at least %v", pollMin)})
	}
	if len(shape) > 0 { // what it reads is not known
		return problems
	}
	return append(problems, checkReadings(c, sheet)...)
}

// checkPlace checks bus and address against where such a part sits.
func checkPlace(c SensorConfig, sheet Info) []Problem {
	switch {
	case sheet.Bus == "" && c.Bus != "":
		return []Problem{{Path: "bus", Message: fmt.Sprintf("a %s sits on no bus", sheet.Name), Hint: "the kernel reads it"}}
	case sheet.Bus == "" && len(c.Address) > 0:
		return []Problem{{Path: "address", Message: fmt.Sprintf("a %s has no address", sheet.Name), Hint: "its options find it"}}
	case sheet.Bus != "" && len(c.Address) == 0 && len(sheet.Addresses) == 0:
		return []Problem{{Path: "address", Message: fmt.Sprintf("a %s has no usual address", sheet.Name), Hint: "like 0x48"}}
	}
	return checkAddresses(c, sheet)
}

func checkAddresses(c SensorConfig, sheet Info) []Problem {
	var problems []Problem
	for n, a := range c.Address {
		path := "address"
		if len(c.Address) > 1 {
			path = fmt.Sprintf("address[%d]", n)
		}
		if len(sheet.Addresses) > 0 && !slices.Contains(sheet.Addresses, a) {
			problems = append(problems, Problem{Path: path, Message: fmt.Sprintf("0x%02x is no address of a %s", a, sheet.Name), Hint: "possible: " + hexList(sheet.Addresses)})
		}
	}
	return problems
}

func checkReadings(c SensorConfig, sheet Info) []Problem {
	var problems []Problem
	seen := map[string]string{}
	for _, name := range sortedKeys(c.Readings) {
		r, path := c.Readings[name], "readings."+name
		ch, ok := sheet.Channel(name)
		if !ok {
			problems = append(problems, Problem{Path: path, Message: fmt.Sprintf("a %s has no reading %q", sheet.Name, name), Hint: "it has " + channelNames(sheet)})
			continue
		}
		if r.Unit != nil {
			if _, err := Convert(ch.Quantity, 0, *r.Unit); err != nil {
				problems = append(problems, Problem{Path: path + ".unit", Message: err.Error()})
			}
		}
		as := name
		if r.As != "" {
			as, path = r.As, path+".as"
		}
		if slices.Contains(reservedReadings, as) {
			problems = append(problems, Problem{Path: path, Message: fmt.Sprintf("%q is no name for a reading", as)})
		}
		if other, taken := seen[as]; taken {
			problems = append(problems, Problem{Path: path, Message: fmt.Sprintf("%q is also the name of reading %q", as, other)})
		}
		seen[as] = name
		problems = append(problems, checkReading(name, r)...)
	}
	return problems
}

func checkReading(name string, r ReadingConfig) []Problem {
	var problems []Problem
	path := "readings." + name
	if r.Decimals != nil && (*r.Decimals < 0 || *r.Decimals > 9) {
		problems = append(problems, Problem{Path: path + ".decimals", Message: fmt.Sprintf("%d is outside 0 to 9", *r.Decimals)})
	}
	if r.Range != nil && r.Range.Min != nil && r.Range.Max != nil && *r.Range.Min >= *r.Range.Max {
		problems = append(problems, Problem{Path: path + ".range", Message: "min is not below max"})
	}
	if r.MaxStep < 0 {
		problems = append(problems, Problem{Path: path + ".max_step", Message: "want 0 or more"})
	}
	return problems
}

func channelNames(sheet Info) string {
	var names []string
	for _, c := range sheet.Channels {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

func hexList(addresses []uint16) string {
	var texts []string
	for _, a := range addresses {
		texts = append(texts, fmt.Sprintf("0x%02x", a))
	}
	return strings.Join(texts, ", ")
}
