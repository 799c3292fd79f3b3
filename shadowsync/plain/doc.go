// Package plain carries shadows over an upstream that knows none: Mosquitto,
// EMQX, NATS (shadow-sync.md 2.6). The gateway is the only authority; upstream
// keeps a retained copy of each document and carries requests.
//
// The pure part is Decide: a request and the local document in, what to write
// and to answer out. The shell is Carrier: New starts nothing, Run blocks and
// does everything on its one goroutine, so that requests are executed one by
// one in the order they came.
//
// Promises: an answer is sent, and upstream gets its acknowledgement, after the
// commit. A request with a token has one effect, however often it comes: what
// was done is stored in the transaction that did it, for 24 hours and the last
// 1024 tokens of a shadow. A retained copy is always the newest document, at
// most one per MinInterval. Answers and copies that meet a dead link are not
// kept: copies are compared again on the next connect, requests come again.
//
// Limits: requests that wait (Config.InboxMax; those above are answered 429),
// shadows (Config.ShadowsMax), writes upstream per second.
package plain
