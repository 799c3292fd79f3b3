package kernel

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidehold/tidehold/drivers"
)

// tree makes files below a folder that plays /sys.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		put(t, root, name, content)
	}
	return root
}

func put(t *testing.T, root, name, content string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// open gives a part as the sampler does; an error of Open is returned.
func open(t *testing.T, d drivers.Driver, options map[string]any) (drivers.Device, error) {
	t.Helper()
	c := drivers.SensorConfig{Name: "s", Driver: d.Describe().Name, Poll: 10e9, Options: options}
	if problems := drivers.CheckSensor(c, d); len(problems) > 0 {
		t.Fatal(problems)
	}
	own, _ := drivers.DriverFor(c, d)
	checked, _ := drivers.CheckOptions(own.Describe().Options, options)
	return own.Open(t.Context(), nil, checked)
}

func mustOpen(t *testing.T, d drivers.Driver, options map[string]any) drivers.Device {
	t.Helper()
	dev, err := open(t, d, options)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func expect(t *testing.T, d drivers.Device, want map[string]float64) {
	t.Helper()
	list, err := d.Read(t.Context())
	if err != nil || len(list) != len(want) {
		t.Fatalf("got %v, %v; want %v", list, err, want)
	}
	for _, r := range list {
		if v, ok := want[r.Channel]; !ok || math.Abs(r.Value-v) > 1e-9 {
			t.Errorf("%s: got %v, want %v", r.Channel, r.Value, want)
		}
	}
}

func cause(t *testing.T, d drivers.Device, want drivers.Cause) {
	t.Helper()
	if list, err := d.Read(t.Context()); drivers.CauseOf(err) != want || list != nil {
		t.Errorf("got %v, %v; want %s", list, err, want)
	}
}

func TestHwmon_ReadsEveryKindOfChannelInSI(t *testing.T) {
	root := tree(t, map[string]string{
		"class/hwmon/hwmon0/name": "cpu_thermal\n", "class/hwmon/hwmon0/temp1_input": "48312\n",
		"class/hwmon/hwmon1/name": "ina226\n", "class/hwmon/hwmon1/temp1_input": "-1500\n", "class/hwmon/hwmon1/in0_input": "11980\n",
		"class/hwmon/hwmon1/curr1_input": "-250\n", "class/hwmon/hwmon1/power1_average": "2995000\n", "class/hwmon/hwmon1/fan2_input": "1200\n",
		"class/hwmon/hwmon1/humidity1_input": "48500\n", "class/hwmon/hwmon1/energy1_input": "7000000\n",
	})
	expect(t, mustOpen(t, Hwmon(root), nil), map[string]float64{"temp1": 48.312})
	expect(t, mustOpen(t, Hwmon(root), map[string]any{"name": "ina226", "inputs": []any{"temp1", "in0", "curr1", "power1", "fan2", "humidity1", "energy1"}}),
		map[string]float64{"temp1": -1.5, "in0": 11.98, "curr1": -0.25, "power1": 2.995, "fan2": 1200, "humidity1": 0.485, "energy1": 7})
}

// Goal: a number that the kernel gives anew at each boot or re-plug never
// matters. Method: the chip moves to another folder between two reads.
func TestHwmon_AChipIsFoundAgainUnderAnotherNumber(t *testing.T) {
	root := tree(t, map[string]string{"class/hwmon/hwmon0/name": "a\n", "class/hwmon/hwmon1/name": "b\n", "class/hwmon/hwmon1/temp1_input": "1000\n"})
	d := mustOpen(t, Hwmon(root), map[string]any{"name": "b"})
	expect(t, d, map[string]float64{"temp1": 1})
	if err := os.Rename(filepath.Join(root, "class/hwmon/hwmon1"), filepath.Join(root, "class/hwmon/hwmon7")); err != nil {
		t.Fatal(err)
	}
	expect(t, d, map[string]float64{"temp1": 1})
	if err := os.RemoveAll(filepath.Join(root, "class/hwmon/hwmon7")); err != nil {
		t.Fatal(err)
	}
	cause(t, d, drivers.CauseUnplugged)
}

func TestIIO_TakesProcessedValuesOrScalesRawOnes(t *testing.T) {
	root := tree(t, map[string]string{
		"bus/iio/devices/iio:device0/name": "dht11\n", "bus/iio/devices/iio:device0/in_temp_input": "22500\n", "bus/iio/devices/iio:device0/in_humidityrelative_input": "40600\n",
		"bus/iio/devices/iio:device1/name": "ads1015\n", "bus/iio/devices/iio:device1/in_voltage0_raw": "1000\n", "bus/iio/devices/iio:device1/in_voltage0_scale": "3\n",
		"bus/iio/devices/iio:device1/in_voltage1_raw": "100\n", "bus/iio/devices/iio:device1/in_voltage_scale": "2\n", "bus/iio/devices/iio:device1/in_voltage_offset": "-50\n",
		"bus/iio/devices/iio:device2/name": "bmp280\n", "bus/iio/devices/iio:device2/in_pressure_input": "101.325\n",
	})
	expect(t, mustOpen(t, IIO(root), map[string]any{"inputs": []any{"temp", "humidityrelative"}}), map[string]float64{"temp": 22.5, "humidityrelative": 0.406})
	expect(t, mustOpen(t, IIO(root), map[string]any{"name": "ads1015", "inputs": []any{"voltage0", "voltage1"}}), map[string]float64{"voltage0": 2.85, "voltage1": 0.1})
	expect(t, mustOpen(t, IIO(root), map[string]any{"name": "bmp280", "inputs": []any{"pressure"}}), map[string]float64{"pressure": 101325})
}

func TestThermal_ReadsTheZoneOfATypeOrTheFirst(t *testing.T) {
	root := tree(t, map[string]string{
		"class/thermal/thermal_zone0/type": "cpu-thermal\n", "class/thermal/thermal_zone0/temp": "55000\n",
		"class/thermal/thermal_zone1/type": "gpu\n", "class/thermal/thermal_zone1/temp": "-1000\n",
	})
	expect(t, mustOpen(t, Thermal(root), nil), map[string]float64{"temperature": 55})
	expect(t, mustOpen(t, Thermal(root), map[string]any{"zone": "gpu"}), map[string]float64{"temperature": -1})
	if _, err := open(t, Thermal(root), map[string]any{"zone": "npu"}); drivers.CauseOf(err) != drivers.CauseUnplugged {
		t.Errorf("an absent zone: got %v", err)
	}
}

const (
	w1Good  = "73 01 4b 46 7f ff 0d 10 41 : crc=41 YES\n73 01 4b 46 7f ff 0d 10 41 t=23187\n"
	w1Power = "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n"
)

func TestW1Therm_BelievesTheVerdictAndNoPowerUpValue(t *testing.T) {
	const file = "bus/w1/devices/28-0316a2797ef3/w1_slave"
	root := tree(t, map[string]string{file: w1Good, "bus/w1/devices/w1_bus_master1/name": "x"})
	d := mustOpen(t, W1Therm(root), nil)
	expect(t, d, map[string]float64{"temperature": 23.187})
	for content, want := range map[string]drivers.Cause{
		"73 01 4b 46 7f ff 0d 10 41 : crc=33 NO\n73 01 4b 46 7f ff 0d 10 41 t=23187\n": drivers.CauseCRC,
		"00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n":    drivers.CauseCRC,
		"": drivers.CauseCRC,
		"73 01 4b 46 7f ff 0d 10 41 : crc=41 YES\nnonsense":     drivers.CauseOutOfRange,
		"73 01 4b 46 7f ff 0d 10 41 : crc=41 YES\n73 t=-127000": drivers.CauseOutOfRange,
		w1Power: drivers.CauseOutOfRange,
	} {
		put(t, root, file, content)
		cause(t, d, want)
	}
	put(t, root, file, "48 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n48 05 4b 46 7f ff 0c 10 1c t=84500\n")
	expect(t, d, map[string]float64{"temperature": 84.5})
	put(t, root, file, w1Power) // it really is that hot
	expect(t, d, map[string]float64{"temperature": 85})
	if err := os.RemoveAll(filepath.Join(root, "bus/w1/devices/28-0316a2797ef3")); err != nil {
		t.Fatal(err)
	}
	cause(t, d, drivers.CauseUnplugged)
}

func TestSysfs_ReadsAnyNumberInItsUnit(t *testing.T) {
	root := tree(t, map[string]string{"class/power_supply/BAT0/voltage_now": "12345000\n", "a1": "1", "a2": "2", "word": "high"})
	volts := map[string]any{"path": "class/power_supply/BAT*/voltage_now", "scale": 0.001, "quantity": "voltage", "unit": "mV"}
	expect(t, mustOpen(t, Sysfs(root), volts), map[string]float64{"value": 12.345})
	for path, want := range map[string]drivers.Cause{"a*": drivers.CauseUnplugged, "none": drivers.CauseUnplugged, "word": drivers.CauseOutOfRange} {
		if _, err := open(t, Sysfs(root), map[string]any{"path": path}); drivers.CauseOf(err) != want {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
}

func TestCheck_OptionsThatNameNoInputAreRefused(t *testing.T) {
	for _, c := range []struct {
		driver drivers.Driver
		config drivers.SensorConfig
	}{
		{Hwmon("/sys"), drivers.SensorConfig{Options: map[string]any{"inputs": []any{"temp1", "temp1"}}}},
		{Hwmon("/sys"), drivers.SensorConfig{Options: map[string]any{"inputs": []any{"../../etc/passwd"}}}},
		{Hwmon("/sys"), drivers.SensorConfig{Options: map[string]any{"inputs": "temp1"}}},
		{Hwmon("/sys"), drivers.SensorConfig{Options: map[string]any{"input": "temp1"}}},
		{Hwmon("/sys"), drivers.SensorConfig{Bus: "main"}},
		{Hwmon("/sys"), drivers.SensorConfig{Address: []uint16{0x48}}},
		{IIO("/sys"), drivers.SensorConfig{Options: map[string]any{"inputs": []any{3}}}},
		{IIO("/sys"), drivers.SensorConfig{Readings: map[string]drivers.ReadingConfig{"pressure": {}}}},
		{Sysfs("/sys"), drivers.SensorConfig{}},
		{Sysfs("/sys"), drivers.SensorConfig{Options: map[string]any{"path": "["}}},
		{Sysfs("/sys"), drivers.SensorConfig{Options: map[string]any{"path": "a", "quantity": "beauty"}}},
		{Sysfs("/sys"), drivers.SensorConfig{Options: map[string]any{"path": "a", "quantity": "voltage", "unit": "°C"}}},
	} {
		c.config.Poll = 10e9
		if problems := drivers.CheckSensor(c.config, c.driver); len(problems) == 0 {
			t.Errorf("%s with %+v must be refused", c.driver.Describe().Name, c.config)
		}
	}
}

func FuzzParseW1_AnyTextGivesATemperatureOrAnError(f *testing.F) {
	f.Add(w1Good)
	f.Add(w1Power)
	f.Add("YES\nt=")
	f.Fuzz(func(t *testing.T, content string) {
		if milli, err := parseW1(content); err == nil && (milli < -273150 || milli > 1e6) {
			t.Errorf("%q gave %v", content, milli)
		}
	})
}
