package topic

import (
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Kind says which service a reserved topic belongs to.
type Kind int

// The kinds of reserved topic.
const (
	Unknown          Kind = iota // starts with `$`, and nobody here serves it
	ShadowRequest                // get, update or delete of a shadow: clients publish it
	ShadowAnswer                 // accepted, rejected, delta, documents: clients only subscribe
	BasicIngest                  // $aws/rules/<rule>[/rest]
	LifecycleEvent               // $aws/events/...: clients only subscribe
	House                        // $GW/...: the gateway's own, clients only subscribe
	ProvisionRequest             // $aws/certificates/..., $aws/provisioning-templates/...: see ParseProvision
	ProvisionAnswer              // their answers: clients only subscribe
)

// Op is an operation of the shadow service.
type Op string

// The operations of the shadow service (shadow.md section 1).
const (
	Get    Op = "get"
	Update Op = "update"
	Delete Op = "delete"
)

// The answers of the shadow service.
const (
	Accepted  = "accepted"
	Rejected  = "rejected"
	Delta     = "delta"
	Documents = "documents"
)

// Reserved is a reserved topic taken apart.
type Reserved struct {
	Kind Kind
	// Key and Op are set for shadow topics; Answer for ShadowAnswer alone.
	Key    iot.ShadowKey
	Op     Op
	Answer string
	// Rule and Rest are set for BasicIngest; Rest is the topic without prefix.
	Rule, Rest string
}

// ClientMayPublish reports whether any client may ever publish to r: what the
// gateway does not serve, and what only it says, is refused whatever a policy
// allows (shadow.md section 1, security.md 1.6).
func (r Reserved) ClientMayPublish() bool {
	return r.Kind == ShadowRequest || r.Kind == BasicIngest || r.Kind == ProvisionRequest
}

// IsReserved reports whether s starts with `$`.
func IsReserved(s string) bool { return strings.HasPrefix(s, "$") }

// MayRetain reports whether a message on s is ever retained: a reserved topic
// keeps nothing (shadow.md section 1), but for what the gateway says itself.
func MayRetain(s string) bool { return !IsReserved(s) || strings.HasPrefix(s, houseTree) }

// houseTree is the gateway's own part of the reserved topics.
const houseTree = "$GW/"

// ParseReserved takes a topic apart; false means it does not start with `$`.
// A malformed thing or shadow name makes it Unknown: such a publish is refused.
func ParseReserved(s string) (Reserved, bool) {
	switch {
	case !IsReserved(s):
		return Reserved{}, false
	case strings.HasPrefix(s, "$aws/things/"):
		return parseShadow(strings.Split(s[len("$aws/things/"):], "/")), true
	case strings.HasPrefix(s, "$aws/rules/"):
		rule, rest, _ := strings.Cut(s[len("$aws/rules/"):], "/")
		return Reserved{Kind: BasicIngest, Rule: rule, Rest: rest}, true
	case strings.HasPrefix(s, "$aws/events/"):
		return Reserved{Kind: LifecycleEvent}, true
	case strings.HasPrefix(s, houseTree):
		return Reserved{Kind: House}, true
	}
	if p, ok := ParseProvision(s); ok && p.Answer == "" {
		return Reserved{Kind: ProvisionRequest}, true
	} else if ok {
		return Reserved{Kind: ProvisionAnswer}, true
	}
	return Reserved{Kind: Unknown}, true
}

// parseShadow reads T/shadow[/name/N]/op[/answer].
func parseShadow(levels []string) Reserved {
	if len(levels) < 3 || levels[1] != "shadow" {
		return Reserved{}
	}
	thing, err := iot.ParseThingName(levels[0])
	if err != nil {
		return Reserved{}
	}
	key, rest := iot.ShadowKey{Thing: thing}, levels[2:]
	if rest[0] == "name" {
		if len(rest) < 3 || rest[1] == "" {
			return Reserved{}
		}
		if key.Shadow, err = iot.ParseShadowName(rest[1]); err != nil {
			return Reserved{}
		}
		rest = rest[2:]
	}
	return parseShadowOp(key, rest)
}

func parseShadowOp(key iot.ShadowKey, rest []string) Reserved {
	op := Op(rest[0])
	if op != Get && op != Update && op != Delete || len(rest) > 2 {
		return Reserved{}
	}
	if len(rest) == 1 {
		return Reserved{Kind: ShadowRequest, Key: key, Op: op}
	}
	answer := rest[1]
	known := answer == Accepted || answer == Rejected || op == Update && (answer == Delta || answer == Documents)
	if !known {
		return Reserved{}
	}
	return Reserved{Kind: ShadowAnswer, Key: key, Op: op, Answer: answer}
}

// ShadowPrefix is $aws/things/T/shadow or $aws/things/T/shadow/name/N.
func ShadowPrefix(key iot.ShadowKey) string {
	prefix := "$aws/things/" + string(key.Thing) + "/shadow"
	if key.Shadow == iot.Classic {
		return prefix
	}
	return prefix + "/name/" + string(key.Shadow)
}

// Shadow is the request topic of op.
func Shadow(key iot.ShadowKey, op Op) string { return ShadowPrefix(key) + "/" + string(op) }

// ShadowAnswerTo is the topic of an answer to op.
func ShadowAnswerTo(key iot.ShadowKey, op Op, answer string) string {
	return Shadow(key, op) + "/" + answer
}

// GatewayHealth carries the health of all components, retained.
const GatewayHealth = "$GW/health"

// GatewayMetrics is the topic of a room's figures.
func GatewayMetrics(room string) string { return "$GW/metrics/" + room }

// DriverHealth is the topic of a part's health.
func DriverHealth(part string) string { return "$GW/driver/" + part + "/health" }
