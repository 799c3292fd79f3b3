package sim

import (
	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/sim/chip"
)

// chips is the table of simulated chips, by the driver that reads them.
var chips = map[string]func(world chip.World) Chip{
	"ads1015":  func(w chip.World) Chip { return chip.ADS1015(w) },
	"ads1115":  func(w chip.World) Chip { return chip.ADS1115(w) },
	"aht20":    func(w chip.World) Chip { return chip.AHT20(w) },
	"bh1750":   func(w chip.World) Chip { return chip.BH1750(w) },
	"bme280":   func(w chip.World) Chip { return NewBME280(w) },
	"bmp180":   func(w chip.World) Chip { return chip.BMP180(w) },
	"bmp280":   func(w chip.World) Chip { return NewBMP280(w) },
	"hdc302x":  func(w chip.World) Chip { return chip.HDC302x(w) },
	"htu21d":   func(w chip.World) Chip { return chip.HTU21D(w) },
	"ina219":   func(w chip.World) Chip { return chip.INA219(w) },
	"ina226":   func(w chip.World) Chip { return chip.INA226(w) },
	"ina260":   func(w chip.World) Chip { return chip.INA260(w) },
	"lm75":     func(w chip.World) Chip { return chip.LM75(w) },
	"max31855": func(w chip.World) Chip { return chip.MAX31855(w) },
	"max31865": func(w chip.World) Chip { return chip.MAX31865(w) },
	"mcp3008":  func(w chip.World) Chip { return chip.MCP3008(w) },
	"mcp9808":  func(w chip.World) Chip { return chip.MCP9808(w) },
	"scd4x":    func(w chip.World) Chip { return chip.SCD4x(w) },
	"sgp40":    func(w chip.World) Chip { return chip.SGP40(w) },
	"sht3x":    func(w chip.World) Chip { return chip.SHT3x(w) },
	"sht4x":    func(w chip.World) Chip { return chip.SHT4x(w) },
	"si7021":   func(w chip.World) Chip { return chip.Si7021(w) },
	"tmp102":   func(w chip.World) Chip { return chip.TMP102(w) },
	"tmp117":   func(w chip.World) Chip { return chip.TMP117(w) },
	"veml7700": func(w chip.World) Chip { return chip.VEML7700(w) },
}

// defaults are what a world is like where nobody says otherwise, in SI.
var defaults = map[drivers.Quantity]float64{
	drivers.Temperature: 21, drivers.Humidity: 0.5, drivers.Pressure: 101325, drivers.Illuminance: 300,
	drivers.Concentration: 600, drivers.Voltage: 3.3, drivers.Current: 0.1, drivers.Power: 0.33, drivers.Count: 30000,
}
