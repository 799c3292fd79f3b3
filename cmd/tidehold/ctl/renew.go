package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// certRenew gives a device a second certificate beside the one it has: it is
// proven by a connection before the old one is put out (field-lessons.md FL-101).
func (o *options) certRenew() *cobra.Command {
	var e enrolment
	renew := verb("renew ID", "Make a certificate with the things and policies of another; the old one works until cert deactivate", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		if e.out == "" {
			return UsageError{errors.New("cert renew: --out is needed: a folder for cert.pem, private.key and ca.pem")}
		}
		return o.withCertificate(cmd, args[0], func(c *client, old issued) error {
			made, err := c.renew(cmd.Context(), e, old)
			if err != nil {
				return fmt.Errorf("cert renew %s: %w", old.ID, err)
			}
			answer, err := json.Marshal(map[string]string{"certificateArn": made.ARN, "certificateId": made.ID, "replaces": old.ID, "out": e.out})
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o.output, answer, drawEnrolled(e, made))
		})
	})
	e.keyFlags(renew)
	return renew
}

// renew makes a certificate that may do what old may do. What is attached is
// read before anything is made.
func (c *client) renew(ctx context.Context, e enrolment, old issued) (issued, error) {
	policies, err := c.attached(ctx, old)
	if err != nil {
		return issued{}, err
	}
	things, err := c.thingsOf(ctx, old)
	if err != nil {
		return issued{}, err
	}
	if len(things) > 0 {
		e.name = things[0] // the label of the certificate
	}
	if err := os.MkdirAll(e.out, 0o700); err != nil {
		return issued{}, err
	}
	made, err := c.certificate(ctx, e)
	if err != nil {
		return made, fmt.Errorf("certificate: %w", err)
	}
	for _, policy := range policies {
		if err := c.policyTarget(ctx, "PUT", policy, made.ARN); err != nil {
			return made, fmt.Errorf("attach policy %q: %w", policy, err)
		}
	}
	for _, thing := range things {
		if err := c.principal(ctx, "PUT", thing, made.ARN); err != nil {
			return made, fmt.Errorf("attach to thing %q: %w", thing, err)
		}
	}
	return made, c.writeFiles(ctx, e.out, made)
}

// attached are the names of a certificate's own policies.
func (c *client) attached(ctx context.Context, of issued) (names []string, err error) {
	text, err := c.pages(ctx, "POST", "/attached-policies/"+segment(of.ARN), "policies", nil, nil)
	if err != nil {
		return nil, err
	}
	var all []struct{ PolicyName string }
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	for _, one := range all {
		names = append(names, one.PolicyName)
	}
	return names, nil
}

// thingsOf are the things that a certificate stands for.
func (c *client) thingsOf(ctx context.Context, of issued) (names []string, err error) {
	text, err := c.pages(ctx, "GET", "/principals/things", "things", nil, map[string]string{"x-amzn-principal": of.ARN})
	if err == nil {
		err = json.Unmarshal(text, &names)
	}
	return names, err
}
