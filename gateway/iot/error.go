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

// The codes of the control plane, with AWS's names.
const (
	AlreadyExists       Code = iota + Unavailable + 1 // the name is taken, by something else
	VersionConflict                                   // the object has another version
	MalformedPolicy                                   // a policy document does not parse
	VersionsLimit                                     // a policy has all the versions it may have
	DeleteConflict                                    // something still hangs on the object
	CertificateState                                  // not in this state of the certificate
	CertificateInvalid                                // unreadable, too weak, or not signed as claimed
	CertificateConflict                               // another certificate stands in the way
	RegistrationCode                                  // the verification certificate does not carry the code
	LimitExceeded                                     // as many as there may be
	InvalidQuery                                      // a search does not parse
	UpdateConflict                                    // the object is being changed
	RegistrationFailure                               // a template could not be carried out
	SQLParse                                          // the SQL of a rule does not parse
	MethodNotAllowed                                  // the path is known, the verb is not
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

	AlreadyExists:       {409, 0x83, "ResourceAlreadyExistsException"},
	VersionConflict:     {409, 0x83, "VersionConflictException"},
	MalformedPolicy:     {400, 0x83, "MalformedPolicyException"},
	VersionsLimit:       {409, 0x97, "VersionsLimitExceededException"},
	DeleteConflict:      {409, 0x83, "DeleteConflictException"},
	CertificateState:    {406, 0x83, "CertificateStateException"},
	CertificateInvalid:  {400, 0x83, "CertificateValidationException"},
	CertificateConflict: {409, 0x83, "CertificateConflictException"},
	RegistrationCode:    {400, 0x83, "RegistrationCodeValidationException"},
	LimitExceeded:       {410, 0x97, "LimitExceededException"},
	InvalidQuery:        {400, 0x83, "InvalidQueryException"},
	UpdateConflict:      {409, 0x83, "ConflictingResourceUpdateException"},
	RegistrationFailure: {400, 0x83, "ResourceRegistrationFailureException"},
	SQLParse:            {400, 0x83, "SqlParseException"},
	MethodNotAllowed:    {405, 0x83, "MethodNotAllowedException"},
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
