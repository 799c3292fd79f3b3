package iot

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParseThingName_FollowsShadowMdSection1(t *testing.T) {
	for _, name := range []string{"a", "pump-3", "A:b_c-9", strings.Repeat("x", 128)} {
		if got, err := ParseThingName(name); err != nil || string(got) != name {
			t.Errorf("ParseThingName(%q) = %q, %v; want the name", name, got, err)
		}
	}
	for _, name := range []string{"", "a/b", "a b", "ä", "$x", strings.Repeat("x", 129)} {
		if _, err := ParseThingName(name); CodeOf(err) != InvalidRequest {
			t.Errorf("ParseThingName(%q) = %v; want InvalidRequest", name, err)
		}
	}
}

func TestParseShadowName_EmptyIsClassicAndDollarIsLegal(t *testing.T) {
	for _, name := range []string{"", "$x", "a:b", strings.Repeat("x", 64)} {
		if _, err := ParseShadowName(name); err != nil {
			t.Errorf("ParseShadowName(%q): %v", name, err)
		}
	}
	for _, name := range []string{"~", "a/b", strings.Repeat("x", 65)} {
		if _, err := ParseShadowName(name); err == nil {
			t.Errorf("ParseShadowName(%q): want an error", name)
		}
	}
}

func TestShadowKey_StringIsTheCapturedAWSForm(t *testing.T) {
	if got := (ShadowKey{Thing: "t"}).String(); got != "t" {
		t.Errorf("classic: got %q", got)
	}
	if got := (ShadowKey{Thing: "t", Shadow: "s"}).String(); got != "t~s" {
		t.Errorf("named: got %q", got)
	}
}

func TestCodeOf_SeesThroughWrapping(t *testing.T) {
	err := fmt.Errorf("shadow update thing %q: %w", "pump-3", Errorf(Conflict, "Version conflict"))
	if CodeOf(err) != Conflict || CodeOf(err).HTTPStatus() != 409 || MessageOf(err) != "Version conflict" {
		t.Errorf("got code %v, message %q", CodeOf(err), MessageOf(err))
	}
	if CodeOf(errors.New("disk")) != Internal || MessageOf(errors.New("disk")) != "Internal service failure" {
		t.Error("an unknown error must be an internal failure that tells a client nothing")
	}
}

func TestCode_TheControlPlanesHaveAWSsNamesAndStatuses(t *testing.T) {
	for code, want := range map[Code]struct {
		status int
		name   string
	}{
		AlreadyExists:       {409, "ResourceAlreadyExistsException"},
		VersionConflict:     {409, "VersionConflictException"},
		MalformedPolicy:     {400, "MalformedPolicyException"},
		VersionsLimit:       {409, "VersionsLimitExceededException"},
		DeleteConflict:      {409, "DeleteConflictException"},
		CertificateState:    {406, "CertificateStateException"},
		CertificateInvalid:  {400, "CertificateValidationException"},
		CertificateConflict: {409, "CertificateConflictException"},
		RegistrationCode:    {400, "RegistrationCodeValidationException"},
		LimitExceeded:       {410, "LimitExceededException"},
		InvalidQuery:        {400, "InvalidQueryException"},
		UpdateConflict:      {409, "ConflictingResourceUpdateException"},
		RegistrationFailure: {400, "ResourceRegistrationFailureException"},
		SQLParse:            {400, "SqlParseException"},
	} {
		if code.HTTPStatus() != want.status || code.AWSType() != want.name || code.ReasonCode() < 0x80 {
			t.Errorf("code %d: status %d, type %q, reason %#x; want %d, %q and a failure", code, code.HTTPStatus(), code.AWSType(), code.ReasonCode(), want.status, want.name)
		}
	}
	if Unavailable == AlreadyExists {
		t.Error("two codes have the same number")
	}
}
