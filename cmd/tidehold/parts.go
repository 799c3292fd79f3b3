package main

import (
	"maps"
	"slices"

	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bme280"
)

// partTable is what this binary can drive: one line per part. No driver
// registers itself, so this page is the whole truth, and a test can pass
// another table.
type partTable map[string]drivers.Driver

func parts() partTable {
	return partTable{
		"bme280": bme280.Driver{},
	}
}

// Driver finds a driver by the word in `driver:`.
func (t partTable) Driver(name string) (drivers.Driver, bool) {
	d, ok := t[name]
	return d, ok
}

// Names lists the words, sorted.
func (t partTable) Names() []string { return slices.Sorted(maps.Keys(t)) }
