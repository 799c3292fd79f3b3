package topic

import "strings"

// ProvisionOp is an operation of fleet provisioning (http-api.md section 4).
type ProvisionOp string

// The operations of fleet provisioning.
const (
	CreateKeys    ProvisionOp = "create"
	CreateFromCSR ProvisionOp = "create-from-csr"
	RegisterThing ProvisionOp = "provision"
)

// Provision is a topic of fleet provisioning taken apart.
type Provision struct {
	Op ProvisionOp
	// Template is set for RegisterThing.
	Template string
	// Format is json or cbor.
	Format string
	// Answer is Accepted or Rejected on an answer, empty on a request.
	Answer string
}

const (
	certificatesPrefix = "$aws/certificates/"
	templatesPrefix    = "$aws/provisioning-templates/"
)

// ParseProvision takes a topic of fleet provisioning apart; false means that it
// is none.
func ParseProvision(s string) (p Provision, ok bool) {
	var rest []string
	if text, is := strings.CutPrefix(s, certificatesPrefix); is {
		levels := strings.Split(text, "/")
		p.Op, rest = ProvisionOp(levels[0]), levels[1:]
		if p.Op != CreateKeys && p.Op != CreateFromCSR {
			return Provision{}, false
		}
	} else if text, is := strings.CutPrefix(s, templatesPrefix); is {
		levels := strings.Split(text, "/")
		if len(levels) < 2 || levels[0] == "" || ProvisionOp(levels[1]) != RegisterThing {
			return Provision{}, false
		}
		p.Op, p.Template, rest = RegisterThing, levels[0], levels[2:]
	}
	if len(rest) == 2 && (rest[1] == Accepted || rest[1] == Rejected) {
		p.Answer = rest[1]
	} else if len(rest) != 1 {
		return Provision{}, false
	}
	p.Format = rest[0]
	return p, p.Format == "json" || p.Format == "cbor"
}

// AnswerTo is the topic of an answer to a request of fleet provisioning.
func (p Provision) AnswerTo(answer string) string { return p.String() + "/" + answer }

// String is the topic of the request.
func (p Provision) String() string {
	if p.Op == RegisterThing {
		return templatesPrefix + p.Template + "/" + string(p.Op) + "/" + p.Format
	}
	return certificatesPrefix + string(p.Op) + "/" + p.Format
}

// CertificateRegistered is where the house says that a certificate registered
// itself by connecting.
func CertificateRegistered(ca string) string { return "$aws/events/certificates/registered/" + ca }
