package main

import (
	"maps"
	"slices"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bme280"
	"github.com/tidehold/tidehold/drivers/gas"
	"github.com/tidehold/tidehold/drivers/humidity"
	"github.com/tidehold/tidehold/drivers/kernel"
	"github.com/tidehold/tidehold/drivers/light"
	"github.com/tidehold/tidehold/drivers/power"
	"github.com/tidehold/tidehold/drivers/registermap"
	"github.com/tidehold/tidehold/drivers/temperature"
	"github.com/tidehold/tidehold/drivers/voltage"
)

// partTable is what this binary can drive: one line per part. No driver
// registers itself, so this page is the whole truth, and a test can pass
// another table.
type partTable map[string]drivers.Driver

func parts() partTable {
	return partTable{
		"ads1015":      voltage.ADS1015(),
		"ads1115":      voltage.ADS1115(),
		"aht20":        humidity.AHT20(),
		"bh1750":       light.BH1750(),
		"bme280":       bme280.Driver{},
		"bmp180":       bme280.BMP180(),
		"bmp280":       bme280.BMP280(),
		"hdc302x":      humidity.HDC302x(),
		"htu21d":       humidity.HTU21D(),
		"ina219":       power.INA219(),
		"ina226":       power.INA226(),
		"ina260":       power.INA260(),
		"hwmon":        kernel.Hwmon("/sys"),
		"iio":          kernel.IIO("/sys"),
		"lm75":         temperature.LM75(),
		"max31855":     temperature.MAX31855(),
		"max31865":     temperature.MAX31865(),
		"mcp3008":      voltage.MCP3008(),
		"mcp9808":      temperature.MCP9808(),
		"register-map": registermap.Driver{},
		"scd4x":        gas.SCD4x(),
		"sgp40":        gas.SGP40(),
		"sht3x":        humidity.SHT3x(),
		"sht4x":        humidity.SHT4x(),
		"si7021":       humidity.Si7021(),
		"sysfs":        kernel.Sysfs("/sys"),
		"thermal":      kernel.Thermal("/sys"),
		"tmp102":       temperature.TMP102(),
		"tmp117":       temperature.TMP117(),
		"w1_therm":     kernel.W1Therm("/sys"),
		"veml7700":     light.VEML7700(),
	}
}

// Driver finds a driver by the word in `driver:`.
func (t partTable) Driver(name string) (drivers.Driver, bool) {
	d, ok := t[name]
	return d, ok
}

// Names lists the words, sorted.
func (t partTable) Names() []string { return slices.Sorted(maps.Keys(t)) }
