package ctl

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func (o *options) ca() *cobra.Command {
	out := ""
	get := verb("get", "The certificate that devices must trust", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		if out == "" {
			return o.run(cmd, "GET", "/tidehold/v1/root", nil, member("certificatePem"))
		}
		text, err := o.client().root(cmd.Context())
		if err != nil {
			return err
		}
		return os.WriteFile(out, []byte(text), 0o644)
	})
	get.Flags().StringVar(&out, "out", "", "file to write to (default: standard output)")
	return group("ca", "Certificate authorities", get, o.caRegister(),
		verb("code", "The common name that a verification certificate must carry", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, "GET", "/registrationcode", nil, member("registrationCode"))
		}),
		verb("list", "List those that were registered", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
			return o.records(cmd, "/cacertificates", "certificates", o.columns(column{"CA", "certificateId", false},
				column{"STATUS", "status", false}, column{"CREATED", "creationDate", false}, column{"ARN", "certificateArn", true}))
		}))
}

// registration is what `ca register` was asked for.
type registration struct {
	proof, template string
	auto            bool
}

func (o *options) caRegister() *cobra.Command {
	var r registration
	register := verb("register FILE", "Trust another CA: certificates that it signed may be registered", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		body, err := r.body(args[0])
		if err != nil {
			return fmt.Errorf("ca register: %w", err)
		}
		auto := r.auto || r.template != ""
		return o.run(cmd, "POST", fmt.Sprintf("/cacertificate?setAsActive=true&allowAutoRegistration=%t", auto), body, member("certificateId"))
	})
	register.Flags().StringVar(&r.proof, "verification", "", "certificate that the CA signed, with the code of `ca code` as its common name (default: the CA is registered as SNI_ONLY, without proof: its devices must connect to a host name)")
	register.Flags().BoolVar(&r.auto, "auto", false, "register its certificates when they connect for the first time; they wait for cert activate")
	register.Flags().StringVar(&r.template, "template", "", "provisioning template by which its certificates become things when they connect")
	return register
}

// body is AWS's RegisterCACertificate.
func (r registration) body(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	want := map[string]any{"caCertificate": string(text), "certificateMode": "SNI_ONLY"}
	if r.proof != "" {
		if text, err = os.ReadFile(r.proof); err != nil {
			return nil, err
		}
		want["verificationCertificate"], want["certificateMode"] = string(text), "DEFAULT"
	}
	if r.template != "" {
		want["registrationConfig"] = map[string]string{"templateName": r.template}
	}
	return json.Marshal(want)
}
