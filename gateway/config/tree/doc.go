// Package tree holds a configuration as nodes that know where they stand:
// YAML in, files merged over each other, variables of the environment over
// all, and cursors (Map) that read it key by key.
//
// A cursor's method names a key, its form and its default in the notation of
// the file; so one pass over the readers reads a file, and the same pass over
// an empty one in explain mode lists every key there is. Keys that nobody asked
// for are reported as unknown when the cursor is done.
//
// Bounds: DepthMax levels, EntriesMax entries of a list, NodesMax nodes after
// aliases are expanded, problemsMax problems. The package does no I/O.
package tree
