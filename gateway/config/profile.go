package config

import "github.com/tidehold/tidehold/gateway/uplink/profile"

// Profile is what an upstream engine can do (upstream.md section 2).
type Profile = profile.Profile

const (
	kib = 1 << 10
	mib = 1 << 20
)
