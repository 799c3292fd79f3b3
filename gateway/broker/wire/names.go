package wire

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// Filter is a topic filter as sent, taken apart.
type Filter struct {
	Text  string
	Share string // name of the group, empty = not shared
	Topic topic.Filter
}

// ParseFilter reads F or $share/NAME/F (MQTT 5, 4.8.2).
func ParseFilter(text string) (Filter, error) {
	f := Filter{Text: text}
	rest, shared := strings.CutPrefix(text, "$share/")
	if shared {
		var ok bool
		f.Share, rest, ok = strings.Cut(rest, "/")
		if !ok || f.Share == "" || strings.ContainsAny(f.Share, "+#") {
			return f, ErrDecode
		}
	}
	var err error
	f.Topic, err = topic.ParseFilter(rest)
	return f, err
}

// JudgeTopic gives the refusal of a topic that no client may publish to, because
// it is over a limit (0 = none) or reserved, with its reason code.
func JudgeTopic(name string, maxBytes, maxLevels int) (byte, *iot.Error) {
	counted := name
	if r, ok := topic.ParseReserved(name); ok {
		if !r.ClientMayPublish() {
			return CodeNotAuthorized, iot.Errorf(iot.Forbidden, "topic %q is reserved; clients may not publish to it", name)
		}
		if r.Kind == topic.BasicIngest {
			counted = r.Rest // its prefix does not count, as in AWS
		}
	}
	switch {
	case maxBytes > 0 && len(counted) > maxBytes:
		return CodeTopicInvalid, iot.Errorf(iot.InvalidRequest, "topic has %d bytes; the maximum is %d", len(counted), maxBytes)
	case maxLevels > 0 && topic.Levels(counted) > maxLevels:
		return CodeTopicInvalid, iot.Errorf(iot.InvalidRequest, "topic has %d levels; the maximum is %d", topic.Levels(counted), maxLevels)
	}
	return 0, nil
}

// ReturnCode is the CONNACK return code of 3.1.1 for a reason code of MQTT 5; 0
// means none fits, and the connection is closed without a word (MQTT 3.1.1,
// 3.2.2.3). denied is the one of everything that is not allowed.
func ReturnCode(code, denied byte) byte {
	switch code {
	case CodeVersion:
		return 1
	case CodeClientID:
		return 2
	case CodeUnavailable, CodeQuota, CodeConnectionRate:
		return 3
	case CodeCredentials:
		return 4
	case CodeMalformed, CodeProtocol:
		return 0
	}
	return denied
}

// ListenError says what to do about a socket that cannot be opened.
func ListenError(name, bind string, err error) error {
	advice := "check bind of the listener"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = "the address is taken: stop the other program, or give this listener another bind (HOST:0 picks a free port)"
	case errors.Is(err, syscall.EACCES):
		advice = "ports below 1024 need CAP_NET_BIND_SERVICE or a socket unit of systemd"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "this host does not have the address: give the listener another bind"
	}
	return fmt.Errorf("broker: listener %q: listen on %s: %w; %s", name, bind, err, advice)
}
