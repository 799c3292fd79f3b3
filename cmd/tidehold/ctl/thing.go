package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/gateway/iot"
)

// enrolment is what `thing create` was asked for.
type enrolment struct{ name, policy, csr, key, out string }

func (o *options) thing() *cobra.Command {
	var e enrolment
	create := verb("create NAME", "Make a thing with a key and an active certificate; writes cert.pem, private.key and ca.pem", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		if e.out == "" {
			return UsageError{errors.New("thing create: --out is needed: a folder for cert.pem, private.key and ca.pem")}
		}
		e.name = args[0]
		return o.enrol(cmd, e)
	})
	create.Flags().StringVar(&e.policy, "policy", "device-default", "policy to attach to the certificate")
	create.Flags().StringVar(&e.csr, "csr", "", "sign this request instead of making a key")
	create.Flags().StringVar(&e.key, "key", "rsa", "kind of the key: rsa (2048 bits, as AWS) or p256")
	create.Flags().StringVar(&e.out, "out", "", "folder to write to")
	list := verb("list", "List them", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		return o.run(cmd, "GET", "/tidehold/v1/things", nil, drawThings)
	})
	return group("thing", "Things of the gateway", create, list)
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
func (o *options) enrol(cmd *cobra.Command, e enrolment) error {
	ctx, c := cmd.Context(), newClient(findSocket(o.socket))
	if err := os.MkdirAll(e.out, 0o700); err != nil {
		return fmt.Errorf("thing create: %w", err)
	}
	if _, err := c.ask(ctx, "POST", "/things/"+url.PathEscape(e.name), []byte(`{}`)); err != nil && iot.CodeOf(err) != iot.Conflict {
		return fmt.Errorf("thing create %q: %w", e.name, err)
	}
	made, err := c.certificate(ctx, e)
	if err != nil {
		return fmt.Errorf("thing create %q: certificate: %w", e.name, err)
	}
	target, err := json.Marshal(map[string]string{"target": made.ARN})
	if err != nil {
		return err
	}
	if _, err := c.ask(ctx, "PUT", "/target-policies/"+url.PathEscape(e.policy), target); err != nil {
		return fmt.Errorf("thing create %q: attach policy %q: %w", e.name, e.policy, err)
	}
	if err := c.attach(ctx, e.name, made.ARN); err != nil {
		return fmt.Errorf("thing create %q: attach the certificate: %w", e.name, err)
	}
	if err := c.writeFiles(ctx, e.out, made); err != nil {
		return fmt.Errorf("thing create %q: %w", e.name, err)
	}
	answer, err := json.Marshal(map[string]string{"thingName": e.name, "certificateArn": made.ARN, "certificateId": made.ID, "out": e.out})
	if err != nil {
		return err
	}
	return show(cmd.OutOrStdout(), o.output, answer, func(w io.Writer, _ []byte) error {
		row(w, "THING", e.name)
		row(w, "CERTIFICATE", made.ID)
		row(w, "FILES", filepath.Join(e.out, "cert.pem"), filepath.Join(e.out, "private.key"), filepath.Join(e.out, "ca.pem"))
		return nil
	})
}

// certificate has a certificate made, or a request signed.
func (c *client) certificate(ctx context.Context, e enrolment) (made issued, err error) {
	path, body := "/keys-and-certificate?setAsActive=true&tidehold-label="+url.QueryEscape(e.name), []byte(nil)
	switch {
	case e.csr != "":
		request, err := os.ReadFile(e.csr)
		if err != nil {
			return made, err
		}
		path = "/certificates?setAsActive=true"
		if body, err = json.Marshal(map[string]string{"certificateSigningRequest": string(request)}); err != nil {
			return made, err
		}
	case e.key == "p256":
		path += "&tidehold-key=p256"
	case e.key != "rsa":
		return made, UsageError{fmt.Errorf("--key %q: want rsa or p256", e.key)}
	}
	answer, err := c.ask(ctx, "POST", path, body)
	if err != nil {
		return made, err
	}
	return made, json.Unmarshal(answer, &made)
}

// attach ties the certificate to the thing; AWS takes it in a header.
func (c *client) attach(ctx context.Context, thing, arn string) error {
	_, err := c.askWith(ctx, "PUT", "/things/"+url.PathEscape(thing)+"/principals", nil, map[string]string{"x-amzn-principal": arn})
	return err
}

// writeFiles writes what a device needs; the private key for its owner alone.
func (c *client) writeFiles(ctx context.Context, dir string, made issued) error {
	answer, err := c.ask(ctx, "GET", "/tidehold/v1/root", nil)
	if err != nil {
		return err
	}
	var root struct{ CertificatePem string }
	if err := json.Unmarshal(answer, &root); err != nil {
		return err
	}
	files := map[string]string{"cert.pem": made.PEM, "ca.pem": root.CertificatePem}
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
