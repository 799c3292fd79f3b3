package main

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/cmd/tidehold/hw"
	"github.com/tidehold/tidehold/gateway"
)

// hwCommand looks at the hardware of a configuration without running it.
func hwCommand() *cobra.Command {
	return hw.Command(parts(), defaultConfig, func(w io.Writer, file string) (*hw.Wiring, error) {
		cfg, err := loadChecked(w, file)
		if err != nil {
			return nil, err
		}
		g, err := gateway.New(cfg, realWorld(slog.New(slog.DiscardHandler)))
		if err != nil {
			return nil, err
		}
		buses, err := g.Wires()
		return &hw.Wiring{Buses: buses, Configs: cfg.Buses, Sensors: cfg.Sensors, Inputs: cfg.Inputs, Outputs: cfg.Outputs}, err
	})
}
