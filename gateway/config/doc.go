// Package config turns the configuration file into a checked value: contract
// section 5 with every default filled in, or a list of everything that is
// wrong with it, each with file, line, column, key and a hint.
//
// Load reads the file, conf.d/*.yaml beside it and TIDEHOLD__ variables; it
// opens no socket and no device and keeps nothing open. Input is bounded:
// FileBytesMax per file, a hundred files, nodes and problems as in
// gateway/config/tree. The same input gives the same result, problems in the
// order of their places.
//
// It does not say whether a port is free or a certificate good: whoever opens
// them does.
package config
