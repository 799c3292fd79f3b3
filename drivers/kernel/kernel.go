// Package kernel has the drivers of parts that the kernel reads and shows as
// files below /sys: hwmon, iio, w1_therm, thermal, and sysfs for any other.
//
// A part is found anew for each read, by its name and not by its number, so it
// survives renumbering and re-plugging. An absent file is ErrUnplugged, one that
// may not be read ErrPermission. Reading a file blocks as long as the kernel
// driver takes (a 1-Wire thermometer 750 ms) and cannot be abandoned; the
// sampler gives such a read up.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// fileBytesMax bounds what is read of a file; the kernel's own bound is a page.
const fileBytesMax = 4096

// driver is one of this package's drivers. The functions get the root of the
// sysfs tree.
type driver struct {
	name, identify string
	root           string
	maxRead        time.Duration
	options        []drivers.Option
	// channels of a part, from its raw options.
	channels func(options map[string]any) ([]drivers.Channel, []drivers.Problem)
	// open builds the reading function of a part.
	open func(root string, channels []drivers.Channel, o drivers.Options) reader
}

// reader takes one sample, in SI units, in the order of the channels.
type reader func() ([]float64, error)

var _ drivers.Shaped = driver{}

// Describe tells what all parts of the driver share.
func (d driver) Describe() drivers.Info {
	return drivers.Info{Name: d.name, Identify: d.identify, Options: d.options, MaxRead: d.maxRead}
}

// Open needs a part's options: Shape gives the driver to open.
func (d driver) Open(context.Context, *drivers.Handle, drivers.Options) (drivers.Device, error) {
	return nil, fmt.Errorf("%s: opened without its options", d.name)
}

// Shape gives the driver of a part with these options.
func (d driver) Shape(options map[string]any) (drivers.Driver, []drivers.Problem) {
	channels, problems := d.channels(options)
	if len(problems) > 0 {
		return nil, problems
	}
	return shaped{d, channels}, nil
}

// shaped is a driver with the channels of one part.
type shaped struct {
	driver
	list []drivers.Channel
}

// Describe tells the part's channels too.
func (s shaped) Describe() drivers.Info {
	sheet := s.driver.Describe()
	sheet.Channels = s.list
	return sheet
}

// Open looks whether the part can be read.
func (s shaped) Open(ctx context.Context, _ *drivers.Handle, o drivers.Options) (drivers.Device, error) {
	d := &device{shaped: s, read: s.open(s.root, s.list, o)}
	if err := d.Identify(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// device is one part.
type device struct {
	shaped
	read reader
}

// Identify takes a sample: a file that can be read is the part.
func (d *device) Identify(context.Context) error {
	_, err := d.read()
	if err != nil {
		return fmt.Errorf("%s identify: %w", d.name, err)
	}
	return nil
}

// Read takes one sample.
func (d *device) Read(context.Context) ([]drivers.Reading, error) {
	values, err := d.read()
	if err != nil {
		return nil, fmt.Errorf("%s read: %w", d.name, err)
	}
	var out []drivers.Reading
	for i, c := range d.list {
		if math.IsNaN(values[i]) || math.IsInf(values[i], 0) {
			return nil, fmt.Errorf("%s read: %s is %v: %w", d.name, c.Name, values[i], drivers.ErrOutOfRange)
		}
		out = append(out, drivers.Reading{Channel: c.Name, Quantity: c.Quantity, Value: values[i]})
	}
	return out, nil
}

// Close has nothing to do.
func (d *device) Close() error { return nil }

// kinds are the causes of a file's errors.
var kinds = []struct{ err, cause error }{
	{fs.ErrNotExist, drivers.ErrUnplugged}, {syscall.ENODEV, drivers.ErrUnplugged}, {syscall.ENXIO, drivers.ErrUnplugged},
	{fs.ErrPermission, drivers.ErrPermission}, {syscall.EBUSY, drivers.ErrTimeout}, {syscall.EAGAIN, drivers.ErrTimeout},
	{syscall.EIO, drivers.ErrTimeout}, {syscall.ETIMEDOUT, drivers.ErrTimeout}, {syscall.EINVAL, drivers.ErrStale}, {syscall.ENODATA, drivers.ErrStale},
}

// text reads a file without its last line feed.
func text(path string) (string, error) {
	b, err := read(path)
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return "", fmt.Errorf("%w (%w)", err, k.cause)
		}
	}
	return strings.TrimRight(string(b), "\n\x00 "), err
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, fileBytesMax)
	n, err := f.Read(b) // a sysfs file comes whole in one read
	if n == 0 && err != nil && err.Error() == "EOF" {
		err = nil
	}
	return b[:n], err
}

// number reads a file with one number.
func number(path string) (float64, error) {
	t, err := text(path)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(t), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%s: %q is no number: %w", path, t, drivers.ErrOutOfRange)
	}
	return v, nil
}

// named finds the folder among pattern's whose file tells want; of several the
// first by name. An empty want takes any.
func named(pattern, file, want string) (string, error) {
	folders, err := filepath.Glob(pattern)
	if err != nil {
		return "", fmt.Errorf("pattern %q: %w", pattern, err)
	}
	slices.Sort(folders)
	var seen []string
	for _, f := range folders {
		got, err := text(filepath.Join(f, file))
		if err == nil && (want == "" || got == want) {
			return f, nil
		}
		seen = append(seen, got)
	}
	return "", fmt.Errorf("none of %s has %s %q; there are %q: %w", pattern, file, want, seen, drivers.ErrUnplugged)
}

// prefix is a kind of kernel channel: its SI value is the file's times scale.
type prefix struct {
	name     string
	quantity drivers.Quantity
	unit     drivers.Unit
	decimals int
	scale    float64
}

// find gives the kind whose name begins input.
func find(list []prefix, input string) (prefix, bool) {
	for _, p := range list {
		rest, ok := strings.CutPrefix(input, p.name)
		if ok && strings.Trim(rest, "0123456789") == "" {
			return p, true
		}
	}
	return prefix{}, false
}

// inputs reads the option `inputs`, a list of channel names of these kinds.
func inputs(list []prefix, usual string) func(map[string]any) ([]drivers.Channel, []drivers.Problem) {
	return func(options map[string]any) (channels []drivers.Channel, problems []drivers.Problem) {
		raw, given := options["inputs"].([]any)
		if !given && options["inputs"] == nil {
			raw = []any{usual}
		}
		for i, item := range raw {
			name, _ := item.(string)
			p, ok := find(list, name)
			if !ok || slices.ContainsFunc(channels, func(c drivers.Channel) bool { return c.Name == name }) {
				problems = append(problems, drivers.Problem{Path: fmt.Sprintf("options.inputs[%d]", i), Message: fmt.Sprintf("%v is no input, or named twice", item), Hint: "like " + usual})
				continue
			}
			channels = append(channels, drivers.Channel{Name: name, Quantity: p.quantity, Unit: p.unit, Decimals: p.decimals, Class: drivers.Measurement})
		}
		if len(raw) == 0 {
			problems = append(problems, drivers.Problem{Path: "options.inputs", Message: "want a list of inputs", Hint: "like [" + usual + "]"})
		}
		return channels, problems
	}
}

func nameOption(doc string) drivers.Option {
	return drivers.Option{Name: "name", Kind: drivers.Text, Default: "", Doc: doc}
}

func inputsOption() drivers.Option {
	return drivers.Option{Name: "inputs", Kind: drivers.Free, Doc: "list of the kernel's channels"}
}
