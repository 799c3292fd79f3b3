package drivers

import (
	"fmt"
	"slices"
	"strings"
)

// Quantity says what kind of thing is measured.
type Quantity string

// The quantities of readings. In comments: the SI unit in which a Device
// delivers it.
const (
	Temperature   Quantity = "temperature"   // °C
	Humidity      Quantity = "humidity"      // 0..1
	Ratio         Quantity = "ratio"         // 0..1
	Pressure      Quantity = "pressure"      // Pa
	Illuminance   Quantity = "illuminance"   // lx
	Voltage       Quantity = "voltage"       // V
	Current       Quantity = "current"       // A
	Power         Quantity = "power"         // W
	Energy        Quantity = "energy"        // J
	Volume        Quantity = "volume"        // m³
	Flow          Quantity = "flow"          // m³/s
	Length        Quantity = "length"        // m
	Acceleration  Quantity = "acceleration"  // m/s²
	Concentration Quantity = "concentration" // ppm
	Count         Quantity = "count"         // pulses
)

// Unit is a unit as it is written in the configuration, `°C` or `hPa`.
type Unit string

// conversion turns SI into a unit: value = si*scale + offset.
type conversion struct {
	unit          Unit
	scale, offset float64
}

// conversions lists the units of each quantity, the SI unit first.
var conversions = map[Quantity][]conversion{
	Temperature:   {{"°C", 1, 0}, {"°F", 1.8, 32}, {"K", 1, 273.15}},
	Humidity:      {{"", 1, 0}, {"%", 100, 0}},
	Ratio:         {{"", 1, 0}, {"%", 100, 0}},
	Pressure:      {{"Pa", 1, 0}, {"hPa", 1e-2, 0}, {"kPa", 1e-3, 0}, {"bar", 1e-5, 0}, {"mmHg", 1 / 133.322387415, 0}},
	Illuminance:   {{"lx", 1, 0}},
	Voltage:       {{"V", 1, 0}, {"mV", 1e3, 0}},
	Current:       {{"A", 1, 0}, {"mA", 1e3, 0}},
	Power:         {{"W", 1, 0}, {"kW", 1e-3, 0}},
	Energy:        {{"J", 1, 0}, {"Wh", 1 / 3.6e3, 0}, {"kWh", 1 / 3.6e6, 0}},
	Volume:        {{"m³", 1, 0}, {"L", 1e3, 0}},
	Flow:          {{"m³/s", 1, 0}, {"L/min", 6e4, 0}, {"m³/h", 3600, 0}},
	Length:        {{"m", 1, 0}, {"mm", 1e3, 0}, {"cm", 1e2, 0}},
	Acceleration:  {{"m/s²", 1, 0}},
	Concentration: {{"ppm", 1, 0}, {"ppb", 1e3, 0}},
	Count:         {{"", 1, 0}},
}

// Units lists the units of q, the SI unit first.
func Units(q Quantity) []Unit {
	var units []Unit
	for _, c := range conversions[q] {
		units = append(units, c.unit)
	}
	return units
}

// Convert turns si, a value of q in its SI unit, into unit. A unit of another
// quantity is an error that lists the right ones.
func Convert(q Quantity, si float64, unit Unit) (float64, error) {
	c, err := conversionTo(q, unit)
	if err != nil {
		return 0, err
	}
	return si*c.scale + c.offset, nil
}

// ToSI is the inverse of Convert.
func ToSI(q Quantity, value float64, unit Unit) (float64, error) {
	c, err := conversionTo(q, unit)
	if err != nil {
		return 0, err
	}
	return (value - c.offset) / c.scale, nil
}

// QuantityOf gives the quantities that are measured in unit, in no particular
// order; none means the unit is unknown.
func QuantityOf(unit Unit) []Quantity {
	var found []Quantity
	for q, list := range conversions {
		if slices.ContainsFunc(list, func(c conversion) bool { return c.unit == unit }) {
			found = append(found, q)
		}
	}
	return found
}

func conversionTo(q Quantity, unit Unit) (conversion, error) {
	i := slices.IndexFunc(conversions[q], func(c conversion) bool { return c.unit == unit })
	if i < 0 {
		return conversion{}, fmt.Errorf("unit %q is not one of %s: want %s", unit, q, listUnits(q))
	}
	return conversions[q][i], nil
}

func listUnits(q Quantity) string {
	var names []string
	for _, u := range Units(q) {
		if u != "" {
			names = append(names, string(u))
		}
	}
	return strings.Join(names, ", ")
}
