// Package sim is hardware in memory: buses with chips at register level, GPIO
// lines, the physical world they measure, and what can go wrong with them.
//
// A World holds the simulated buses. The real drivers run on them unchanged: a
// chip is written from its datasheet and knows nothing of the driver. Parts
// are addressed from outside by their configured names (Get, Set, Fault).
// Time is time.Now, so that a bubble of testing/synctest moves it; signals are
// functions of time and a seed and replay exactly.
//
// Everything is safe for several goroutines. A bus serves one transaction at a
// time; a slow chip holds it as a real one would. Nothing here blocks longer
// than a fault asks for or the caller's context allows. World.Run moves inputs
// that toggle; it is the only goroutine.
package sim
