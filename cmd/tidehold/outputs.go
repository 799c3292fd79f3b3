package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/cmd/tidehold/ctl"
	"github.com/tidehold/tidehold/gateway"
)

// outputsCommand works without a running gateway: systemd calls it after the
// daemon has ended, however it ended.
func outputsCommand() *cobra.Command {
	var file string
	var safe bool
	cmd := &cobra.Command{
		Use: "outputs", Short: "Put every output into its stop state, without a running gateway", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !safe {
				return ctl.UsageError{Err: errors.New("outputs: want --safe")}
			}
			cfg, err := loadChecked(cmd.ErrOrStderr(), file)
			if err != nil {
				return err
			}
			g, err := gateway.New(cfg, realWorld(logger(os.Stderr, cfg.Log)))
			if err != nil {
				return err
			}
			return g.SafeOutputs()
		}}
	cmd.Flags().BoolVar(&safe, "safe", false, "write on_stop to every output")
	cmd.Flags().StringVar(&file, "config", defaultConfig, "configuration file")
	return cmd
}
