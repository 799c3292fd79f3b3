// Package regex runs Java regular expressions, as AWS IoT rule SQL uses them.
//
// A pattern is compiled by Go's regexp, which runs in linear time; only what
// that refuses (look-around, back-references, atomic groups, possessive
// quantifiers, intersections of classes) goes to a backtracking matcher, which
// gives up after about 5 ms.
//
// A Pattern may be shared by goroutines. Nothing blocks longer than the limit.
package regex

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// ErrTimeout means that a match took longer than the limit.
var ErrTimeout = errors.New("regex: match took longer than 5ms")

// limit is the time one match may take in the backtracking matcher.
var limit = tighten(5 * time.Millisecond)

// tighten makes the matcher look at its clock often enough to notice d.
func tighten(d time.Duration) time.Duration {
	regexp2.SetTimeoutCheckPeriod(d / 5)
	return d
}

// patternBytesMax bounds the work of compiling a pattern from a message.
const patternBytesMax = 4096

// Pattern is a compiled regular expression.
type Pattern struct {
	linear    *regexp.Regexp
	backtrack *regexp2.Regexp
}

// Compile reads a pattern of java.util.regex.
func Compile(expr string) (*Pattern, error) {
	if len(expr) > patternBytesMax {
		return nil, fmt.Errorf("regex: %d bytes, at most %d", len(expr), patternBytesMax)
	}
	plain, rest, err := translate(expr)
	if err != nil {
		return nil, err
	}
	if linear, err := regexp.Compile(plain); err == nil {
		return &Pattern{linear: linear}, nil
	}
	backtrack, err := regexp2.Compile(rest, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("regex %q: %w", expr, err)
	}
	backtrack.MatchTimeout = limit
	return &Pattern{backtrack: backtrack}, nil
}

// Matches reports whether s contains a match.
func (p *Pattern) Matches(s string) (bool, error) {
	if p.linear != nil {
		return p.linear.MatchString(s), nil
	}
	is, err := p.backtrack.MatchString(s)
	if err != nil {
		return false, ErrTimeout
	}
	return is, nil
}

// First is the first match in s; false when there is none.
func (p *Pattern) First(s string) (string, bool, error) {
	if p.linear != nil {
		at := p.linear.FindStringIndex(s)
		if at == nil {
			return "", false, nil
		}
		return s[at[0]:at[1]], true, nil
	}
	m, err := p.backtrack.FindStringMatch(s)
	if err != nil || m == nil {
		return "", false, timeout(err)
	}
	return m.String(), true, nil
}

func timeout(err error) error {
	if err != nil {
		return ErrTimeout
	}
	return nil
}

// resultBytesMax bounds what Replace may make of a message.
const resultBytesMax = 1 << 20

// errTooLong ends a replacement that grows without end.
var errTooLong = fmt.Errorf("regex: result longer than %d bytes", resultBytesMax)

// Replace puts replacement, in Java's syntax, in place of every match: $n is
// the group with the longest number that exists, ${name} a named group, \x the
// character x. An unknown group or a lone $ is an error, if anything matches.
func (p *Pattern) Replace(s, replacement string) (string, error) {
	var dst []byte
	var err error
	end := 0
	visit := func(start, stop int, group func(int) string) bool {
		dst = append(dst, s[end:start]...)
		end = stop
		dst, err = p.expand(dst, replacement, group)
		if err == nil && len(dst) > resultBytesMax {
			err = errTooLong
		}
		return err == nil
	}
	if p.linear != nil {
		p.eachLinear(s, visit)
	} else if late := p.eachBacktrack(s, visit); late != nil {
		return "", late
	}
	return string(append(dst, s[end:]...)), err
}

func (p *Pattern) eachLinear(s string, visit func(start, stop int, group func(int) string) bool) {
	for _, at := range p.linear.FindAllStringSubmatchIndex(s, -1) {
		group := func(i int) string {
			if at[2*i] < 0 {
				return ""
			}
			return s[at[2*i]:at[2*i+1]]
		}
		if !visit(at[0], at[1], group) {
			return
		}
	}
}

// backtracksMax bounds how often one Replace may use the backtracking matcher,
// whose limit of time is for one match.
const backtracksMax = 1000

// eachBacktrack visits matches; that matcher counts in runes, s in bytes.
func (p *Pattern) eachBacktrack(s string, visit func(start, stop int, group func(int) string) bool) error {
	m, err := p.backtrack.FindStringMatch(s)
	runes, bytes, count := 0, 0, 0
	for ; m != nil && err == nil; m, err = p.backtrack.FindNextMatch(m) {
		if count++; count > backtracksMax {
			return fmt.Errorf("regex: more than %d matches", backtracksMax)
		}
		bytes += width(s[bytes:], m.Index-runes)
		runes = m.Index
		stop := bytes + width(s[bytes:], m.Length)
		group := func(i int) string { return m.GroupByNumber(i).String() }
		if !visit(bytes, stop, group) {
			return nil
		}
	}
	return timeout(err)
}

// width is the number of bytes of the first n runes of s.
func width(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

func (p *Pattern) groups() int {
	if p.linear != nil {
		return p.linear.NumSubexp()
	}
	return len(p.backtrack.GetGroupNumbers()) - 1
}

func (p *Pattern) named(name string) int {
	if p.linear != nil {
		return p.linear.SubexpIndex(name)
	}
	return p.backtrack.GroupNumberFromName(name)
}

// expand writes replacement for one match.
func (p *Pattern) expand(dst []byte, replacement string, group func(int) string) ([]byte, error) {
	for i := 0; i < len(replacement); i++ {
		switch c := replacement[i]; {
		case c == '\\' && i+1 < len(replacement):
			i++
			dst = append(dst, replacement[i])
		case c == '\\':
			return dst, fmt.Errorf("regex replacement %q: a \\ at the end", replacement)
		case c == '$':
			number, length, err := p.reference(replacement[i+1:])
			if err != nil {
				return dst, err
			}
			dst = append(dst, group(number)...)
			i += length
		default:
			dst = append(dst, c)
		}
	}
	return dst, nil
}

// reference reads what stands behind $: a number or {name}.
func (p *Pattern) reference(s string) (number, length int, err error) {
	if strings.HasPrefix(s, "{") {
		end := strings.IndexByte(s, '}')
		if end < 0 || p.named(s[1:end]) < 0 {
			return 0, 0, fmt.Errorf("regex replacement: no group %q", s)
		}
		return p.named(s[1:end]), end + 1, nil
	}
	groups := p.groups()
	for length < len(s) && s[length] >= '0' && s[length] <= '9' {
		next := number*10 + int(s[length]-'0')
		if next > groups && length > 0 {
			break
		}
		number = next
		length++
	}
	if length == 0 || number > groups {
		return 0, 0, fmt.Errorf("regex replacement: no group $%s", s)
	}
	return number, length, nil
}
