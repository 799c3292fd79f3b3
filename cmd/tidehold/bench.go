package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/cmd/tidehold/ctl"
	"github.com/tidehold/tidehold/gateway/bench"
)

// benchCommand is `tidehold bench`; `bench subject` is what it starts as the
// process that is measured.
func benchCommand() *cobra.Command {
	cfg := bench.Config{Parts: parts()}
	var only string
	names, _ := bench.Names()
	cmd := &cobra.Command{
		Use: "bench SCENARIO|all", Short: "Measure this gateway beside a Mosquitto, in the same run", Long: benchHelp(),
		Args: cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs), ValidArgs: append(names, "all"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if cfg.Only, err = regexp.Compile(only); err != nil {
				return ctl.UsageError{Err: fmt.Errorf("--only: %w", err)}
			}
			if cfg.Profile, err = profileFolder(cfg.Profile); err != nil {
				return err
			}
			if cfg.Self, err = os.Executable(); err != nil {
				return fmt.Errorf("bench: find this program: %w", err)
			}
			format, _ := cmd.Flags().GetString("output")
			return runBench(cmd.Context(), cmd.OutOrStdout(), format, cfg, args[0])
		}}
	cmd.Flags().StringVar(&cfg.Against, "against", "", "measure the broker at HOST:PORT in place of this gateway")
	cmd.Flags().StringVar(&cfg.Peer, "peer", bench.PeerAuto, "the Mosquitto to compare with: auto, none, or its path")
	cmd.Flags().IntVar(&cfg.Rounds, "rounds", 5, "rounds of each cell, in turns with the peer; medians count")
	cmd.Flags().DurationVar(&cfg.Duration, "duration", time.Second, "length of one round of one cell")
	cmd.Flags().DurationVar(&cfg.CommitDelay, "commit-delay", 0, "slow every commit of the durable scenarios")
	cmd.Flags().StringVar(&only, "only", "", "measure only the cells SCENARIO/CELL that fit this regular expression")
	cmd.Flags().StringVar(&cfg.Profile, "profile", "", "write CPU profiles of the gateway into this folder")
	cmd.AddCommand(subjectCommand())
	return cmd
}

func benchHelp() string {
	var text strings.Builder
	text.WriteString("Scenarios:\n")
	tabs := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	names, about := bench.Names()
	for i, name := range names {
		fmt.Fprintf(tabs, "  %s\t%s\n", name, about[i])
	}
	_ = tabs.Flush() // into a strings.Builder, which does not fail
	text.WriteString("\nGateway and Mosquitto run as processes of their own on free ports of 127.0.0.1.\n" +
		"Each line gives the medians; (x1.50) is the median of the ratios to Mosquitto.\n" +
		"CPU is that of the broker alone, per message. A shared machine is noisy: trust ratios only.")
	return text.String()
}

// profileFolder makes the folder and gives its full path.
func profileFolder(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("bench: profiles: %w", err)
	}
	return filepath.Abs(dir)
}

func runBench(ctx context.Context, out io.Writer, format string, cfg bench.Config, scenario string) error {
	var failed error
	lines := json.NewEncoder(out)
	switch format {
	case "json":
		cfg.Report = func(c bench.Cell) { failed = errors.Join(failed, lines.Encode(c)) }
	case "table", "wide", "":
		cfg.Report = func(c bench.Cell) { failed = errors.Join(failed, bench.WriteRow(out, c)) }
	default:
		return ctl.UsageError{Err: fmt.Errorf("output %q: bench has table and json", format)}
	}
	return errors.Join(bench.Run(ctx, cfg, scenario), failed)
}

// subjectCommand is a gateway under measurement, with what `run` does not
// have: a CPU profile, or the durable half alone with slow commits.
func subjectCommand() *cobra.Command {
	var file, profile string
	var durable bench.Durable
	var floor bench.Floor
	cmd := &cobra.Command{
		Use: "subject", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			defer calmCollector()()
			if profile != "" {
				stop, err := profileInto(profile)
				if err != nil {
					return err
				}
				defer stop()
			}
			if durable.Dir != "" {
				return durable.Serve(cmd.Context())
			}
			if floor.Cert != "" {
				floor.Bind = durable.Bind
				return floor.Serve(cmd.Context())
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			socket, _ := cmd.Flags().GetString("socket")
			g, err := bench.Gateway(text, parts(), socket)
			if err != nil {
				return err
			}
			return g.Run(cmd.Context())
		}}
	cmd.Flags().StringVar(&file, "config", "", "configuration file")
	cmd.Flags().StringVar(&profile, "cpuprofile", "", "file for the CPU profile")
	cmd.Flags().StringVar(&durable.Dir, "durable", "", "storage folder of the durable half")
	cmd.Flags().StringVar(&durable.Bind, "bind", "127.0.0.1:0", "address of its broker")
	cmd.Flags().StringVar(&durable.Metrics, "metrics", "127.0.0.1:0", "address of its metrics")
	cmd.Flags().StringVar(&durable.Profile, "profile", "strict", "its telemetry profile")
	cmd.Flags().DurationVar(&durable.CommitDelay, "commit-delay", 0, "what is added to each commit")
	cmd.Flags().StringVar(&floor.Cert, "cert", "", "certificate of the least TLS server")
	cmd.Flags().StringVar(&floor.Key, "key", "", "its key")
	cmd.Flags().StringVar(&floor.CA, "ca", "", "whose certificates it wants to see")
	return cmd
}

// profileInto profiles until the function it gives is called.
func profileInto(path string) (stop func(), err error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close()
	}, nil
}
