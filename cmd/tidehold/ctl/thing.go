package ctl

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (o *options) thing() *cobra.Command {
	var e enrolment
	create := verb("create NAME", "Make a thing with a key and an active certificate; writes cert.pem, private.key and ca.pem", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		e.name = args[0]
		return o.enrol(cmd, e, true)
	})
	e.flags(create)
	return group("thing", "Things of the gateway", create, o.thingList(), o.thingUpdate(),
		verb("get NAME", "Show a thing", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, "GET", "/things/"+segment(args[0]), nil, drawValues)
		}),
		verb("delete NAME", "Delete a thing without certificates", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			if _, err := o.client().ask(cmd.Context(), "GET", "/things/"+segment(args[0]), nil); err != nil {
				return err // AWS answers with success for a thing that does not exist
			}
			_, err := o.client().ask(cmd.Context(), "DELETE", "/things/"+segment(args[0]), nil)
			return err
		}),
		o.bind("attach", "PUT", "Attach a certificate to a thing"),
		o.bind("detach", "DELETE", "Detach a certificate from a thing"),
		verb("search QUERY", "Find things: thingName:pump* AND attributes.room:cellar", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
			body, err := json.Marshal(map[string]string{"queryString": args[0]})
			if err != nil {
				return err
			}
			found, err := o.client().pages(cmd.Context(), "POST", "/indices/search", "things", body, nil)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o.output, found, o.drawThings())
		}))
}

func (o *options) drawThings() table {
	return o.columns(column{"THING", "thingName", false}, column{"TYPE", "thingTypeName", false}, column{"ATTRIBUTES", "attributes", false},
		column{"VERSION", "version", true}, column{"ARN", "thingArn", true}, column{"CONNECTIVITY", "connectivity", true})
}

// connectivity words whether a device is there, and since when it is or is not.
func connectivity(state map[string]any) string {
	at, _ := state["timestamp"].(float64)
	word, when := "last seen ", time.UnixMilli(int64(at)).Local().Format(time.DateTime)
	if state["connected"] == true {
		word = "online since "
	}
	text := word + when
	if reason, gone := state["disconnectReason"]; gone {
		text += fmt.Sprintf(" (%v)", reason)
	}
	if session, known := state["sessionIdentifier"]; known {
		text += fmt.Sprintf(", session %v", session)
	}
	return text
}

func (o *options) thingList() *cobra.Command {
	var kind, attribute string
	list := verb("list", "List them", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		query := url.Values{}
		if kind != "" {
			query.Set("thingTypeName", kind)
		}
		if attribute != "" {
			name, value, found := strings.Cut(attribute, "=")
			if !found {
				return UsageError{fmt.Errorf("--attribute %q: want NAME=VALUE", attribute)}
			}
			query.Set("attributeName", name)
			query.Set("attributeValue", value)
		}
		path := "/things"
		if len(query) > 0 {
			path += "?" + query.Encode()
		}
		return o.records(cmd, path, "things", o.drawThings())
	})
	list.Flags().StringVar(&kind, "type", "", "only things of this type")
	list.Flags().StringVar(&attribute, "attribute", "", "only things with this attribute, NAME=VALUE")
	return list
}

func (o *options) thingUpdate() *cobra.Command {
	var kind string
	var attributes map[string]string
	update := verb("update NAME", "Change the type or attributes of a thing", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		want := map[string]any{"attributePayload": map[string]any{"attributes": attributes, "merge": true}}
		if kind != "" {
			want["thingTypeName"] = kind
		}
		body, err := json.Marshal(want)
		if err != nil {
			return err
		}
		if _, err := o.client().ask(cmd.Context(), "PATCH", "/things/"+segment(args[0]), body); err != nil {
			return err
		}
		return o.run(cmd, "GET", "/things/"+segment(args[0]), nil, drawValues)
	})
	update.Flags().StringVar(&kind, "type", "", "thing type")
	update.Flags().StringToStringVar(&attributes, "attribute", map[string]string{}, "NAME=VALUE to add or change; an empty value removes it")
	return update
}

func (o *options) bind(use, method, short string) *cobra.Command {
	return verb(use+" NAME CERTIFICATE", short, cobra.ExactArgs(2), func(cmd *cobra.Command, args []string) error {
		return o.withCertificate(cmd, args[1], func(c *client, found issued) error {
			return c.principal(cmd.Context(), method, args[0], found.ARN)
		})
	})
}

func drawEnrolled(e enrolment, made issued) table {
	return func(w io.Writer, _ []byte) error {
		if e.name != "" {
			row(w, "THING", e.name)
		}
		row(w, "CERTIFICATE", made.ID)
		files := []any{"FILES", filepath.Join(e.out, "cert.pem")}
		if made.KeyPair.PrivateKey != "" {
			files = append(files, filepath.Join(e.out, "private.key"))
		}
		row(w, append(files, filepath.Join(e.out, "ca.pem"))...)
		return nil
	}
}
