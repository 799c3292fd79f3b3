// Package gateway wires the rooms of the house together: New, Run.
//
// New takes a checked configuration and the outside world (Env) and starts
// nothing. Run opens the stores, builds the rooms in dependency order, starts
// them in stages and stops them in reverse; it returns nil when its context
// ends. Tests build another Env; nothing else differs between production and
// simulation.
//
// The path of every message is house.Accept in house.go: whoever speaks, the
// same function decides what must be on disk before the sender hears of it.
package gateway
