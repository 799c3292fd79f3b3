package topic

import "testing"

func TestParseProvision_TakesTheTopicsOfHTTPAPISection4(t *testing.T) {
	for text, want := range map[string]Provision{
		"$aws/certificates/create/json":                             {Op: CreateKeys, Format: "json"},
		"$aws/certificates/create/cbor/accepted":                    {Op: CreateKeys, Format: "cbor", Answer: Accepted},
		"$aws/certificates/create-from-csr/cbor":                    {Op: CreateFromCSR, Format: "cbor"},
		"$aws/provisioning-templates/fleet/provision/json":          {Op: RegisterThing, Template: "fleet", Format: "json"},
		"$aws/provisioning-templates/fleet/provision/json/rejected": {Op: RegisterThing, Template: "fleet", Format: "json", Answer: Rejected},
		"$aws/provisioning-templates/provision/provision/cbor":      {Op: RegisterThing, Template: "provision", Format: "cbor"},
	} {
		got, ok := ParseProvision(text)
		if !ok || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, ok, want)
		}
		round := want.String()
		if want.Answer != "" {
			round = want.AnswerTo(want.Answer)
		}
		if round != text {
			t.Errorf("written back: %s; want %s", round, text)
		}
		reserved, _ := ParseReserved(text)
		if reserved.ClientMayPublish() != (want.Answer == "") {
			t.Errorf("%s: a client may publish it: %v", text, reserved.ClientMayPublish())
		}
	}
}

func TestParseProvision_RefusesEverythingNear(t *testing.T) {
	for _, text := range []string{
		"", "a", "$aws/certificates", "$aws/certificates/", "$aws/certificates/create", "$aws/certificates/create/xml", "$aws/certificates/delete/json",
		"$aws/certificates/create/json/accepted/x", "$aws/certificates/create/json/delta", "$aws/certificates/provision/json",
		"$aws/provisioning-templates/", "$aws/provisioning-templates//provision/json", "$aws/provisioning-templates/a/b/json",
		"$aws/provisioning-templates/a/provision", "$aws/provisioning-templates/a/provision/json/x",
	} {
		if got, ok := ParseProvision(text); ok {
			t.Errorf("%q: %+v", text, got)
		}
		if r, is := ParseReserved(text); is && r.ClientMayPublish() {
			t.Errorf("%q: a client may publish it", text)
		}
	}
	if CertificateRegistered("x") != "$aws/events/certificates/registered/x" {
		t.Error(CertificateRegistered("x"))
	}
}
