package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
)

// table draws a JSON answer for people.
type table func(w io.Writer, body []byte) error

// show writes an answer in the wanted form.
func show(w io.Writer, format string, body []byte, draw table) error {
	switch format {
	case "json":
		return showJSON(w, body)
	case "yaml":
		return showYAML(w, body)
	case "name":
		return showNames(w, body)
	case "table", "wide", "":
		if draw == nil {
			return showJSON(w, body)
		}
		tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		if err := draw(tabs, body); err != nil {
			return err
		}
		return tabs.Flush()
	}
	return UsageError{fmt.Errorf("output %q: want table, json, yaml, wide or name", format)}
}

func showJSON(w io.Writer, body []byte) error {
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(body), "", "  "); err != nil {
		return fmt.Errorf("answer of the gateway: %w", err)
	}
	_, err := fmt.Fprintln(w, out.String())
	return err
}

// showYAML keeps the order of members and the text of numbers, because JSON is
// read as the YAML that it is.
func showYAML(w io.Writer, body []byte) error {
	var node yaml.Node
	if err := yaml.Unmarshal(body, &node); err != nil {
		return fmt.Errorf("answer of the gateway: %w", err)
	}
	blockStyle(&node)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return err
	}
	return enc.Close()
}

func blockStyle(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		n.Style = 0
	}
	for _, child := range n.Content {
		blockStyle(child)
	}
}

// showNames prints the names of a list, or of one record, one a line.
func showNames(w io.Writer, body []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		body = slices.Concat([]byte("["), body, []byte("]"))
	}
	var texts []string
	if json.Unmarshal(body, &texts) == nil {
		return drawTexts(w, body)
	}
	var list []map[string]any
	if err := json.Unmarshal(body, &list); err != nil {
		return UsageError{fmt.Errorf("output name: this command does not answer with names")}
	}
	for _, item := range list {
		for _, key := range []string{"name", "thingName", "ruleName", "policyName", "certificateId", "AccessKeyId", "versionId", "id"} {
			if name, ok := item[key].(string); ok {
				fmt.Fprintln(w, name)
				break
			}
		}
	}
	return nil
}

// row writes one line of a table.
func row(w io.Writer, cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = fmt.Sprint(cell)
	}
	fmt.Fprintln(w, strings.TrimRight(strings.Join(texts, "\t"), "\t"))
}
