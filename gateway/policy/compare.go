package policy

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Names of the comparisons.
const (
	opString = "string"
	opFold   = "fold"
	opLike   = "like"
	opNumEq  = "num="
	opNumLT  = "num<"
	opNumLE  = "num<="
	opNumGT  = "num>"
	opNumGE  = "num>="
	opDateEq = "date="
	opDateLT = "date<"
	opDateLE = "date<="
	opDateGT = "date>"
	opDateGE = "date>="
	opBool   = "bool"
	opIP     = "ip"
	opARN    = "arn"
	opNull   = "null"
)

// acceptor gives the test of one value of the document, nil when the value can
// match nothing: a variable is unresolved, or it is not of the operator's kind.
func (o operator) acceptor(t template, c *Connection, s Scope, missing func(string)) func(string) bool {
	if o.name == opARN {
		return arnAcceptor(t, c, s, missing)
	}
	if o.like {
		p, ok := t.pattern(c, missing)
		if !ok {
			return nil
		}
		return p.match
	}
	want, ok := t.text(c, missing)
	if !ok {
		return nil
	}
	switch o.name {
	case opString:
		return func(v string) bool { return v == want }
	case opFold, opBool, opNull:
		return func(v string) bool { return strings.EqualFold(v, want) }
	case opIP:
		return ipAcceptor(want)
	}
	if compare, ok := strings.CutPrefix(o.name, "num"); ok {
		return numberAcceptor(compare, want)
	}
	return dateAcceptor(strings.TrimPrefix(o.name, "date"), want)
}

func arnAcceptor(t template, c *Connection, s Scope, missing func(string)) func(string) bool {
	a, ok := t.arn()
	if !ok {
		return nil
	}
	if a.all {
		return func(string) bool { return true }
	}
	var fields [6]pattern
	for i := range fields {
		if fields[i], ok = a.fields[i].pattern(c, missing); !ok {
			return nil
		}
	}
	return func(v string) bool {
		have := strings.SplitN(v, ":", 6)
		if len(have) != 6 {
			return false
		}
		for i, p := range fields {
			if !p.match(have[i]) && !(s.AnyAccount && (i == 3 || i == 4)) {
				return false
			}
		}
		return true
	}
}

func ipAcceptor(want string) func(string) bool {
	network, ok := parseNetwork(want)
	if !ok {
		return nil
	}
	return func(v string) bool {
		addr, err := netip.ParseAddr(v)
		return err == nil && network.Contains(addr.Unmap().WithZone(""))
	}
}

// parseNetwork reads a network or one address. IPv4 written as IPv6 is IPv4, as
// the addresses of clients are.
func parseNetwork(s string) (netip.Prefix, bool) {
	network, err := netip.ParsePrefix(s)
	if err != nil {
		addr, err := netip.ParseAddr(s)
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), err == nil
	}
	if addr := network.Addr(); addr.Is4In6() && network.Bits() >= 96 {
		return netip.PrefixFrom(addr.Unmap(), network.Bits()-96), true
	}
	return network, true
}

func numberAcceptor(compare, text string) func(string) bool {
	want, ok := parseNumber(text)
	if !ok {
		return nil
	}
	return func(v string) bool {
		have, ok := parseNumber(v)
		return ok && ordered(compare, cmp.Compare(have, want))
	}
}

// parseNumber reads a decimal number: what ParseFloat reads beyond (`Inf`, `NaN`,
// hexadecimal) is a text.
func parseNumber(s string) (float64, bool) {
	if strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

func dateAcceptor(compare, text string) func(string) bool {
	want, ok := parseDate(text)
	if !ok {
		return nil
	}
	return func(v string) bool {
		have, ok := parseDate(v)
		return ok && ordered(compare, have.Compare(want))
	}
}

// ordered reports whether the sign of a comparison satisfies =, <, <=, > or >=.
func ordered(compare string, sign int) bool {
	switch compare {
	case "<":
		return sign < 0
	case "<=":
		return sign <= 0
	case ">":
		return sign > 0
	case ">=":
		return sign >= 0
	}
	return sign == 0
}

// parseDate reads ISO 8601, a month at least, or seconds since 1970.
func parseDate(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", time.DateOnly, "2006-01"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	seconds, err := strconv.ParseInt(s, 10, 64)
	return time.Unix(seconds, 0), err == nil
}
