package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidehold/tidehold/drivers"
)

// hwmonKinds are the channels of the kernel's hwmon (Documentation/hwmon/
// sysfs-interface): thousandths, and millionths for power and energy.
var hwmonKinds = []prefix{
	{"temp", drivers.Temperature, "°C", 1, 1e-3}, {"in", drivers.Voltage, "V", 3, 1e-3}, {"curr", drivers.Current, "A", 3, 1e-3},
	{"power", drivers.Power, "W", 2, 1e-6}, {"energy", drivers.Energy, "J", 0, 1e-6}, {"humidity", drivers.Humidity, "%", 1, 1e-5}, {"fan", drivers.Count, "", 0, 1},
}

// Hwmon reads a sensor of the kernel's hwmon: the chips of a mainboard, fans,
// and every sensor with a hwmon driver. root is /sys.
func Hwmon(root string) drivers.Driver {
	return driver{
		name: "hwmon", identify: "/sys/class/hwmon/*/name is the option `name`", root: root, maxRead: 3 * time.Second,
		options:  []drivers.Option{nameOption("text of the file name, like cpu_thermal; empty: the first"), inputsOption()},
		channels: inputs(hwmonKinds, "temp1"),
		open: func(root string, channels []drivers.Channel, o drivers.Options) reader {
			return func() ([]float64, error) {
				folder, err := named(filepath.Join(root, "class/hwmon/hwmon*"), "name", o.Text("name"))
				if err != nil {
					return nil, err
				}
				return each(channels, func(c drivers.Channel) (float64, error) {
					file := c.Name + "_input"
					if strings.HasPrefix(c.Name, "power") {
						file = powerFile(folder, c.Name)
					}
					kind, _ := find(hwmonKinds, c.Name)
					v, err := number(filepath.Join(folder, file))
					return v * kind.scale, err
				})
			}
		},
	}
}

// powerFile is the present power, or the average where a chip has only that.
func powerFile(folder, name string) string {
	if _, err := text(filepath.Join(folder, name+"_input")); errors.Is(err, fs.ErrNotExist) {
		return name + "_average"
	}
	return name + "_input"
}

// each reads the channels one after the other.
func each(channels []drivers.Channel, read func(drivers.Channel) (float64, error)) ([]float64, error) {
	var values []float64
	for _, c := range channels {
		v, err := read(c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		values = append(values, v)
	}
	return values, nil
}

// iioKinds are the channels of the kernel's iio (Documentation/ABI/testing/
// sysfs-bus-iio), with its units.
var iioKinds = []prefix{
	{"temp", drivers.Temperature, "°C", 2, 1e-3}, {"humidityrelative", drivers.Humidity, "%", 1, 1e-5}, {"pressure", drivers.Pressure, "hPa", 2, 1e3},
	{"illuminance", drivers.Illuminance, "lx", 1, 1}, {"voltage", drivers.Voltage, "V", 4, 1e-3}, {"current", drivers.Current, "A", 4, 1e-3},
	{"power", drivers.Power, "W", 3, 1e-3}, {"distance", drivers.Length, "m", 3, 1}, {"concentration_co2", drivers.Concentration, "ppm", 0, 1e4},
	{"accel_x", drivers.Acceleration, "m/s²", 3, 1}, {"accel_y", drivers.Acceleration, "m/s²", 3, 1}, {"accel_z", drivers.Acceleration, "m/s²", 3, 1},
}

// IIO reads a device of the kernel's industrial I/O: DHT11 and DHT22, and every
// chip with an overlay for it. root is /sys.
func IIO(root string) drivers.Driver {
	return driver{
		name: "iio", identify: "/sys/bus/iio/devices/*/name is the option `name`", root: root, maxRead: 5 * time.Second,
		options:  []drivers.Option{nameOption("text of the file name, like dht11 or bme280; empty: the first"), inputsOption()},
		channels: inputs(iioKinds, "temp"),
		open: func(root string, channels []drivers.Channel, o drivers.Options) reader {
			return func() ([]float64, error) {
				folder, err := named(filepath.Join(root, "bus/iio/devices/iio:device*"), "name", o.Text("name"))
				if err != nil {
					return nil, err
				}
				return each(channels, func(c drivers.Channel) (float64, error) {
					kind, _ := find(iioKinds, c.Name)
					v, err := iioValue(folder, c.Name, kind.name)
					return v * kind.scale, err
				})
			}
		},
	}
}

// iioValue reads a channel: the processed value where the driver has one, else
// (raw + offset)·scale, each for the channel or for all of its kind.
func iioValue(folder, channel, kind string) (float64, error) {
	v, err := number(filepath.Join(folder, "in_"+channel+"_input"))
	if !errors.Is(err, fs.ErrNotExist) {
		return v, err
	}
	raw, err := number(filepath.Join(folder, "in_"+channel+"_raw"))
	if err != nil {
		return 0, err
	}
	offset, err := iioFactor(folder, channel, kind, "offset", 0)
	if err != nil {
		return 0, err
	}
	scale, err := iioFactor(folder, channel, kind, "scale", 1)
	return (raw + offset) * scale, err
}

func iioFactor(folder, channel, kind, what string, usual float64) (float64, error) {
	for _, name := range []string{channel, kind} {
		v, err := number(filepath.Join(folder, "in_"+name+"_"+what))
		if !errors.Is(err, fs.ErrNotExist) {
			return v, err
		}
	}
	return usual, nil
}

// temperature is the one channel of thermal zones and 1-Wire thermometers.
func temperature(map[string]any) ([]drivers.Channel, []drivers.Problem) {
	return []drivers.Channel{{Name: "temperature", Quantity: drivers.Temperature, Unit: "°C", Decimals: 1, Class: drivers.Measurement}}, nil
}

// Thermal reads a thermal zone of the processor or board. root is /sys.
func Thermal(root string) drivers.Driver {
	return driver{
		name: "thermal", identify: "/sys/class/thermal/thermal_zone*/type is the option `zone`", root: root, maxRead: time.Second,
		options:  []drivers.Option{{Name: "zone", Kind: drivers.Text, Default: "", Doc: "text of the file type, like cpu-thermal; empty: the first"}},
		channels: temperature,
		open: func(root string, _ []drivers.Channel, o drivers.Options) reader {
			return func() ([]float64, error) {
				folder, err := named(filepath.Join(root, "class/thermal/thermal_zone*"), "type", o.Text("zone"))
				if err != nil {
					return nil, err
				}
				v, err := number(filepath.Join(folder, "temp"))
				return []float64{v / 1000}, err
			}
		},
	}
}

// What a DS18B20 says without having measured (hardware-facts, section 6).
const (
	powerUpMilli = 85000
	absentMilli  = -127000
	nearPowerUp  = 1.5 // °C: a last value so near makes 85 °C believable
	w1Tries      = 3   // one read and two retries after a wrong checksum
)

// W1Therm reads a 1-Wire thermometer (DS18B20 and its relatives) by the kernel's
// w1_therm. The value of power-up, exactly 85 °C, is an error unless the last
// value was near it. root is /sys.
func W1Therm(root string) drivers.Driver {
	return driver{
		name: "w1_therm", identify: "/sys/bus/w1/devices/ has the option `device`", root: root, maxRead: 4 * time.Second,
		options:  []drivers.Option{{Name: "device", Kind: drivers.Text, Default: "", Doc: "like 28-0316a2797ef3; empty: the first"}},
		channels: temperature,
		open: func(root string, _ []drivers.Channel, o drivers.Options) reader {
			last := 0.0
			return func() ([]float64, error) {
				file, err := w1File(root, o.Text("device"))
				if err != nil {
					return nil, err
				}
				milli, err := w1Read(file)
				if err != nil {
					return nil, err
				}
				v := milli / 1000
				if milli == absentMilli || milli == powerUpMilli && (last < v-nearPowerUp || last > v+nearPowerUp) {
					return nil, fmt.Errorf("%s: %v °C is what the sensor says without measuring: %w", file, v, drivers.ErrOutOfRange)
				}
				last = v
				return []float64{v}, nil
			}
		},
	}
}

// w1Families are the codes of thermometers that w1_therm knows.
var w1Families = []string{"10", "22", "28", "3b", "42"}

// w1File finds the file of a thermometer.
func w1File(root, device string) (string, error) {
	folder := filepath.Join(root, "bus/w1/devices")
	if device != "" {
		return filepath.Join(folder, device, "w1_slave"), nil
	}
	for _, family := range w1Families {
		if found, _ := filepath.Glob(filepath.Join(folder, family+"-*", "w1_slave")); len(found) > 0 {
			return slices.Min(found), nil
		}
	}
	return "", fmt.Errorf("no thermometer in %s: %w", folder, drivers.ErrUnplugged)
}

// w1Read gives m°C; a wrong checksum is tried again.
func w1Read(file string) (milli float64, err error) {
	for range w1Tries {
		var t string
		if t, err = text(file); err != nil {
			return 0, err
		}
		if milli, err = parseW1(t); !errors.Is(err, drivers.ErrCRC) {
			break
		}
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return milli, nil
}

// parseW1 reads the two lines of w1_slave: the bytes with the verdict on their
// checksum, and the bytes with t=.
func parseW1(t string) (float64, error) {
	verdict, rest, _ := strings.Cut(t, "\n")
	if !strings.HasSuffix(verdict, "YES") {
		return 0, fmt.Errorf("%q: %w", verdict, drivers.ErrCRC)
	}
	if strings.HasPrefix(verdict, "00 00 00 00 00 00 00 00 00") { // the checksum of zeros is zero
		return 0, fmt.Errorf("nothing but zeros: %w", drivers.ErrCRC)
	}
	_, value, _ := strings.Cut(rest, "t=")
	milli, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || milli < -273150 || milli > 1000000 {
		return 0, fmt.Errorf("%q is no temperature: %w", rest, drivers.ErrOutOfRange)
	}
	return float64(milli), nil
}

// Sysfs reads any file with a number. root is /sys; the option `path` is below
// it or absolute, and may have `*` where numbers change.
func Sysfs(root string) drivers.Driver {
	return driver{
		name: "sysfs", identify: "the option `path` finds one file with a number", root: root, maxRead: 3 * time.Second,
		options: []drivers.Option{
			{Name: "path", Kind: drivers.Text, Default: "", Doc: "pattern of the file, like class/power_supply/BAT*/voltage_now"},
			{Name: "scale", Kind: drivers.Number, Default: 1.0, Doc: "factor that makes the unit of the number"},
			{Name: "offset", Kind: drivers.Number, Default: 0.0, Doc: "added after the factor"},
			{Name: "quantity", Kind: drivers.Text, Default: "count", Doc: "temperature, voltage, ..."},
			{Name: "unit", Kind: drivers.Text, Default: "", Doc: "unit of the scaled number; empty: the SI unit"},
		},
		channels: sysfsChannel,
		open: func(root string, channels []drivers.Channel, o drivers.Options) reader {
			path := o.Text("path")
			if !filepath.IsAbs(path) {
				path = filepath.Join(root, path)
			}
			return func() ([]float64, error) {
				found, err := filepath.Glob(path)
				if err != nil || len(found) != 1 {
					return nil, fmt.Errorf("%s finds %d files, want one: %w", path, len(found), drivers.ErrUnplugged)
				}
				v, err := number(found[0])
				if err != nil {
					return nil, err
				}
				v, err = drivers.ToSI(channels[0].Quantity, v*o.Float("scale")+o.Float("offset"), channels[0].Unit)
				return []float64{v}, err
			}
		},
	}
}

func sysfsChannel(options map[string]any) ([]drivers.Channel, []drivers.Problem) {
	quantity, _ := options["quantity"].(string)
	unit, _ := options["unit"].(string)
	path, _ := options["path"].(string)
	if path == "" {
		return nil, []drivers.Problem{{Path: "options.path", Message: "want the path of a file", Hint: "like class/power_supply/BAT*/voltage_now"}}
	}
	if _, err := filepath.Match(path, ""); err != nil {
		return nil, []drivers.Problem{{Path: "options.path", Message: err.Error()}}
	}
	c := drivers.Channel{Name: "value", Quantity: drivers.Quantity(quantity), Unit: drivers.Unit(unit), Decimals: 3, Class: drivers.Measurement}
	if quantity == "" {
		c.Quantity = drivers.Count
	}
	units := drivers.Units(c.Quantity)
	if len(units) == 0 {
		return nil, []drivers.Problem{{Path: "options.quantity", Message: fmt.Sprintf("unknown quantity %q", quantity), Hint: "like temperature or voltage"}}
	}
	if unit == "" {
		c.Unit = units[0]
	}
	if _, err := drivers.Convert(c.Quantity, 0, c.Unit); err != nil {
		return nil, []drivers.Problem{{Path: "options.unit", Message: err.Error()}}
	}
	return []drivers.Channel{c}, nil
}
