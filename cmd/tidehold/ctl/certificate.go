package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/gateway/iot"
)

func (o *options) cert() *cobra.Command {
	force := false
	remove := verb("delete ID", "Delete a certificate that is not active", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		return o.withCertificate(cmd, args[0], func(c *client, found issued) error {
			_, err := c.ask(cmd.Context(), "DELETE", fmt.Sprintf("/certificates/%s?forceDelete=%t", found.ID, force), nil)
			return err
		})
	})
	remove.Flags().BoolVar(&force, "force", false, "also when policies are attached")
	return group("cert", "Certificates of devices; ID may be its first digits",
		verb("list", "List them", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
			return o.records(cmd, "/certificates", "certificates", o.columns(column{"CERTIFICATE", "certificateId", false},
				column{"STATUS", "status", false}, column{"CREATED", "creationDate", false}, column{"MODE", "certificateMode", true}, column{"ARN", "certificateArn", true}))
		}),
		verb("get ID", "Show a certificate", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.withCertificate(cmd, args[0], func(c *client, found issued) error { return o.describe(cmd, c, found.ID) })
		}),
		o.certCreate(), o.certSign(), o.certRegister(), o.certRenew(),
		o.certStatus("activate", "ACTIVE", "Let a certificate connect"),
		o.certStatus("deactivate", "INACTIVE", "Put a certificate out until it is activated; its connections end at once"),
		o.certStatus("revoke", "REVOKED", "Put a certificate out for good; its connections end at once"),
		remove)
}

// find gives the one certificate whose id begins with text, or the one of an
// ARN: NotFound, and a wrong command line when there are several.
func (c *client) find(ctx context.Context, text string) (issued, error) {
	body, err := c.pages(ctx, "GET", "/certificates", "certificates", nil, nil)
	if err != nil {
		return issued{}, err
	}
	var all, fits []issued
	if err := json.Unmarshal(body, &all); err != nil {
		return issued{}, err
	}
	for _, one := range all {
		if one.ARN == text || strings.HasPrefix(one.ID, strings.ToLower(text)) {
			fits = append(fits, one)
		}
	}
	switch len(fits) {
	case 0:
		return issued{}, iot.Errorf(iot.NotFound, "certificate %q does not exist (see tidehold cert list)", text)
	case 1:
		return fits[0], nil
	}
	return issued{}, UsageError{fmt.Errorf("%d certificates begin with %q: give more digits", len(fits), text)}
}

func (o *options) withCertificate(cmd *cobra.Command, text string, do func(*client, issued) error) error {
	c := o.client()
	found, err := c.find(cmd.Context(), text)
	if err != nil {
		return err
	}
	return do(c, found)
}

// describe shows the record of a certificate.
func (o *options) describe(cmd *cobra.Command, c *client, id string) error {
	answer, err := c.ask(cmd.Context(), "GET", "/certificates/"+id, nil)
	if err != nil {
		return err
	}
	var record struct {
		CertificateDescription json.RawMessage `json:"certificateDescription"`
	}
	if err := json.Unmarshal(answer, &record); err != nil {
		return fmt.Errorf("answer of the gateway: %w", err)
	}
	return show(cmd.OutOrStdout(), o.output, record.CertificateDescription, drawValues)
}

func (o *options) certStatus(use, status, short string) *cobra.Command {
	return verb(use+" ID", short, cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		return o.withCertificate(cmd, args[0], func(c *client, found issued) error {
			if _, err := c.ask(cmd.Context(), "PUT", "/certificates/"+found.ID+"?newStatus="+status, nil); err != nil {
				return err
			}
			return o.describe(cmd, c, found.ID)
		})
	})
}

func (o *options) certCreate() *cobra.Command {
	var e enrolment
	create := verb("create", "Make a key and an active certificate, for a thing there is or for none", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		return o.enrol(cmd, e, false)
	})
	e.flags(create)
	create.Flags().StringVar(&e.name, "thing", "", "thing to attach the certificate to")
	return create
}

func (o *options) certSign() *cobra.Command {
	inactive := false
	sign := verb("sign CSR", "Sign a certificate request with the gateway's own CA and print the certificate", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		body, err := fileMember("certificateSigningRequest", args[0])
		if err != nil {
			return err
		}
		return o.run(cmd, "POST", fmt.Sprintf("/certificates?setAsActive=%t", !inactive), body, member("certificatePem"))
	})
	sign.Flags().BoolVar(&inactive, "inactive", false, "leave it INACTIVE")
	return sign
}

func (o *options) certRegister() *cobra.Command {
	var ca string
	inactive := false
	register := verb("register FILE", "Let in a certificate that somebody else made", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		return o.registered(cmd, args[0], ca, inactive)
	})
	register.Flags().StringVar(&ca, "ca", "", "certificate of the registered CA that signed it (default: the certificate is pinned by itself)")
	register.Flags().BoolVar(&inactive, "inactive", false, "leave it INACTIVE")
	return register
}

func (o *options) registered(cmd *cobra.Command, file, ca string, inactive bool) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cert register: %w", err)
	}
	want, path := map[string]string{"certificatePem": string(text), "status": "ACTIVE"}, "/certificate/register-no-ca"
	if inactive {
		want["status"] = "INACTIVE"
	}
	if ca != "" {
		if text, err = os.ReadFile(ca); err != nil {
			return fmt.Errorf("cert register: %w", err)
		}
		want["caCertificatePem"], path = string(text), "/certificate/register"
	}
	body, err := json.Marshal(want)
	if err != nil {
		return err
	}
	return o.run(cmd, "POST", path, body, member("certificateId"))
}

// fileMember is a JSON object with one member: the text of a file.
func fileMember(name, file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{name: string(text)})
}

// root gives the certificate that devices must trust.
func (c *client) root(ctx context.Context) (string, error) {
	answer, err := c.ask(ctx, "GET", "/tidehold/v1/root", nil)
	if err != nil {
		return "", err
	}
	var root struct{ CertificatePem string }
	err = json.Unmarshal(answer, &root)
	return root.CertificatePem, err
}

// enrolment is what `thing create` and `cert create` were asked for.
type enrolment struct{ name, policy, csr, key, out string }

func (e *enrolment) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.policy, "policy", "device-default", "policy to attach to the certificate")
	e.keyFlags(cmd)
}

func (e *enrolment) keyFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.csr, "csr", "", "sign this request instead of making a key")
	cmd.Flags().StringVar(&e.key, "key", "rsa", "kind of the key: rsa (2048 bits, as AWS) or p256")
	cmd.Flags().StringVar(&e.out, "out", "", "folder to write cert.pem, private.key and ca.pem to")
}

// issued is AWS's answer when a certificate was made.
type issued struct {
	ARN     string `json:"certificateArn"`
	ID      string `json:"certificateId"`
	PEM     string `json:"certificatePem"`
	KeyPair struct {
		PrivateKey string `json:"PrivateKey"`
	} `json:"keyPair"`
}

// enrol does what a user of AWS's command line does in five calls, and writes
// the files a device needs.
func (o *options) enrol(cmd *cobra.Command, e enrolment, thing bool) error {
	if e.out == "" {
		return UsageError{errors.New(cmd.CommandPath() + ": --out is needed: a folder for cert.pem, private.key and ca.pem")}
	}
	made, err := o.client().enrol(cmd.Context(), e, thing)
	if err != nil {
		return fmt.Errorf("%s %q: %w", cmd.CommandPath(), e.name, err)
	}
	answer, err := json.Marshal(map[string]string{"thingName": e.name, "certificateArn": made.ARN, "certificateId": made.ID, "out": e.out})
	if err != nil {
		return err
	}
	return show(cmd.OutOrStdout(), o.output, answer, drawEnrolled(e, made))
}

func (c *client) enrol(ctx context.Context, e enrolment, thing bool) (issued, error) {
	if err := os.MkdirAll(e.out, 0o700); err != nil {
		return issued{}, err
	}
	if thing {
		if _, err := c.ask(ctx, "POST", "/things/"+segment(e.name), []byte(`{}`)); err != nil && iot.CodeOf(err) != iot.Conflict {
			return issued{}, err
		}
	}
	made, err := c.certificate(ctx, e)
	if err != nil {
		return made, fmt.Errorf("certificate: %w", err)
	}
	if err := c.policyTarget(ctx, "PUT", e.policy, made.ARN); err != nil {
		return made, fmt.Errorf("attach policy %q: %w", e.policy, err)
	}
	if e.name != "" {
		if err := c.principal(ctx, "PUT", e.name, made.ARN); err != nil {
			return made, fmt.Errorf("attach the certificate: %w", err)
		}
	}
	return made, c.writeFiles(ctx, e.out, made)
}

// certificate has a certificate made, or a request signed.
func (c *client) certificate(ctx context.Context, e enrolment) (made issued, err error) {
	path, body := "/keys-and-certificate?setAsActive=true&tidehold-label="+url.QueryEscape(e.name), []byte(nil)
	switch {
	case e.csr != "":
		path = "/certificates?setAsActive=true"
		if body, err = fileMember("certificateSigningRequest", e.csr); err != nil {
			return made, err
		}
	case e.key == "p256":
		path += "&tidehold-key=p256"
	case e.key != "rsa":
		return made, UsageError{fmt.Errorf("--key %q: want rsa or p256", e.key)}
	}
	answer, err := c.ask(ctx, "POST", path, body)
	if err == nil {
		err = json.Unmarshal(answer, &made)
	}
	return made, err
}

// principal attaches a certificate to a thing (PUT) or detaches it (DELETE); AWS
// takes it in a header.
func (c *client) principal(ctx context.Context, method, thing, arn string) error {
	_, err := c.askWith(ctx, method, "/things/"+segment(thing)+"/principals", nil, map[string]string{"x-amzn-principal": arn})
	return err
}

// policyTarget attaches a policy (PUT) or detaches it (POST).
func (c *client) policyTarget(ctx context.Context, method, policy, arn string) error {
	body, err := json.Marshal(map[string]string{"target": arn})
	if err != nil {
		return err
	}
	_, err = c.ask(ctx, method, "/target-policies/"+segment(policy), body)
	return err
}

// writeFiles writes what a device needs; the private key for its owner alone.
func (c *client) writeFiles(ctx context.Context, dir string, made issued) error {
	root, err := c.root(ctx)
	if err != nil {
		return err
	}
	files := map[string]string{"cert.pem": made.PEM, "ca.pem": root}
	if made.KeyPair.PrivateKey != "" {
		files["private.key"] = made.KeyPair.PrivateKey
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
