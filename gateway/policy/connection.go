package policy

import (
	"strconv"
	"strings"
)

// Connection is what is known about the one who asks: the values of variables
// and condition keys. It must not change after Compile.
type Connection struct {
	ClientID string
	// HTTP is set for requests over HTTPS: thing variables do not exist there.
	HTTP bool
	// SourceIP has no port. Domain is the SNI of the handshake.
	SourceIP, Domain string
	// Secure is set on TLS.
	Secure        bool
	CertificateID string
	// Subject and Issuer map CommonName, Organization, ... to their values in
	// the order of the certificate.
	Subject, Issuer map[string][]string
	// Thing is the thing that the certificate stands for; nil = none.
	Thing *Thing
	// ConnectAttributes and LastWillTopic (a topic, not an ARN) count for
	// iot:Connect alone.
	ConnectAttributes []string
	LastWillTopic     string
}

// Thing is the registry's record as policies see it.
type Thing struct {
	Name, Type string
	Attributes map[string]string
	// Attached: the certificate is attached to it. Exclusive: and by an
	// EXCLUSIVE_THING attachment.
	Attached, Exclusive bool
}

// Associated reports whether thing variables resolve and policies of thing
// groups count (security.md 1.3).
func (c *Connection) Associated() bool {
	return c.Thing != nil && !c.HTTP && c.Thing.Attached && (c.Thing.Exclusive || c.Thing.Name == c.ClientID)
}

const (
	keyConnectAttributes = "iot:connectattributes"
	keyLastWillTopic     = "iot:lastwilltopic"
	keyCurrentTime       = "aws:currenttime"

	thingPrefix     = "iot:connection.thing."
	attributePrefix = "iot:connection.thing.attributes["
	subjectPrefix   = "iot:certificate.subject."
	issuerPrefix    = "iot:certificate.issuer."
)

// variable is the one value of a variable in a resource or condition value.
func (c *Connection) variable(name string) (string, bool) {
	values, ok := c.values(name)
	if !ok || len(values) != 1 || strings.HasSuffix(strings.ToLower(name), ".list") {
		return "", false
	}
	return values[0], true
}

// values gives what is known under a name for the whole life of the connection.
// Names ignore case, but not inside the brackets of an attribute.
func (c *Connection) values(name string) ([]string, bool) {
	lower := strings.ToLower(name)
	switch {
	case lower == "iot:clientid":
		return present(c.ClientID)
	case lower == "aws:sourceip" || lower == "iot:sourceip":
		return present(c.SourceIP)
	case lower == "iot:domainname":
		return present(c.Domain)
	case lower == "iot:certificateid":
		return present(c.CertificateID)
	case lower == "aws:securetransport":
		return []string{strconv.FormatBool(c.Secure)}, true
	case strings.HasPrefix(lower, thingPrefix):
		return c.thingValues(name, lower)
	case strings.HasPrefix(lower, subjectPrefix):
		return nameValues(c.Subject, lower[len(subjectPrefix):])
	case strings.HasPrefix(lower, issuerPrefix):
		return nameValues(c.Issuer, lower[len(issuerPrefix):])
	}
	return nil, false
}

func present(value string) ([]string, bool) {
	if value == "" {
		return nil, false
	}
	return []string{value}, true
}

func (c *Connection) thingValues(name, lower string) ([]string, bool) {
	if !c.Associated() {
		return nil, false
	}
	switch lower[len(thingPrefix):] {
	case "thingname":
		return present(c.Thing.Name)
	case "thingtypename":
		return present(c.Thing.Type)
	case "isattached":
		return []string{"true"}, true
	}
	if !strings.HasPrefix(lower, attributePrefix) || !strings.HasSuffix(lower, "]") {
		return nil, false
	}
	value, ok := c.Thing.Attributes[name[len(attributePrefix):len(name)-1]]
	return []string{value}, ok
}

// nameValues reads a field of a distinguished name: the first value, with `.N`
// the one at place N from zero, with `.List` all.
func nameValues(dn map[string][]string, field string) ([]string, bool) {
	field, suffix, _ := strings.Cut(field, ".")
	var values []string
	for name, have := range dn {
		if strings.EqualFold(name, field) {
			values = have
		}
	}
	if len(values) == 0 || suffix == "list" {
		return values, len(values) > 0
	}
	place := 0
	if suffix != "" {
		var err error
		if place, err = strconv.Atoi(suffix); err != nil || place < 0 || place >= len(values) {
			return nil, false
		}
	}
	return values[place : place+1], true
}
