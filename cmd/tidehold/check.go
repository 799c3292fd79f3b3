package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/config"
)

const defaultConfig = "/etc/tidehold/tidehold.yaml"

func checkCommand() *cobra.Command {
	var quiet, strict bool
	cmd := &cobra.Command{
		Use: "check [FILE]", Short: "List every problem of a configuration file; touches no hardware", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := defaultConfig
			if len(args) == 1 {
				file = args[0]
			}
			_, problems := config.Load(file, options())
			format, _ := cmd.Flags().GetString("output")
			if err := tellProblems(cmd.OutOrStdout(), format, quiet, file, problems); err != nil {
				return err
			}
			if worst(problems, strict) {
				return errSaid
			}
			return nil
		}}
	cmd.Flags().BoolVar(&quiet, "quiet", false, "say nothing when there is nothing to say")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit 1 on warnings too")
	return cmd
}

func options() config.Options { return gateway.CheckOptions(parts()) }

func worst(problems []config.Problem, strict bool) bool {
	for _, p := range problems {
		if strict || p.Severity == config.SeverityError {
			return true
		}
	}
	return false
}

func tellProblems(w io.Writer, format string, quiet bool, file string, problems []config.Problem) error {
	if format == "json" {
		return writeJSON(w, append([]config.Problem{}, problems...))
	}
	for _, p := range problems {
		if _, err := fmt.Fprintln(w, p); err != nil {
			return err
		}
	}
	if len(problems) == 0 && !quiet {
		_, err := fmt.Fprintf(w, "%s: no problems\n", file)
		return err
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// loadChecked loads a file for a verb that needs it whole: errors are told on
// w, warnings too.
func loadChecked(w io.Writer, file string) (*config.Config, error) {
	cfg, problems := config.Load(file, options())
	if err := tellProblems(w, "", true, file, problems); err != nil {
		return nil, err
	}
	if worst(problems, false) {
		return nil, errSaid
	}
	if cfg == nil {
		return nil, errors.New("the configuration could not be read")
	}
	return cfg, nil
}
