package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/policy"
)

func (o *options) policy() *cobra.Command {
	names := func() table {
		return o.columns(column{"POLICY", "policyName", false}, column{"ARN", "policyArn", true})
	}
	return group("policy", "Policies: who may do what",
		verb("denials", "List what was refused last, and the statement that would allow it", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, "GET", "/tidehold/v1/denials", nil, o.columns(column{"AT", "at", false}, column{"CLIENT", "client", false}, column{"ACTION", "action", false},
				column{"RESOURCE", "resource", false}, column{"REASON", "reason", false}, column{"WOULD ALLOW", "suggest", true}))
		}),
		verb("list", "List them", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
			return o.records(cmd, "/policies", "policies", names())
		}),
		verb("get NAME", "Show the document of a policy", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, "GET", "/policies/"+segment(args[0]), nil, member("policyDocument"))
		}),
		o.policyWrite("create NAME FILE", "Make a policy; FILE may be -", "/policies/%s"),
		o.policyWrite("update NAME FILE", "Give a policy a new version and make it the default", "/policies/%s/version?setAsDefault=true"),
		verb("versions NAME", "List the versions of a policy", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.records(cmd, "/policies/"+segment(args[0])+"/version", "policyVersions", o.columns(column{"VERSION", "versionId", false},
				column{"DEFAULT", "isDefaultVersion", false}, column{"CREATED", "createDate", false}))
		}),
		verb("delete NAME [VERSION]", "Delete a policy that is attached nowhere, or one of its versions", cobra.RangeArgs(1, 2), func(cmd *cobra.Command, args []string) error {
			path := "/policies/" + segment(args[0])
			if len(args) == 2 {
				path += "/version/" + segment(args[1])
			}
			_, err := o.client().ask(cmd.Context(), "DELETE", path, nil)
			return err
		}),
		o.policyBind("attach", "PUT", "Attach a policy to a certificate, or to the ARN of a thing group"),
		o.policyBind("detach", "POST", "Detach a policy"),
		verb("targets NAME", "What a policy is attached to", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			body, err := o.client().pages(cmd.Context(), "POST", "/policy-targets/"+segment(args[0]), "targets", nil, nil)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o.output, body, drawTexts)
		}),
		o.policyTest(), policyLint(o))
}

// drawTexts draws an array of texts, one a line.
func drawTexts(w io.Writer, body []byte) error {
	var all []string
	if err := json.Unmarshal(body, &all); err != nil {
		return fmt.Errorf("answer of the gateway: %w", err)
	}
	for _, text := range all {
		row(w, text)
	}
	return nil
}

// readFile reads a file, or standard input for -.
func readFile(in io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(in)
	}
	return os.ReadFile(name)
}

func (o *options) policyWrite(use, short, path string) *cobra.Command {
	return verb(use, short, cobra.ExactArgs(2), func(cmd *cobra.Command, args []string) error {
		text, err := readFile(cmd.InOrStdin(), args[1])
		if err != nil {
			return err
		}
		body, err := json.Marshal(map[string]string{"policyDocument": string(text)})
		if err != nil {
			return err
		}
		warn(cmd.ErrOrStderr(), text)
		return o.run(cmd, "POST", fmt.Sprintf(path, segment(args[0])), body, drawValues)
	})
}

// warn writes what lint has to say to a document, and gives how much that is. A
// malformed one is the gateway's to refuse.
func warn(w io.Writer, text []byte) int {
	d, err := policy.Parse(text)
	if err != nil {
		return 0
	}
	all := d.Lint()
	for _, sentence := range all {
		fmt.Fprintln(w, "warning:", sentence)
	}
	return len(all)
}

func (o *options) policyBind(use, method, short string) *cobra.Command {
	return verb(use+" NAME TARGET", short, cobra.ExactArgs(2), func(cmd *cobra.Command, args []string) error {
		c, target := o.client(), args[1]
		if !strings.HasPrefix(target, "arn:") {
			found, err := c.find(cmd.Context(), target)
			if err != nil {
				return err
			}
			target = found.ARN
		}
		return c.policyTarget(cmd.Context(), method, args[0], target)
	})
}

// question is what `policy test` asks.
type question struct {
	cert, client, action, resource string
	add, skip                      []string
}

func (o *options) policyTest() *cobra.Command {
	var q question
	test := verb("test", "Ask whether a certificate may do something, and which statement decides; exit code 4 when it may not", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		if q.cert == "" || q.action == "" || q.resource == "" {
			return UsageError{errors.New("policy test: --cert, --action and --resource are needed: --cert 3f --action iot:Publish --resource topic/a")}
		}
		return o.test(cmd, q)
	})
	test.Flags().StringVar(&q.cert, "cert", "", "id of the certificate, or its first digits")
	test.Flags().StringVar(&q.client, "client-id", "", "client id it connects with (default: the name of its only thing)")
	test.Flags().StringVar(&q.action, "action", "", "iot:Connect, iot:Publish, iot:Subscribe, iot:Receive or another")
	test.Flags().StringVar(&q.resource, "resource", "", "client/ID, topic/NAME, topicfilter/FILTER, or an ARN")
	test.Flags().StringSliceVar(&q.add, "add", nil, "judge as if these policies were attached too")
	test.Flags().StringSliceVar(&q.skip, "skip", nil, "judge as if these policies were not attached")
	return test
}

// verdict is one of TestAuthorization's authResults, with the statement that
// this gateway adds.
type verdict struct {
	AuthDecision         string   `json:"authDecision"`
	MissingContextValues []string `json:"missingContextValues"`
	Statement            struct {
		PolicyName string          `json:"policyName"`
		Statement  int             `json:"statement"`
		Sid        string          `json:"sid"`
		Text       json.RawMessage `json:"text"`
	} `json:"tideholdStatement"`
}

// test asks TestAuthorization.
func (o *options) test(cmd *cobra.Command, q question) error {
	c := o.client()
	found, err := c.find(cmd.Context(), q.cert)
	if err != nil {
		return err
	}
	if q.client == "" {
		if q.client, err = c.onlyThing(cmd.Context(), found.ARN); err != nil {
			return err
		}
	}
	if !strings.HasPrefix(q.resource, "arn:") && q.resource != "*" {
		q.resource = found.ARN[:strings.LastIndex(found.ARN, ":")+1] + q.resource
	}
	answer, err := c.authorize(cmd.Context(), q, found.ARN)
	if err != nil {
		return err
	}
	var results struct{ AuthResults []json.RawMessage }
	if err := json.Unmarshal(answer, &results); err != nil || len(results.AuthResults) != 1 {
		return fmt.Errorf("answer of the gateway: %d results, %w", len(results.AuthResults), err)
	}
	var v verdict
	if err := json.Unmarshal(results.AuthResults[0], &v); err != nil {
		return fmt.Errorf("answer of the gateway: %w", err)
	}
	if err := show(cmd.OutOrStdout(), o.output, results.AuthResults[0], v.draw(q)); err != nil {
		return err
	}
	if v.AuthDecision != "ALLOWED" {
		return iot.Errorf(iot.Forbidden, "%s on %s is denied", q.action, q.resource)
	}
	return nil
}

// onlyThing names the thing of a certificate that has just one.
func (c *client) onlyThing(ctx context.Context, arn string) (string, error) {
	body, err := c.pages(ctx, "GET", "/principals/things", "things", nil, map[string]string{"x-amzn-principal": arn})
	if err != nil {
		return "", err
	}
	var things []string
	if err := json.Unmarshal(body, &things); err != nil || len(things) != 1 {
		return "", err
	}
	return things[0], nil
}

func (c *client) authorize(ctx context.Context, q question, principal string) ([]byte, error) {
	body, err := json.Marshal(map[string]any{
		"principal": principal, "policyNamesToAdd": q.add, "policyNamesToSkip": q.skip,
		"authInfos": []any{map[string]any{"actionType": q.action, "resources": []string{q.resource}}},
	})
	if err != nil {
		return nil, err
	}
	return c.ask(ctx, "POST", "/test-authorization?clientId="+url.QueryEscape(q.client), body)
}

func (v verdict) draw(q question) table {
	return func(w io.Writer, _ []byte) error {
		row(w, "DECISION", v.AuthDecision)
		row(w, "ACTION", q.action)
		row(w, "RESOURCE", q.resource)
		if q.client != "" {
			row(w, "CLIENT", q.client)
		}
		if v.Statement.PolicyName == "" {
			row(w, "DECIDED BY", "no statement fits")
		} else {
			row(w, "DECIDED BY", fmt.Sprintf("policy %s, statement %d %s", v.Statement.PolicyName, v.Statement.Statement, v.Statement.Sid))
			var text bytes.Buffer
			if json.Compact(&text, v.Statement.Text) == nil {
				row(w, "STATEMENT", text.String())
			}
		}
		for _, name := range v.MissingContextValues {
			row(w, "NO VALUE FOR", name)
		}
		return nil
	}
}

func policyLint(o *options) *cobra.Command {
	strict := false
	lint := verb("lint FILE|NAME", "Say what is legal in a policy and probably not meant; FILE may be -", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		text, err := readFile(cmd.InOrStdin(), args[0])
		if errors.Is(err, os.ErrNotExist) {
			text, err = o.client().document(cmd.Context(), args[0])
		}
		if err != nil {
			return err
		}
		if _, err := policy.Parse(text); err != nil {
			return fmt.Errorf("policy lint %s: %w", args[0], err)
		}
		if n := warn(cmd.OutOrStdout(), text); n > 0 && strict {
			return fmt.Errorf("policy lint %s: %d warnings", args[0], n)
		}
		return nil
	})
	lint.Flags().BoolVar(&strict, "strict", false, "fail on warnings")
	return lint
}

// document gives the text of a policy of the gateway.
func (c *client) document(ctx context.Context, name string) ([]byte, error) {
	answer, err := c.ask(ctx, "GET", "/policies/"+segment(name), nil)
	if err != nil {
		return nil, err
	}
	var p struct{ PolicyDocument string }
	err = json.Unmarshal(answer, &p)
	return []byte(p.PolicyDocument), err
}
