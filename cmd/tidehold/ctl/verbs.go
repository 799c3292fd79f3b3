package ctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// options are the flags that every verb takes.
type options struct{ socket, output string }

// Add puts the client verbs and their global flags under root.
func Add(root *cobra.Command) {
	o := &options{}
	root.PersistentFlags().StringVar(&o.socket, "socket", "", "Unix socket of the gateway (default: $TIDEHOLD_SOCKET, /run/tidehold/ctl.sock, a running demo's)")
	root.PersistentFlags().StringVarP(&o.output, "output", "o", "table", "table, json, yaml, wide or name")
	root.AddCommand(o.status(), o.shadow(), o.uplink(), o.spool(), o.sim(), o.accessKey(), o.thing(), o.cert(), o.ca(), o.policy(), o.user(),
		o.rule(), o.role(),
		o.sync())
}

// run asks the gateway and shows the answer.
func (o *options) run(cmd *cobra.Command, method, path string, body []byte, draw table) error {
	answer, err := newClient(findSocket(o.socket)).ask(cmd.Context(), method, path, body)
	if err != nil {
		return err
	}
	return show(cmd.OutOrStdout(), o.output, answer, draw)
}

func verb(use, short string, args cobra.PositionalArgs, run func(*cobra.Command, []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: run}
}

func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.AddCommand(verbs...)
	return cmd
}

func (o *options) list(noun, short, path string, draw table) *cobra.Command {
	return group(noun, short, verb("list", "List them", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		return o.run(cmd, "GET", path, nil, draw)
	}))
}

func (o *options) status() *cobra.Command {
	return verb("status", "How the gateway does; exit code 6 when it failed", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		body, err := newClient(findSocket(o.socket)).ask(cmd.Context(), "GET", "/tidehold/v1/status", nil)
		if err != nil {
			return err
		}
		if err := show(cmd.OutOrStdout(), o.output, body, drawStatus); err != nil {
			return err
		}
		var status struct{ State string }
		if json.Unmarshal(body, &status) == nil && status.State == "failed" {
			return errUnhealthy
		}
		return nil
	})
}

func (o *options) uplink() *cobra.Command {
	path := func(verb string, args []string) string {
		p := "/tidehold/v1/uplinks" + verb
		if len(args) == 1 {
			p += "?name=" + url.QueryEscape(args[0])
		}
		return p
	}
	move := func(use, short string) *cobra.Command {
		return verb(use+" [NAME]", short, cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, "POST", path("/"+use, args), nil, drawUplinks)
		})
	}
	return group("uplink", "Links to the upstream brokers",
		verb("status [NAME]", "State of the links; with -o wide also how each shadow does", cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) error {
			if err := o.run(cmd, "GET", path("", args), nil, drawUplinks); err != nil || o.output != "wide" {
				return err
			}
			return o.run(cmd, "GET", syncPath, nil, drawSync(func(uplink string, _ syncedShadow) bool { return len(args) == 0 || uplink == args[0] }))
		}),
		move("cut", "Hold a link down until restore or restart"),
		move("restore", "Let a cut link connect again, at once"),
		verb("test [NAME]", "Try a link step by step, beside the running one; exit code 1 when a step fails", cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.testUplink(cmd, path("/test", args))
		}))
}

// errTrial means that a link does not work.
var errTrial = errors.New("the uplink does not work; see the step that failed")

func (o *options) testUplink(cmd *cobra.Command, path string) error {
	body, err := o.client().ask(cmd.Context(), "POST", path, nil)
	if err != nil {
		return err
	}
	if err := show(cmd.OutOrStdout(), o.output, body, drawSteps); err != nil {
		return err
	}
	var steps []struct{ OK bool }
	if err := json.Unmarshal(body, &steps); err != nil {
		return err
	}
	for _, s := range steps {
		if !s.OK {
			return errTrial
		}
	}
	return nil
}

func drawSteps(w io.Writer, body []byte) error {
	var steps []struct {
		Step, Detail, Hint string
		OK                 bool
		Took               int64 `json:"took_ms"`
	}
	if err := json.Unmarshal(body, &steps); err != nil {
		return err
	}
	for _, s := range steps {
		word := "ok"
		if !s.OK {
			word = "FAILED"
		}
		row(w, s.Step, word, fmt.Sprintf("%d ms", s.Took), s.Detail)
		if s.Hint != "" {
			row(w, "", "", "", "-> "+s.Hint)
		}
	}
	return nil
}

func (o *options) sim() *cobra.Command {
	set := func(cmd *cobra.Command, part string, want map[string]string) error {
		body, err := json.Marshal(want)
		if err != nil {
			return err
		}
		return o.run(cmd, "PUT", "/tidehold/v1/sim/"+url.PathEscape(part), body, drawValues)
	}
	return group("sim", "The simulated world seen from outside",
		verb("get NAME [QUANTITY]", "What a part sees, or the level at its pin", cobra.RangeArgs(1, 2), func(cmd *cobra.Command, args []string) error {
			path := "/tidehold/v1/sim/" + url.PathEscape(args[0])
			if len(args) == 2 {
				path += "?quantity=" + url.QueryEscape(args[1])
			}
			return o.run(cmd, "GET", path, nil, drawValues)
		}),
		verb("set NAME [QUANTITY] VALUE", "Change the world: `set climate temperature 31.5`, `set door-button on`", cobra.RangeArgs(2, 3), func(cmd *cobra.Command, args []string) error {
			want := map[string]string{"value": args[len(args)-1]}
			if len(args) == 3 {
				want["quantity"] = args[1]
			}
			return set(cmd, args[0], want)
		}),
		verb("fault NAME FAULT", "Break a part: nack, stuck, flip, slow, power-loss, wrong-id, unplug; none repairs it", cobra.ExactArgs(2), func(cmd *cobra.Command, args []string) error {
			return set(cmd, args[0], map[string]string{"fault": args[1]})
		}))
}

func (o *options) accessKey() *cobra.Command {
	var policy string
	create := verb("create", "Make an access key for the control endpoint; the secret is shown only now", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		body, err := json.Marshal(map[string]string{"policy": policy})
		if err != nil {
			return err
		}
		return o.run(cmd, "POST", "/tidehold/v1/access-keys", body, nil)
	})
	create.Flags().StringVar(&policy, "policy", "", "name of the policy that says what the key may do (default: everything)")
	return group("access-key", "Keys for AWS tools", create,
		verb("list", "List them, without their secrets", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, "GET", "/tidehold/v1/access-keys", nil, o.columns(column{"KEY", "AccessKeyId", false},
				column{"POLICY", "Policy", false}, column{"CREATED", "CreateDate", false}, column{"LAST USED", "LastUsedDate", false}))
		}),
		verb("delete ID", "Delete a key; what it signed for ends at once", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			_, err := o.client().ask(cmd.Context(), "DELETE", "/tidehold/v1/access-keys/"+segment(args[0]), nil)
			return err
		}))
}

func drawStatus(w io.Writer, body []byte) error {
	var s struct {
		Gateway, State string
		Listeners      []struct{ Name, Address string }
		Components     map[string]struct {
			State, Error string
			Since        time.Time
		}
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return err
	}
	row(w, "GATEWAY", s.Gateway)
	row(w, "STATE", s.State)
	for _, l := range s.Listeners {
		row(w, "LISTENER", l.Name, l.Address)
	}
	row(w)
	row(w, "COMPONENT", "STATE", "SINCE", "ERROR")
	for _, name := range slices.Sorted(maps.Keys(s.Components)) {
		c := s.Components[name]
		row(w, name, c.State, c.Since.Local().Format(time.DateTime), c.Error)
	}
	return nil
}

func drawUplinks(w io.Writer, body []byte) error {
	var list []struct {
		Name, Profile, State, Error string
		Since                       time.Time
		Shadows                     map[string]int
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	row(w, "UPLINK", "PROFILE", "STATE", "SINCE", "SHADOWS", "ERROR")
	for _, u := range list {
		row(w, u.Name, u.Profile, u.State, u.Since.Local().Format(time.DateTime), countsOf(u.Shadows), u.Error)
	}
	return nil
}

func drawSpool(w io.Writer, body []byte) error {
	var s struct {
		State             string
		Bytes, LimitBytes int64
		Uplinks           []map[string]any
	}
	var limit struct {
		LimitBytes int64 `json:"limit_bytes"`
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return err
	}
	if err := json.Unmarshal(body, &limit); err != nil {
		return err
	}
	fmt.Fprintf(w, "spool %s, %d of %d bytes\n\n", s.State, s.Bytes, limit.LimitBytes)
	columns := []string{"name", "allocated", "delivered", "pending", "lost", "folded", "skipped", "oldest_age_s", "eta_s"}
	row(w, "UPLINK", "ALLOCATED", "DELIVERED", "PENDING", "LOST", "FOLDED", "SKIPPED", "OLDEST (s)", "ETA (s)")
	for _, u := range s.Uplinks {
		cells := make([]any, len(columns))
		for i, column := range columns {
			cells[i] = u[column]
			if cells[i] == nil {
				cells[i] = "-"
			}
		}
		row(w, cells...)
	}
	return nil
}

// drawValues writes one line per member, in the order of their names.
func drawValues(w io.Writer, body []byte) error {
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(answer)) {
		row(w, name, string(answer[name]))
	}
	return nil
}
