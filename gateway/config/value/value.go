// Package value reads the scalar forms of the configuration file (contract
// section 5): durations, sizes, rates, shares, addresses to bind, references
// to secrets, templates.
//
// Every Parse function takes the text as written and gives a value or a
// sentence that says what was wanted. All but Secret.Resolve are pure; Resolve
// reads a file of at most SecretBytesMax bytes.
package value

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// durationMax is a hundred years: enough for everybody, and far from overflow.
const durationMax = 100 * 365 * 24 * time.Hour

// ParseDuration reads `200ms`, `20s`, `5m`, `168h`, sums of them like `1h30m`,
// and 0. Negative durations are refused.
func ParseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: want a number with ms, s, m or h, like 20s", text)
	}
	if d < 0 || d > durationMax {
		return 0, fmt.Errorf("%q is outside 0 to 100 years", text)
	}
	return d, nil
}

// sizeUnits are the factors of sizes, the longest suffix first.
var sizeUnits = []struct {
	suffix string
	factor float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}, {"", 1}}

// ParseSize reads bytes: `8KiB`, `4MiB`, `1GiB`, or a plain number.
func ParseSize(text string) (int64, error) {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, ok := decimal(digits)
		if bytes := n * u.factor; ok && bytes <= 1<<50 && bytes == math.Trunc(bytes) {
			return int64(bytes), nil
		}
		break
	}
	return 0, fmt.Errorf("%q is no size: want a number with KiB, MiB or GiB, like 4MiB", text)
}

// ParseRate reads an amount per second: `100/s`, `30/m`, `512KiB/s`, and 0. A
// plain number is per second.
func ParseRate(text string) (float64, error) {
	amount, per := text, 1.0
	for suffix, seconds := range map[string]float64{"/s": 1, "/m": 60, "/h": 3600} {
		if before, ok := strings.CutSuffix(text, suffix); ok {
			amount, per = before, seconds
		}
	}
	if n, ok := decimal(amount); ok {
		return n / per, nil
	}
	if n, err := ParseSize(amount); err == nil {
		return float64(n) / per, nil
	}
	return 0, fmt.Errorf("%q is no rate: want 100/s or 512KiB/s", text)
}

// ParseShare reads `50%` as 0.5; a plain number from 0 to 1 is one too.
func ParseShare(text string) (float64, error) {
	digits, percent := strings.CutSuffix(text, "%")
	n, ok := decimal(digits)
	if percent {
		n /= 100
	}
	if !ok || n > 1 {
		return 0, fmt.Errorf("%q is no share: want 0%% to 100%%", text)
	}
	return n, nil
}

// ParseHertz reads `100kHz`, `25kHz`, `1MHz`, or a plain number.
func ParseHertz(text string) (int64, error) {
	digits := strings.TrimSuffix(text, "Hz")
	factor := 1.0
	if digits != text {
		switch {
		case strings.HasSuffix(digits, "k"):
			digits, factor = strings.TrimSuffix(digits, "k"), 1e3
		case strings.HasSuffix(digits, "M"):
			digits, factor = strings.TrimSuffix(digits, "M"), 1e6
		}
	}
	n, ok := decimal(digits)
	if hz := n * factor; ok && hz <= 1e9 && hz == math.Trunc(hz) {
		return int64(hz), nil
	}
	return 0, fmt.Errorf("%q is no frequency: want a number with Hz, kHz or MHz, like 100kHz", text)
}

// ParseBool reads on, off, true, false.
func ParseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "on", "true":
		return true, nil
	case "off", "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither on nor off", text)
}

// ParseInteger reads a whole number, decimal or 0x hexadecimal, within bounds.
func ParseInteger(text string, low, high int64) (int64, error) {
	n, err := strconv.ParseInt(text, 0, 64)
	if strings.ContainsAny(text, "_oO") || err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%q is no whole number", text)
	}
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%s is outside %d to %d", text, low, high)
	}
	return n, nil
}

// ParseNumber reads a finite number.
func ParseNumber(text string) (float64, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) || strings.ContainsAny(text, "_xX") {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return n, nil
}

// decimal reads a number without sign, exponent or other adornment.
func decimal(text string) (float64, bool) {
	if text == "" || strings.Trim(text, "0123456789.") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil && n <= 1e15
}
