// Package hw are the verbs for people who wire hardware: scan, identify, read,
// watch, set and doctor (contract section 3, drivers.md section 9).
//
// They work without a running gateway, on the buses and lines of a
// configuration, or on the host's I2C adapters while there is none. A running
// gateway owns its lines: set asks it, so that its guards decide. Everything
// ends with the command's context.
package hw

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/cmd/tidehold/ctl"
	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/drivers/bus"
	"github.com/tidehold/tidehold/drivers/survey"
)

// scanMax bounds the scan of one bus.
const scanMax = 10 * time.Second

// Wiring is the hardware that a configuration names.
type Wiring struct {
	Buses   drivers.Buses
	Configs []drivers.BusConfig
	Sensors []drivers.SensorConfig
	Inputs  []drivers.InputConfig
	Outputs []drivers.OutputConfig
}

// verbs share the flags and what main knows.
type verbs struct {
	// load reads a configuration and opens what it names.
	load  func(w io.Writer, file string) (*Wiring, error)
	parts survey.Table
	file  string
	bus   string
}

// Command is `tidehold hw`. load reads a configuration file; usual is the file
// that is read when nobody names one, and may be missing.
func Command(parts survey.Table, usual string, load func(w io.Writer, file string) (*Wiring, error)) *cobra.Command {
	v := &verbs{parts: parts}
	v.load = func(w io.Writer, file string) (*Wiring, error) {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) && file == usual {
			return hostOnly()
		}
		return load(w, file)
	}
	cmd := &cobra.Command{Use: "hw", Short: "Look at wired hardware: scan, identify, read, watch, set, doctor"}
	cmd.PersistentFlags().StringVar(&v.file, "config", usual, "configuration file; without one, the I2C adapters of this host")
	scan := verb("scan", "Which addresses answer on the I2C buses", cobra.NoArgs, v.scan)
	identify := verb("identify", "Which chips these are, with a configuration to paste", cobra.NoArgs, v.identify)
	for _, c := range []*cobra.Command{scan, identify} {
		c.Flags().StringVar(&v.bus, "bus", "", "only this one: its name in the configuration, or the adapter's number")
	}
	cmd.AddCommand(scan, identify, v.read(), v.watch(), v.set(),
		verb("doctor", "What this host has, lacks, and what to do; exit code 1 when something is wrong", cobra.NoArgs, doctor))
	return cmd
}

func verb(use, short string, args cobra.PositionalArgs, run func(*cobra.Command, []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: run}
}

// hostOnly is the wiring of a host without a configuration.
func hostOnly() (*Wiring, error) {
	configs := bus.Adapters()
	buses, err := bus.Open(configs, bus.Options{})
	return &Wiring{Buses: buses, Configs: configs}, err
}

// chosen are the I2C buses to look at. A number that no configured bus has is an
// adapter of the host.
func (v *verbs) chosen(cmd *cobra.Command) (*Wiring, error) {
	w, err := v.load(cmd.ErrOrStderr(), v.file)
	if err != nil {
		return nil, err
	}
	if _, err := strconv.Atoi(v.bus); err == nil && !slices.ContainsFunc(w.Configs, func(c drivers.BusConfig) bool { return c.Name == v.bus }) {
		v.bus = "i2c-" + v.bus
		if w, err = hostOnly(); err != nil {
			return nil, err
		}
	}
	w.Configs = slices.DeleteFunc(w.Configs, func(c drivers.BusConfig) bool {
		return c.Type != "i2c" && c.Type != "sim" || v.bus != "" && c.Name != v.bus
	})
	switch {
	case len(w.Configs) > 0:
		return w, nil
	case v.bus != "":
		return nil, fmt.Errorf("hw: no I2C bus %q: see tidehold hw doctor for what this host has", v.bus)
	}
	return nil, errors.New("hw: there is no I2C bus: see tidehold hw doctor")
}

// survey looks at each bus; what was found on the others counts when one fails.
func (v *verbs) survey(cmd *cobra.Command, look func(ctx context.Context, b drivers.Bus, found []survey.Found) []survey.Found) (*Wiring, []survey.Found, error) {
	w, err := v.chosen(cmd)
	if err != nil {
		return nil, nil, err
	}
	all, failed := []survey.Found{}, []error(nil)
	for _, c := range w.Configs {
		b, err := w.Buses.Bus(c.Name)
		if err != nil {
			return nil, nil, err
		}
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), scanMax, fmt.Errorf("no end within %v", scanMax))
		found, err := survey.Scan(ctx, b)
		cancel()
		failed = append(failed, err)
		all = append(all, look(cmd.Context(), b, found)...)
	}
	return w, all, errors.Join(failed...)
}

func (v *verbs) scan(cmd *cobra.Command, _ []string) error {
	_, found, failed := v.survey(cmd, func(_ context.Context, _ drivers.Bus, found []survey.Found) []survey.Found { return found })
	if found == nil {
		return failed
	}
	return errors.Join(failed, ctl.Show(cmd, found, func(w io.Writer) error { return draw(w, found, func(f survey.Found) string { return f.Kernel }) }))
}

func (v *verbs) identify(cmd *cobra.Command, _ []string) error {
	w, found, failed := v.survey(cmd, func(ctx context.Context, b drivers.Bus, found []survey.Found) []survey.Found {
		return survey.Identify(ctx, b, found, v.parts)
	})
	if found == nil {
		return failed
	}
	err := ctl.Show(cmd, found, func(out io.Writer) error {
		if err := draw(out, found, chip); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "\n%s", survey.YAML(w.Configs, found))
		return err
	})
	return errors.Join(failed, err)
}

// chip says what sits at an address.
func chip(f survey.Found) string {
	switch {
	case f.Chip != "":
		return f.Chip + " (" + f.Rule + ")"
	case f.Kernel != "":
		return f.Kernel
	case len(f.Candidates) > 0:
		return "no identity to read; can be " + strings.Join(f.Candidates, ", ")
	}
	return "unknown"
}

func draw(w io.Writer, found []survey.Found, what func(survey.Found) string) error {
	if len(found) == 0 {
		_, err := fmt.Fprintln(w, "nothing answers")
		return err
	}
	fmt.Fprintln(w, "BUS\tADDRESS\t") // an error is seen at the last line
	var err error
	for _, f := range found {
		_, err = fmt.Fprintf(w, "%s\t%s\t%s\n", f.Bus, f.Address, what(f))
	}
	return err
}

// errUnwell means that the doctor found something.
var errUnwell = errors.New("something is wrong with the hardware or the rights; see the hints")

func doctor(cmd *cobra.Command, _ []string) error {
	checks := survey.Doctor(os.DirFS("/"), person())
	err := ctl.Show(cmd, checks, func(w io.Writer) error {
		var err error
		for _, c := range checks {
			mark := "ok"
			if !c.OK {
				mark = "WRONG"
			}
			_, err = fmt.Fprintf(w, "%s\t%s\t%s\n", mark, c.Check, c.Detail)
			if c.Hint != "" {
				_, err = fmt.Fprintf(w, "\t\t%s\n", c.Hint)
			}
		}
		return err
	})
	if err == nil && slices.ContainsFunc(checks, func(c survey.Check) bool { return !c.OK }) {
		err = errUnwell
	}
	return err
}

// person is who runs the command.
func person() survey.Person {
	p := survey.Person{Root: os.Geteuid() == 0}
	me, err := user.Current()
	if err != nil {
		return p
	}
	ids, err := me.GroupIds()
	if err != nil {
		return p
	}
	for _, id := range ids {
		if g, err := user.LookupGroupId(id); err == nil {
			p.Groups = append(p.Groups, g.Name)
		}
	}
	return p
}
