// Package httpapi translates HTTP to calls of the house's services and their
// answers back. It holds no rule of its own: whatever it answers, a service
// decided.
//
// Four mouths share one set of routes: the Unix socket of the command line
// (whoever may open it is the operator), the control endpoint (requests signed
// with a local access key, AWS Signature Version 4), the data plane (TLS with a
// client certificate), and the metrics endpoint (figures and health, nothing
// else). AWS's control plane is package control, mounted behind the first two. Bodies are bounded by BodyBytesMax; a
// request that panics is answered with 500, counted and logged, and harms no
// other.
package httpapi
