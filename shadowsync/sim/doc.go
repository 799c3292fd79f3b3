// Package sim runs the Step that ships in a simulated world: gateways with a
// disk, an upstream shadow service, links that lose, double and delay, people
// who edit on every side, kills, outages and lost sessions. It is for tests
// only.
//
// A World has no goroutine and reads no clock: one seed gives one run, event
// by event. The checkers (ledger.go) are separate from the system: they know
// who had seen what when writing, which the code under test cannot.
package sim
