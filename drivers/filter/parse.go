package filter

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Error is a fault in the written form of a chain.
type Error struct {
	// Index is the place in the list, from 0; Filter the name there; Key the
	// member of the filter's map, empty when the filter itself is meant.
	Index       int
	Filter, Key string
	Message     string
}

// Error names the filter, its place and what is wrong.
func (e *Error) Error() string {
	where := e.Filter
	if e.Key != "" {
		where += "." + e.Key
	}
	if where == "" {
		return fmt.Sprintf("filter %d: %s", e.Index+1, e.Message)
	}
	return fmt.Sprintf("filter %d, %s: %s", e.Index+1, where, e.Message)
}

// builder makes one filter of its arguments.
type builder struct {
	role  role
	build func(a *args) step
}

// builders is the table of all filters but `or`, which holds others.
var builders = map[string]builder{
	"offset":               {mapping, func(a *args) step { return offset(a.number("")) }},
	"multiply":             {mapping, func(a *args) step { return multiply(a.number("")) }},
	"calibrate_linear":     {mapping, func(a *args) step { return a.linear() }},
	"calibrate_polynomial": {mapping, func(a *args) step { return a.polynomial() }},
	"map_range":            {mapping, func(a *args) step { return a.mapRange() }},
	"clamp":                {mapping, func(a *args) step { return a.clamp() }},
	"round":                {mapping, func(a *args) step { return round(a.whole("", 0, 9)) }},
	"median":               {judging, func(a *args) step { return a.window(quantile(0.5)) }},
	"moving_average":       {judging, func(a *args) step { return a.window(mean) }},
	"quantile":             {judging, func(a *args) step { return a.window(quantile(a.share("quantile")), "quantile") }},
	"min":                  {judging, func(a *args) step { return a.window(slices.Min[[]float64]) }},
	"max":                  {judging, func(a *args) step { return a.window(slices.Max[[]float64]) }},
	"exponential":          {judging, func(a *args) step { return a.exponential() }},
	"rate":                 {judging, func(a *args) step { return a.rate() }},
	"outlier":              {judging, func(a *args) step { return a.outlier() }},
	"filter_out":           {judging, func(a *args) step { return a.filterOut() }},
	"skip_initial":         {judging, func(a *args) step { return &skipInitial{a.whole("", 0, windowMax)} }},
	"debounce":             {judging, func(a *args) step { return &debounce{period: a.duration("")} }},
	"delta":                {thinning, func(a *args) step { return a.delta() }},
	"throttle":             {thinning, func(a *args) step { return &throttle{period: a.duration("")} }},
	"throttle_average":     {thinning, func(a *args) step { return a.throttleAverage() }},
	"heartbeat":            {thinning, func(a *args) step { return &heartbeat{period: a.duration("")} }},
}

// Parse builds a chain from its written form: a list whose entries are maps
// with one member, the filter's name and its arguments. Numbers are any Go
// number, durations texts like `5m`. The first fault is returned as *Error.
func Parse(list []any) (*Chain, error) {
	c := &Chain{}
	for i, entry := range list {
		l, err := parseLink(entry)
		if err != nil {
			err.Index = i
			return nil, err
		}
		c.links = append(c.links, l)
	}
	return c, nil
}

// Names lists all filters, sorted.
func Names() []string {
	names := []string{"or"}
	for name := range builders {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func parseLink(entry any) (link, *Error) {
	m, ok := entry.(map[string]any)
	if !ok || len(m) != 1 {
		return link{}, &Error{Message: "want a map with one member, like {offset: -0.4}"}
	}
	for name, raw := range m {
		if name == "or" {
			return parseOr(raw)
		}
		b, known := builders[name]
		if !known {
			return link{}, &Error{Filter: name, Message: "unknown filter; known: " + strings.Join(Names(), ", ")}
		}
		a := &args{filter: name, raw: raw}
		s := b.build(a)
		if a.err != nil {
			return link{}, a.err
		}
		return link{name, s, b.role}, nil
	}
	panic("unreachable: the map has one member")
}

func parseOr(raw any) (link, *Error) {
	list, ok := raw.([]any)
	if !ok || len(list) == 0 {
		return link{}, &Error{Filter: "or", Message: "want a list of filters"}
	}
	var all anyOf
	for _, entry := range list {
		l, err := parseLink(entry)
		if err == nil && l.name == "heartbeat" {
			err = &Error{Filter: "heartbeat", Message: "passes everything inside `or`; put it after, or use throttle"}
		}
		if err != nil {
			return link{}, &Error{Filter: "or", Key: err.Filter, Message: err.Message}
		}
		all = append(all, l)
	}
	return link{"or", all, thinning}, nil
}

// args reads the arguments of one filter and keeps the first fault.
type args struct {
	filter string
	raw    any
	err    *Error
}

func (a *args) fail(key, format string, values ...any) {
	if a.err == nil {
		a.err = &Error{Filter: a.filter, Key: key, Message: fmt.Sprintf(format, values...)}
	}
}

// members gives the arguments as a map and refuses unknown members.
func (a *args) members(known ...string) map[string]any {
	m, ok := a.raw.(map[string]any)
	if !ok {
		a.fail("", "want a map with %s", strings.Join(known, ", "))
		return nil
	}
	for key := range m {
		if !slices.Contains(known, key) {
			a.fail(key, "unknown; known: %s", strings.Join(known, ", "))
		}
	}
	return m
}

// at is the argument itself, or a member of it.
func (a *args) at(key string) any {
	if key == "" {
		return a.raw
	}
	m, _ := a.raw.(map[string]any)
	return m[key]
}

func (a *args) number(key string) float64 {
	v, ok := number(a.at(key))
	if !ok {
		a.fail(key, "want a number, got %v", a.at(key))
	}
	return v
}

func (a *args) whole(key string, low, high int) int {
	v, ok := number(a.at(key))
	if !ok || v != math.Trunc(v) || v < float64(low) || v > float64(high) {
		a.fail(key, "want a whole number from %d to %d, got %v", low, high, a.at(key))
		return low
	}
	return int(v)
}

func (a *args) share(key string) float64 {
	v := a.number(key)
	if v < 0 || v > 1 {
		a.fail(key, "want 0 to 1, got %v", v)
	}
	return v
}

func (a *args) flag(key string) bool {
	switch v := a.at(key).(type) {
	case nil:
		return false
	case bool:
		return v
	default:
		a.fail(key, "want true or false, got %v", v)
		return false
	}
}

func (a *args) duration(key string) time.Duration {
	d, ok := duration(a.at(key))
	if !ok || d <= 0 {
		a.fail(key, "want a duration like 30s, got %v", a.at(key))
		return time.Second
	}
	return d
}

func (a *args) points(raw any) []point {
	list, ok := raw.([]any)
	if !ok {
		a.fail("", "want a list of [raw, true] pairs")
		return nil
	}
	var points []point
	for _, entry := range list {
		pair, ok := numbers(entry)
		if !ok || len(pair) != 2 {
			a.fail("", "want [raw, true], got %v", entry)
			return nil
		}
		points = append(points, point{pair[0], pair[1]})
	}
	slices.SortFunc(points, func(x, y point) int {
		if x.raw < y.raw {
			return -1
		}
		if x.raw > y.raw {
			return 1
		}
		return 0
	})
	for i := 1; i < len(points); i++ {
		if points[i].raw == points[i-1].raw {
			a.fail("", "raw value %v stands twice", points[i].raw)
		}
	}
	return points
}

func number(raw any) (float64, bool) {
	switch v := raw.(type) {
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case float64:
		return v, finite(v)
	}
	return 0, false
}

func numbers(raw any) ([]float64, bool) {
	list, ok := raw.([]any)
	if !ok {
		return nil, false
	}
	var out []float64
	for _, entry := range list {
		v, ok := number(entry)
		if !ok {
			return nil, false
		}
		out = append(out, v)
	}
	return out, true
}

func duration(raw any) (time.Duration, bool) {
	switch v := raw.(type) {
	case time.Duration:
		return v, true
	case string:
		d, err := time.ParseDuration(v)
		return d, err == nil
	}
	return 0, false
}

// percent reads `5%`.
func percent(raw any) (float64, bool) {
	text, ok := raw.(string)
	if !ok || !strings.HasSuffix(text, "%") {
		return 0, false
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(text, "%")), 64)
	return v, err == nil && finite(v)
}
