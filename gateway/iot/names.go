package iot

import "regexp"

// ThingName names a thing: 1..128 characters of [a-zA-Z0-9:_-]
// (shadow.md section 1).
type ThingName string

// ShadowName names a shadow of a thing: 1..64 characters of [$a-zA-Z0-9:_-],
// or empty for the classic shadow (shadow.md section 1).
type ShadowName string

// Classic is the unnamed shadow of a thing.
const Classic ShadowName = ""

// ClientID names an MQTT client.
type ClientID string

var (
	thingNameForm  = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)
	shadowNameForm = regexp.MustCompile(`^[$a-zA-Z0-9:_-]{1,64}$`)
)

// ParseThingName checks s. A malformed name is an InvalidRequest error.
func ParseThingName(s string) (ThingName, error) {
	if !thingNameForm.MatchString(s) {
		return "", Errorf(InvalidRequest, "thing name %q: want 1 to 128 characters of a-z A-Z 0-9 : _ -", s)
	}
	return ThingName(s), nil
}

// ParseShadowName checks s; the empty text is the classic shadow. A malformed
// name is an InvalidRequest error.
func ParseShadowName(s string) (ShadowName, error) {
	if s != "" && !shadowNameForm.MatchString(s) {
		return "", Errorf(InvalidRequest, "shadow name %q: want 1 to 64 characters of $ a-z A-Z 0-9 : _ -", s)
	}
	return ShadowName(s), nil
}

// ShadowKey addresses one shadow document.
type ShadowKey struct {
	Thing  ThingName
	Shadow ShadowName
}

// String gives THING or THING~SHADOW, the form of AWS's error texts
// (shadow.md section 8).
func (k ShadowKey) String() string {
	if k.Shadow == Classic {
		return string(k.Thing)
	}
	return string(k.Thing) + "~" + string(k.Shadow)
}
