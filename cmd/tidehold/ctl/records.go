package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// pages reads a list of AWS's control plane to its end and joins what its pages
// hold under member: `-o json` gives one array of records.
func (c *client) pages(ctx context.Context, method, path, member string, body []byte, headers map[string]string) ([]byte, error) {
	all := []json.RawMessage{}
	for at := path; ; {
		answer, err := c.askWith(ctx, method, at, body, headers)
		if err != nil {
			return nil, err
		}
		var page map[string]json.RawMessage
		if err := json.Unmarshal(answer, &page); err != nil {
			return nil, fmt.Errorf("answer of the gateway: %w", err)
		}
		var records []json.RawMessage
		var next struct{ NextToken, NextMarker string }
		if err := json.Unmarshal(page[member], &records); err != nil {
			return nil, fmt.Errorf("answer of the gateway: %s: %w", member, err)
		}
		if err := json.Unmarshal(answer, &next); err != nil {
			return nil, fmt.Errorf("answer of the gateway: %w", err)
		}
		all = append(all, records...)
		if next.NextToken+next.NextMarker == "" {
			return json.Marshal(all)
		}
		join := "?"
		if strings.Contains(path, "?") {
			join = "&"
		}
		at = path + join + "nextToken=" + url.QueryEscape(next.NextToken+next.NextMarker)
	}
}

// records shows all records of a list.
func (o *options) records(cmd *cobra.Command, path, member string, draw table) error {
	body, err := o.client().pages(cmd.Context(), "GET", path, member, nil, nil)
	if err != nil {
		return err
	}
	return show(cmd.OutOrStdout(), o.output, body, draw)
}

func (o *options) client() *client { return newClient(findSocket(o.socket)) }

// column is a heading and the member below it; wide ones are left out of a
// plain table.
type column struct {
	heading, member string
	wide            bool
}

// columns draws an array of records.
func (o *options) columns(all ...column) table {
	var shown []column
	for _, c := range all {
		if !c.wide || o.output == "wide" {
			shown = append(shown, c)
		}
	}
	return func(w io.Writer, body []byte) error {
		var list []map[string]any
		if err := json.Unmarshal(body, &list); err != nil {
			return fmt.Errorf("answer of the gateway: %w", err)
		}
		cells := make([]any, len(shown))
		for i, c := range shown {
			cells[i] = c.heading
		}
		row(w, cells...)
		for _, one := range list {
			for i, c := range shown {
				cells[i] = cell(c.member, one[c.member])
			}
			row(w, cells...)
		}
		return nil
	}
}

// cell words one member: dates are seconds on AWS's wire.
func cell(member string, value any) string {
	switch v := value.(type) {
	case nil:
		return "-"
	case float64:
		if strings.HasSuffix(member, "Date") {
			return time.UnixMilli(int64(v * 1000)).Local().Format(time.DateTime)
		}
	case map[string]any:
		if member == "connectivity" {
			return connectivity(v)
		}
		text, err := json.Marshal(v)
		if err == nil {
			return string(text)
		}
	case []any:
		text, err := json.Marshal(v)
		if err == nil {
			return string(text)
		}
	}
	return fmt.Sprint(value)
}

// member draws one text of a record alone, so that it can be sent to a file.
func member(name string) table {
	return func(w io.Writer, body []byte) error {
		var record map[string]any
		if err := json.Unmarshal(body, &record); err != nil {
			return fmt.Errorf("answer of the gateway: %w", err)
		}
		_, err := fmt.Fprintln(w, strings.TrimSuffix(fmt.Sprint(record[name]), "\n"))
		return err
	}
}

// segment escapes one segment of a path.
func segment(name string) string { return url.PathEscape(name) }
