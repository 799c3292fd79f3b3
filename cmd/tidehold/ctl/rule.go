package ctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// rule are the verbs on rules. Those that AWS has go by AWS's API.
func (o *options) rule() *cobra.Command {
	path := func(name, more string) string { return "/rules/" + url.PathEscape(name) + more }
	simple := func(use, short, method, more string) *cobra.Command {
		return verb(use+" NAME", short, cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, method, path(args[0], more), nil, drawDone(use, args[0]))
		})
	}
	return group("rule", "Rules of the gateway",
		o.putRule("create", "Make a rule", "POST"),
		o.putRule("replace", "Give a rule another document", "PATCH"),
		verb("get NAME", "Show a rule as AWS's API gives it", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, "GET", path(args[0], ""), nil, nil)
		}),
		verb("list", "List them, and how they do", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, "GET", "/tidehold/v1/rules", nil, drawRules)
		}),
		simple("enable", "Switch a rule on", "POST", "/enable"),
		simple("disable", "Switch a rule off; it forgets what it remembers", "POST", "/disable"),
		simple("delete", "Remove a rule", "DELETE", ""),
		o.testRule(),
		verb("trace NAME", "Show the last evaluations of a rule, the latest first", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, "GET", "/tidehold/v1/rules/"+url.PathEscape(args[0])+"/trace", nil, drawTrace)
		}))
}

// draft is a rule as flags give it.
type draft struct {
	file, sql, version, description, onError string
	actions                                  []string
	disabled                                 bool
}

func (d *draft) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&d.file, "file", "", "file with AWS's topicRulePayload as JSON, - for standard input, in place of the flags below")
	f.StringVar(&d.sql, "sql", "", "the statement")
	f.StringVar(&d.version, "sql-version", "2016-03-23", "version of the language: 2016-03-23, 2015-10-08 or beta")
	f.StringArrayVar(&d.actions, "action", nil, `an action as JSON, like {"republish":{"topic":"a/b","roleArn":"edge-default"}}; may be repeated`)
	f.StringVar(&d.onError, "error-action", "", "what is done when an action fails, as JSON")
	f.StringVar(&d.description, "description", "", "free text")
	f.BoolVar(&d.disabled, "disabled", false, "keep the rule, but do not run it")
}

// payload is the topicRulePayload.
func (d *draft) payload(in io.Reader) ([]byte, error) {
	switch {
	case d.file != "" && d.sql != "":
		return nil, UsageError{errors.New("rule: give --file or --sql, not both")}
	case d.file == "-":
		return io.ReadAll(in)
	case d.file != "":
		return os.ReadFile(d.file)
	case d.sql == "":
		return nil, UsageError{errors.New("rule: --sql or --file is needed")}
	}
	document := map[string]any{"sql": d.sql, "awsIotSqlVersion": d.version, "ruleDisabled": d.disabled, "actions": []json.RawMessage{}}
	var actions []json.RawMessage
	for _, text := range d.actions {
		if !json.Valid([]byte(text)) {
			return nil, UsageError{fmt.Errorf("rule: --action %q is no JSON", text)}
		}
		actions = append(actions, json.RawMessage(text))
	}
	if actions != nil {
		document["actions"] = actions
	}
	if d.description != "" {
		document["description"] = d.description
	}
	if d.onError != "" {
		if !json.Valid([]byte(d.onError)) {
			return nil, UsageError{fmt.Errorf("rule: --error-action %q is no JSON", d.onError)}
		}
		document["errorAction"] = json.RawMessage(d.onError)
	}
	return json.Marshal(document)
}

func (o *options) putRule(use, short, method string) *cobra.Command {
	d := &draft{}
	cmd := verb(use+" NAME", short, cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		body, err := d.payload(cmd.InOrStdin())
		if err != nil {
			return err
		}
		return o.run(cmd, method, "/rules/"+url.PathEscape(args[0]), body, drawDone(use, args[0]))
	})
	d.flags(cmd)
	return cmd
}

func (o *options) testRule() *cobra.Command {
	d := &draft{}
	var topic, payload, client string
	cmd := verb("test [NAME]", "Run a rule on a message without doing anything: a stored rule, or one of the flags", cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) error {
		request := map[string]any{"topic": topic, "clientId": client}
		if len(args) == 1 {
			request["ruleName"] = args[0]
		} else {
			rule, err := d.payload(cmd.InOrStdin())
			if err != nil {
				return err
			}
			if !json.Valid(rule) {
				return UsageError{errors.New("rule test: the rule is no JSON")}
			}
			request["rule"] = json.RawMessage(rule)
		}
		if payload != "" && topic == "" {
			return UsageError{errors.New("rule test: --payload needs --topic; without both, a recent real message is taken")}
		}
		text, err := textOf(cmd.InOrStdin(), payload)
		if err != nil {
			return err
		}
		request["payload"] = text
		body, err := json.Marshal(request)
		if err != nil {
			return err
		}
		return o.run(cmd, "POST", "/tidehold/v1/test-rule", body, drawTrial)
	})
	d.flags(cmd)
	cmd.Flags().StringVar(&topic, "topic", "", "topic of the message (default: the latest real message that FROM covers)")
	cmd.Flags().StringVar(&payload, "payload", "", "payload of the message, @FILE for a file's, @- for standard input")
	cmd.Flags().StringVar(&client, "client-id", "", "who published it")
	return cmd
}

// textOf gives the text, or what the file it names holds.
func textOf(in io.Reader, text string) ([]byte, error) {
	name, is := strings.CutPrefix(text, "@")
	switch {
	case is && name == "-":
		return io.ReadAll(in)
	case is:
		return os.ReadFile(name)
	}
	return []byte(text), nil
}

func (o *options) role() *cobra.Command {
	path := func(name string) string { return "/tidehold/v1/roles/" + url.PathEscape(name) }
	put := func(use, short, method string) *cobra.Command {
		var document string
		cmd := verb(use+" NAME", short, cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			body, err := textOf(cmd.InOrStdin(), document)
			if err != nil {
				return err
			}
			if !json.Valid(body) {
				return UsageError{fmt.Errorf("role %s: --document is needed: JSON of IAM's shape, or @FILE", use)}
			}
			return o.run(cmd, method, path(args[0]), body, drawDone(use, args[0]))
		})
		cmd.Flags().StringVar(&document, "document", "", "permissions in IAM's shape as JSON, @FILE for a file's, @- for standard input")
		return cmd
	}
	return group("role", "What the actions of rules may do",
		put("create", "Make a role", "POST"),
		put("replace", "Give a role another document, at once for every rule", "PUT"),
		verb("get NAME", "Show a role", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, "GET", path(args[0]), nil, nil)
		}),
		verb("list", "List them", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, "GET", "/tidehold/v1/roles", nil, drawRoles)
		}),
		verb("delete NAME", "Remove a role that no rule names", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, "DELETE", path(args[0]), nil, drawDone("delete", args[0]))
		}))
}

// drawDone says that a verb without an answer was done.
func drawDone(use, name string) table {
	return func(w io.Writer, _ []byte) error {
		row(w, name, strings.TrimSuffix(use, "e")+"ed")
		return nil
	}
}

func drawRoles(w io.Writer, body []byte) error {
	var list []struct {
		RoleName string
		ReadOnly bool
		Document json.RawMessage
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	row(w, "ROLE", "READ-ONLY", "DOCUMENT")
	for _, r := range list {
		row(w, r.RoleName, r.ReadOnly, string(r.Document))
	}
	return nil
}

// moment is a time in milliseconds for people.
func moment(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).Local().Format(time.DateTime)
}

func drawRules(w io.Writer, body []byte) error {
	var list []struct {
		RuleName, SQL, Broken string
		RuleDisabled          bool
		Status                struct {
			Hits, Misses, Errors, Dropped uint64
			LastMatch                     int64
			LastError                     string
		}
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	row(w, "RULE", "STATE", "HITS", "MISSES", "ERRORS", "DROPPED", "LAST MATCH", "SQL", "LAST ERROR")
	for _, r := range list {
		state := "on"
		switch {
		case r.Broken != "":
			state, r.Status.LastError = "broken", r.Broken
		case r.RuleDisabled:
			state = "off"
		}
		s := r.Status
		row(w, r.RuleName, state, s.Hits, s.Misses, s.Errors, s.Dropped, moment(s.LastMatch), strings.Join(strings.Fields(r.SQL), " "), s.LastError)
	}
	return nil
}

func drawTrace(w io.Writer, body []byte) error {
	var list []struct {
		Time                          int64
		Topic, Payload, Output, Error string
		Matched                       bool
		Actions                       []struct {
			Action, Resource, Error string
			MS                      float64
		}
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	row(w, "TIME", "TOPIC", "MATCHED", "PAYLOAD", "OUTPUT OR ERROR")
	for _, e := range list {
		row(w, moment(e.Time), e.Topic, e.Matched, e.Payload, e.Output+e.Error)
		for _, a := range e.Actions {
			row(w, "", "  "+a.Action, a.Resource, fmt.Sprintf("%.3f ms", a.MS), a.Error)
		}
	}
	return nil
}

// wouldBe is one action of a dry run.
type wouldBe struct {
	Action, Role, Resource, Error string
	Verdicts                      []struct {
		Action, Resource, Why string
		Allowed               bool
	}
}

func drawTrial(w io.Writer, body []byte) error {
	var t struct {
		Topic, Payload, Output, Error string
		Real, Covered, Matched        bool
		AfterMS                       int64
		Warnings                      []string
		Actions                       []wouldBe
		ErrorAction                   *wouldBe
	}
	if err := json.Unmarshal(body, &t); err != nil {
		return err
	}
	row(w, "TOPIC", t.Topic)
	row(w, "PAYLOAD", t.Payload)
	row(w, "FROM COVERS IT", t.Covered)
	row(w, "MATCHED", t.Matched)
	if t.Matched {
		row(w, "OUTPUT", t.Output)
	}
	if t.AfterMS > 0 {
		row(w, "AFTER", time.Duration(t.AfterMS)*time.Millisecond)
	}
	if t.Error != "" {
		row(w, "ERROR", t.Error)
	}
	for _, text := range t.Warnings {
		row(w, "WARNING", text)
	}
	for _, a := range t.Actions {
		drawWouldBe(w, "ACTION", a)
	}
	if t.ErrorAction != nil {
		drawWouldBe(w, "ERROR ACTION", *t.ErrorAction)
	}
	return nil
}

func drawWouldBe(w io.Writer, what string, a wouldBe) {
	row(w, what, a.Action, a.Resource, "role "+a.Role, a.Error)
	for _, v := range a.Verdicts {
		word := "allowed"
		if !v.Allowed {
			word = "denied"
		}
		row(w, "", "  "+v.Action, v.Resource, word, v.Why)
	}
}
