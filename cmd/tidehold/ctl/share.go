package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/spf13/cobra"
)

// Show writes value in the form that -o asks for; draw is the table for people,
// nil: JSON.
func Show(cmd *cobra.Command, value any, draw func(w io.Writer) error) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	format, err := cmd.Flags().GetString("output")
	if err != nil {
		return err
	}
	if draw == nil {
		return show(cmd.OutOrStdout(), format, body, nil)
	}
	return show(cmd.OutOrStdout(), format, body, func(w io.Writer, _ []byte) error { return draw(w) })
}

// Ask sends one request to the running gateway. Its error is nil, the gateway's
// own, or fits Unreachable.
func Ask(ctx context.Context, cmd *cobra.Command, method, path string, body []byte) ([]byte, error) {
	socket, err := cmd.Flags().GetString("socket")
	if err != nil {
		return nil, err
	}
	return newClient(findSocket(socket)).ask(ctx, method, path, body)
}

// Unreachable reports that no gateway answered.
func Unreachable(err error) bool { return errors.Is(err, errUnreachable) }
