package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/gateway/iot"
)

func (o *options) shadow() *cobra.Command {
	var name string
	path := func(thing string) string {
		p := "/things/" + url.PathEscape(thing) + "/shadow"
		if name != "" {
			p += "?name=" + url.QueryEscape(name)
		}
		return p
	}
	own := func(thing, what string) string {
		return "/tidehold/v1/shadows/" + url.PathEscape(thing) + "/" + what + "?name=" + url.QueryEscape(name)
	}
	cmd := group("shadow", "Shadow documents of things",
		verb("get THING", "Show a shadow; with -o wide also how it does with each upstream", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			if o.output == "wide" {
				return o.getWide(cmd, path(args[0]), args[0], name)
			}
			return o.run(cmd, "GET", path(args[0]), nil, nil)
		}),
		o.shadowStatus(),
		verb("set THING JSON", "Update a shadow: a request document, its `state` alone, or - for standard input", cobra.ExactArgs(2), func(cmd *cobra.Command, args []string) error {
			body, err := requestDocument(cmd.InOrStdin(), args[1])
			if err != nil {
				return err
			}
			return o.run(cmd, "POST", path(args[0]), body, nil)
		}),
		verb("delete THING", "Delete a shadow", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, "DELETE", path(args[0]), nil, nil)
		}),
		verb("list THING", "List the named shadows of a thing", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, "GET", "/api/things/shadow/ListNamedShadowsForThing/"+url.PathEscape(args[0])+"?pageSize=100", nil, drawShadowNames)
		}),
		verb("watch THING", "Show a shadow, and again after every change; with -o json one document a line", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.watch(cmd, own(args[0], "watch"))
		}),
		verb("history THING", "The last 50 changes of a shadow: who and when, the newest first", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, "GET", own(args[0], "history"), nil, drawHistory)
		}))
	cmd.PersistentFlags().StringVar(&name, "name", "", "name of the shadow (default: the classic one)")
	return cmd
}

// requestDocument wraps a bare state into a request document. The text is not
// re-encoded: numbers keep their digits.
func requestDocument(in io.Reader, text string) ([]byte, error) {
	body := []byte(text)
	if text == "-" {
		var err error
		if body, err = io.ReadAll(in); err != nil {
			return nil, err
		}
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, UsageError{fmt.Errorf("shadow set: %q is no JSON object: %w", text, err)}
	}
	_, desired := members["desired"]
	_, reported := members["reported"]
	if _, whole := members["state"]; whole || !desired && !reported {
		return body, nil
	}
	return slices.Concat([]byte(`{"state":`), bytes.TrimSpace(body), []byte(`}`)), nil
}

func drawShadowNames(w io.Writer, body []byte) error {
	var page struct{ Results []string }
	if err := json.Unmarshal(body, &page); err != nil {
		return err
	}
	for _, name := range page.Results {
		row(w, name)
	}
	return nil
}

// author is who changed a shadow.
type author struct{ Principal, ClientID, Source, Uplink string }

func (a author) String() string {
	for _, name := range []string{a.Uplink, a.Source, a.ClientID, a.Principal} {
		if name != "" {
			return name
		}
	}
	return "-"
}

func drawHistory(w io.Writer, body []byte) error {
	var all []struct {
		Version, Timestamp int64
		Deleted            bool
		ChangedBy          author
		State              json.RawMessage
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return err
	}
	row(w, "VERSION", "TIME", "CHANGED BY", "STATE")
	for _, p := range all {
		what := string(p.State)
		switch {
		case p.Deleted:
			what = "deleted"
		case what == "":
			what = "(too long to keep)"
		}
		row(w, p.Version, time.UnixMilli(p.Timestamp).Local().Format(time.DateTime), p.ChangedBy, what)
	}
	return nil
}

// watch shows documents as they come until the gateway or the user ends it.
func (o *options) watch(cmd *cobra.Command, path string) error {
	return newClient(findSocket(o.socket)).follow(cmd.Context(), path, func(line []byte) error {
		var d struct {
			Version, Timestamp int64
			Deleted            bool
			ChangedBy          author
			State              json.RawMessage
			Error              string
		}
		if err := json.Unmarshal(line, &d); err != nil {
			return fmt.Errorf("answer of the gateway: %w", err)
		}
		if d.Error != "" {
			return iot.Errorf(iot.Unavailable, "%s", d.Error)
		}
		out := cmd.OutOrStdout()
		switch {
		case o.output == "json":
			_, err := fmt.Fprintf(out, "%s\n", line)
			return err
		case o.output == "yaml":
			fmt.Fprintln(out, "---")
			return showYAML(out, line)
		case d.Deleted:
			d.State = []byte("deleted")
		}
		_, err := fmt.Fprintf(out, "%s  version %d  %s  %s\n", time.Unix(d.Timestamp, 0).Local().Format(time.DateTime), d.Version, d.ChangedBy, d.State)
		return err
	})
}
