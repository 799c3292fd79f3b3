package sim

import (
	"encoding/csv"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// Signal is a quantity over time: a function of the time since the start.
type Signal func(elapsed time.Duration) float64

// Constant is a signal that stands still.
func Constant(v float64) Signal { return func(time.Duration) float64 { return v } }

// Sine swings around mean with amplitude, beginning at mean and rising.
func Sine(mean, amplitude float64, period time.Duration) Signal {
	return func(t time.Duration) float64 {
		return mean + amplitude*math.Sin(2*math.Pi*float64(t%period)/float64(period))
	}
}

// Ramp goes from one value to another within period, again and again.
func Ramp(from, to float64, period time.Duration) Signal {
	return func(t time.Duration) float64 {
		return from + (to-from)*float64(t%period)/float64(period)
	}
}

// Noise adds Gaussian noise with standard deviation sd. The same seed and time
// give the same value.
func Noise(s Signal, sd float64, seed uint64) Signal {
	return func(t time.Duration) float64 {
		x := mix(seed ^ uint64(t))
		u1 := (float64(x>>11) + 1) / (1 << 53)
		u2 := float64(mix(x)>>11) / (1 << 53)
		return s(t) + sd*math.Sqrt(-2*math.Log(u1))*math.Cos(2*math.Pi*u2)
	}
}

// mix is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// sample is a line of a replayed file.
type sample struct {
	at    time.Duration
	value float64
}

// replay holds each value until the next one's time and begins again at the
// end of the file.
func replay(samples []sample) Signal {
	length := samples[len(samples)-1].at + time.Nanosecond
	return func(t time.Duration) float64 {
		t %= length
		i, _ := slices.BinarySearchFunc(samples, t+1, func(s sample, t time.Duration) int { return int(s.at - t) })
		return samples[max(i-1, 0)].value
	}
}

// replayBytesMax bounds a replayed file.
const replayBytesMax = 8 << 20

// readReplay reads a CSV file with lines SECONDS,VALUE in order of time.
func readReplay(path string) (Signal, error) {
	if st, err := os.Stat(path); err == nil && st.Size() > replayBytesMax {
		return nil, fmt.Errorf("replay %s: %d bytes, at most %d", path, st.Size(), replayBytesMax)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("replay %s: %w", path, err)
	}
	var samples []sample
	for i, row := range rows {
		s, err := readSample(row)
		if err != nil {
			if i == 0 {
				continue // a heading
			}
			return nil, fmt.Errorf("replay %s: line %d: %w", path, i+1, err)
		}
		if n := len(samples); n > 0 && s.at < samples[n-1].at {
			return nil, fmt.Errorf("replay %s: line %d: time goes back", path, i+1)
		}
		samples = append(samples, s)
	}
	if len(samples) == 0 {
		return nil, fmt.Errorf("replay %s: no lines of SECONDS,VALUE", path)
	}
	return replay(samples), nil
}

func readSample(row []string) (sample, error) {
	if len(row) < 2 {
		return sample{}, fmt.Errorf("want SECONDS,VALUE")
	}
	at, err := strconv.ParseFloat(strings.TrimSpace(row[0]), 64)
	if err != nil {
		return sample{}, err
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(row[1]), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || at < 0 || at > 1e9 {
		return sample{}, fmt.Errorf("want a time in seconds and a number")
	}
	return sample{time.Duration(at * float64(time.Second)), v}, nil
}

// ParseSignal builds a signal from its written form: a number, or a map with
// one of constant, sine, ramp, replay and optionally noise.
func ParseSignal(raw any, seed uint64) (Signal, error) {
	if v, ok := drivers.Numeric(raw); ok {
		return Constant(v), nil
	}
	m, ok := raw.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("want a number or one of constant, sine, ramp, replay")
	}
	var s Signal
	sd := 0.0
	for key, arg := range m {
		if key == "noise" {
			if sd, ok = drivers.Numeric(arg); !ok || sd < 0 {
				return nil, fmt.Errorf("noise: want a number of 0 or more")
			}
			continue
		}
		if s != nil {
			return nil, fmt.Errorf("want only one of constant, sine, ramp, replay")
		}
		var err error
		if s, err = parseShape(key, arg); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	if s == nil {
		return nil, fmt.Errorf("want one of constant, sine, ramp, replay")
	}
	if sd > 0 {
		s = Noise(s, sd, seed)
	}
	return s, nil
}

func parseShape(key string, arg any) (Signal, error) {
	m, _ := arg.(map[string]any)
	var f fields
	switch key {
	case "constant":
		v, ok := drivers.Numeric(arg)
		if !ok {
			return nil, fmt.Errorf("want a number")
		}
		return Constant(v), nil
	case "sine":
		s := Sine(f.number(m, "mean"), f.number(m, "amplitude"), f.period(m))
		return s, f.done(m, "mean", "amplitude", "period")
	case "ramp":
		s := Ramp(f.number(m, "from"), f.number(m, "to"), f.period(m))
		return s, f.done(m, "from", "to", "period")
	case "replay":
		path, ok := arg.(string)
		if !ok {
			return nil, fmt.Errorf("want the path of a CSV file")
		}
		return readReplay(path)
	}
	return nil, fmt.Errorf("unknown; known: constant, sine, ramp, replay, noise")
}

// fields reads members of a map and keeps the first fault.
type fields struct{ err error }

func (f *fields) number(m map[string]any, key string) float64 {
	v, ok := drivers.Numeric(m[key])
	if !ok && f.err == nil {
		f.err = fmt.Errorf("%s: want a number", key)
	}
	return v
}

func (f *fields) period(m map[string]any) time.Duration {
	d, ok := drivers.ParseDuration(m["period"])
	if !ok || d <= 0 {
		if f.err == nil {
			f.err = fmt.Errorf("period: want a duration like 10m")
		}
		return time.Second
	}
	return d
}

func (f *fields) done(m map[string]any, known ...string) error {
	for key := range m {
		if f.err == nil && !slices.Contains(known, key) {
			f.err = fmt.Errorf("%s: unknown; known: %s", key, strings.Join(known, ", "))
		}
	}
	return f.err
}

// seedOf spreads a bus's seed over its parts.
func seedOf(seed uint64, names ...string) uint64 {
	h := fnv.New64a()
	for _, n := range names {
		h.Write([]byte(n))
		h.Write([]byte{0})
	}
	return mix(seed ^ h.Sum64())
}
