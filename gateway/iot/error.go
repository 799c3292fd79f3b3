package iot

import (
	"errors"
	"fmt"
)

// Code says what kind of refusal an Error is. Codes are few and stable,
// because they cross the wire; one table below gives each its forms.
type Code int

// The codes, with the meaning AWS IoT gives them.
const (
	Internal         Code = iota // our failure; nothing was changed
	InvalidRequest               // the request is malformed
	Unauthorized                 // nobody is known to speak
	Forbidden                    // somebody is known, and may not
	NotFound                     // the named object does not exist
	Conflict                     // a version or a name is taken
	TooLarge                     // over a size limit
	UnsupportedMedia             // not UTF-8
	Throttled                    // over a rate or in-flight limit
	Unavailable                  // disk, bus or link cannot serve now
)

var codeForms = map[Code]struct {
	http   int
	reason byte
	aws    string
}{
	Internal:         {500, 0x80, "InternalFailureException"},
	InvalidRequest:   {400, 0x83, "InvalidRequestException"},
	Unauthorized:     {401, 0x87, "UnauthorizedException"},
	Forbidden:        {403, 0x87, "ForbiddenException"},
	NotFound:         {404, 0x83, "ResourceNotFoundException"},
	Conflict:         {409, 0x83, "ConflictException"},
	TooLarge:         {413, 0x95, "RequestEntityTooLargeException"},
	UnsupportedMedia: {415, 0x99, "UnsupportedDocumentEncodingException"},
	Throttled:        {429, 0x96, "ThrottlingException"},
	Unavailable:      {503, 0x97, "ServiceUnavailableException"},
}

// HTTPStatus is the status of c over HTTP and the `code` of a shadow rejection.
func (c Code) HTTPStatus() int { return codeForms[c].http }

// ReasonCode is the MQTT 5 reason code of c.
func (c Code) ReasonCode() byte { return codeForms[c].reason }

// AWSType is the value of x-amzn-ErrorType for c.
func (c Code) AWSType() string { return codeForms[c].aws }

// Error is a refusal with a code for machines and a sentence for people.
// Message is what a client may see; Err is the cause for the log.
type Error struct {
	Code    Code
	Message string
	Err     error
}

// Error gives the message and, when there is one, the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf builds an Error with a formatted message.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// CodeOf gives the code of the first Error in err's chain, Internal if there
// is none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}

// MessageOf gives the client's sentence of the first Error in err's chain;
// other errors are our own failures and say only so.
func MessageOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	return "Internal service failure"
}
