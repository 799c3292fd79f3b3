package main

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/gateway"
	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/config"
)

func runCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "run", Short: "Serve until SIGTERM", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadChecked(cmd.ErrOrStderr(), file)
			if err != nil {
				return err
			}
			socket, _ := cmd.Flags().GetString("socket")
			return serve(cmd.Context(), cfg, socket)
		}}
	cmd.Flags().StringVar(&file, "config", defaultConfig, "configuration file")
	return cmd
}

// serve runs one gateway in the real world.
func serve(ctx context.Context, cfg *config.Config, socket string) error {
	defer calmCollector()()
	log := logger(os.Stderr, cfg.Log)
	env := realWorld(log)
	env.Socket = socketPath(socket, cfg)
	var err error
	if env.Sockets, err = inheritedSockets(); err != nil {
		return err
	}
	systemd := findSupervisor()
	env.Ready = func(addresses []gateway.Address) {
		log.Info("ready", "gateway", cfg.Gateway.ID, "addresses", addresses)
		if err := systemd.tell("READY=1"); err != nil {
			log.Warn("systemd was not told that the gateway is ready", "err", err)
		}
	}
	g, err := gateway.New(cfg, env)
	if err != nil {
		return err
	}
	feeding, stop := context.WithCancel(ctx)
	defer stop()
	go systemd.feed(feeding, g.Live, func(err error) { log.Error("watchdog", "err", err) })
	err = g.Run(ctx)
	if tell := systemd.tell("STOPPING=1"); tell != nil {
		log.Debug("systemd was not told of the end", "err", tell)
	}
	return err
}

// realWorld is the host this process runs on.
func realWorld(log *slog.Logger) gateway.Env {
	b := build()
	return gateway.Env{
		Clock: clock.NewSystem(), Random: rand.Reader, Log: log, Parts: parts(),
		Version: b.Version, Commit: b.Commit, Go: b.Go,
	}
}

// socketPath is the flag, else the service's runtime directory, else the
// storage directory (contract section 3).
func socketPath(flag string, cfg *config.Config) string {
	if flag != "" {
		return flag
	}
	if dir := os.Getenv("RUNTIME_DIRECTORY"); dir != "" {
		return filepath.Join(dir, "ctl.sock")
	}
	return filepath.Join(cfg.Storage.Dir, "ctl.sock")
}

// logger writes text for people and for the journal, which stamps lines by
// itself; JSON on request.
func logger(w io.Writer, cfg config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if os.Getenv("JOURNAL_STREAM") != "" {
		o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
