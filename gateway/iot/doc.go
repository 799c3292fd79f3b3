// Package iot is the vocabulary that every room shares: names of things and
// shadows, who is speaking (Principal, Origin), what is said (Message) and how
// a refusal is worded (Error, Code).
//
// The package is pure: it decides nothing that needs a clock, a file or a
// goroutine, and imports nothing of this module.
package iot
