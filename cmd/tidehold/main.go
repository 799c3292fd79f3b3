// Command tidehold is the edge gateway: daemon and command line in one static
// file.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/cmd/tidehold/ctl"
)

// version and commit are set by the linker (scripts/build).
var version, commit = "dev", ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil && !errors.Is(err, errSaid) {
		fmt.Fprintln(os.Stderr, "tidehold:", err)
	}
	os.Exit(ctl.ExitCode(err))
}

// errSaid means that the command has already told what is wrong.
var errSaid = errors.New("said")

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "tidehold",
		Short: "AWS IoT Core's contract at the edge: broker, shadows, rules and drivers in one file",
		Long: "Tidehold serves MQTT devices and AWS clients on the local network, keeps their shadows,\n" +
			"runs rules, reads sensors and drives outputs, with or without an uplink.\n\n" +
			"Try it without hardware: tidehold demo",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return ctl.UsageError{Err: err} })
	ctl.Add(root)
	root.AddCommand(runCommand(), demoCommand(), checkCommand(), versionCommand(), outputsCommand(), hwCommand(), benchCommand())
	usageErrors(root)
	return root
}

// usageErrors makes wrong arguments of every verb exit with 2.
func usageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return ctl.UsageError{Err: fmt.Errorf("%s: %w (see %s --help)", c.CommandPath(), err, c.CommandPath())}
			}
			return nil
		}
	} else if cmd.HasSubCommands() {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return ctl.UsageError{Err: fmt.Errorf("unknown command %q for %q (see %s --help)", args[0], c.CommandPath(), c.CommandPath())}
			}
			return nil
		}
		if cmd.Run == nil && cmd.RunE == nil {
			cmd.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
	for _, child := range cmd.Commands() {
		usageErrors(child)
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Version of this program", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, _ := cmd.Flags().GetString("output")
			if format == "json" {
				return writeJSON(cmd.OutOrStdout(), build())
			}
			b := build()
			fmt.Fprintf(cmd.OutOrStdout(), "tidehold %s (%s, %s)\n", b.Version, b.Commit, b.Go)
			return nil
		}}
}

// buildFacts is the answer of `tidehold version` (contract section 3).
type buildFacts struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

func build() buildFacts {
	b := buildFacts{version, commit, runtime.Version()}
	if facts, ok := debug.ReadBuildInfo(); ok && b.Commit == "" {
		for _, s := range facts.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				b.Commit = s.Value[:12]
			}
		}
	}
	return b
}
