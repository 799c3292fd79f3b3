package sigv4

import (
	"fmt"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Error is a refusal in AWS's words: Type is the value of x-amzn-ErrorType. Its
// chain holds an iot.Error, for callers that know only those.
type Error struct {
	Status  int
	Type    string
	Message string
}

// Error gives type and message.
func (e *Error) Error() string { return e.Type + ": " + e.Message }

// Unwrap gives the refusal as an iot.Error: InvalidRequest for a malformed one,
// Forbidden for all others.
func (e *Error) Unwrap() error {
	if e.Status == incompleteSignature.status {
		return iot.Errorf(iot.InvalidRequest, "%s", e.Message)
	}
	return iot.Errorf(iot.Forbidden, "%s", e.Message)
}

type kind struct {
	status int
	name   string
}

// The kinds of refusal (http-api.md 3.1). No client retries any of them.
var (
	missingToken        = kind{403, "MissingAuthenticationTokenException"}
	incompleteSignature = kind{400, "IncompleteSignatureException"}
	invalidSignature    = kind{403, "InvalidSignatureException"}
	unrecognizedClient  = kind{403, "UnrecognizedClientException"}
)

func refusef(k kind, format string, args ...any) error {
	return &Error{Status: k.status, Type: k.name, Message: fmt.Sprintf(format, args...)}
}
