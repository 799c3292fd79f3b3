// Package drivers is the contract between the gateway and the parts it drives:
// what a driver, a device on a bus, a line, a reading and a health are, in
// which units values stand, and how the configuration of a part is checked.
//
// A Driver opens a Device on a Handle; a Handle is one address of a Bus and
// carries the deadline that periph's interfaces cannot. Values leave a Device
// in SI units; Convert gives them the unit the user asked for. The package
// opens no hardware (drivers/bus does) and starts no goroutine. Everything
// here but a Handle is a value or a pure function; a Handle belongs to one
// user at a time and blocks until its bus answers or its deadline is over.
package drivers
