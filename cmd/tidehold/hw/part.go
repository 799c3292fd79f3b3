package hw

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/cmd/tidehold/ctl"
	"github.com/tidehold/tidehold/drivers"
	"github.com/tidehold/tidehold/gateway/iot"
)

// value is one line of `hw read`.
type value struct {
	Channel string  `json:"channel"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
}

func (v *verbs) read() *cobra.Command {
	var c drivers.SensorConfig
	var address string
	var raw bool
	cmd := verb("read [SENSOR]", "Read a sensor once: one of the configuration, or any by --driver and --address", cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) error {
		w, err := v.load(cmd.ErrOrStderr(), v.file)
		if err != nil {
			return err
		}
		if len(args) == 1 {
			c, err = named(w, args[0])
		} else {
			err = given(w, &c, address)
		}
		if err != nil {
			return err
		}
		all, err := v.sample(cmd.Context(), w, c, raw)
		if err != nil {
			return err
		}
		return ctl.Show(cmd, all, func(out io.Writer) error {
			var err error
			for _, one := range all {
				_, err = fmt.Fprintf(out, "%s\t%s\t%s\n", one.Channel, strconv.FormatFloat(one.Value, 'f', -1, 64), one.Unit)
			}
			return err
		})
	})
	cmd.Flags().StringVar(&c.Driver, "driver", "", "the driver, with --address")
	cmd.Flags().StringVar(&c.Bus, "bus", "", "the bus, with --address; may be left out when there is one")
	cmd.Flags().StringVar(&address, "address", "", "the address, like 0x76")
	cmd.Flags().BoolVar(&raw, "raw", false, "as the driver gives it: SI units, every digit")
	return cmd
}

func named(w *Wiring, name string) (drivers.SensorConfig, error) {
	i := slices.IndexFunc(w.Sensors, func(c drivers.SensorConfig) bool { return c.Name == name })
	if i < 0 {
		return drivers.SensorConfig{}, fmt.Errorf("hw read: the configuration has no sensor %q", name)
	}
	return w.Sensors[i], nil
}

func given(w *Wiring, c *drivers.SensorConfig, address string) error {
	at, err := strconv.ParseUint(address, 0, 7)
	switch {
	case c.Driver == "" || address == "":
		return ctl.UsageError{Err: errors.New("hw read: want a sensor's name, or --driver and --address")}
	case err != nil:
		return ctl.UsageError{Err: fmt.Errorf("hw read: address %q: want 0x08 to 0x77", address)}
	case c.Bus == "" && len(w.Configs) != 1:
		return ctl.UsageError{Err: fmt.Errorf("hw read: there are %d buses: name one by --bus", len(w.Configs))}
	case c.Bus == "":
		c.Bus = w.Configs[0].Name
	}
	c.Name, c.Address = c.Driver, []uint16{uint16(at)}
	return nil
}

// sample opens the chip, at the first address that is its, and reads it once.
func (v *verbs) sample(ctx context.Context, w *Wiring, c drivers.SensorConfig, raw bool) ([]value, error) {
	driver, ok := v.parts.Driver(c.Driver)
	if !ok {
		return nil, fmt.Errorf("hw read: there is no driver %q", c.Driver)
	}
	options, problems := drivers.CheckOptions(driver.Describe().Options, c.Options)
	if len(problems) > 0 {
		return nil, fmt.Errorf("hw read %s: options.%s", c.Name, problems[0])
	}
	b, err := w.Buses.Bus(c.Bus)
	if err != nil {
		return nil, err
	}
	addresses := c.Address
	if len(addresses) == 0 {
		addresses = driver.Describe().Addresses
	}
	var failed []error
	for _, addr := range addresses {
		all, err := readOnce(ctx, driver, b, addr, options, raw)
		if err == nil {
			return all, nil
		}
		failed = append(failed, fmt.Errorf("hw read %s at 0x%02x: %w", c.Name, addr, err))
	}
	return nil, errors.Join(failed...)
}

func readOnce(ctx context.Context, driver drivers.Driver, b drivers.Bus, addr uint16, options drivers.Options, raw bool) (all []value, err error) {
	sheet := driver.Describe()
	ctx, cancel := context.WithTimeout(drivers.WithPriority(ctx, drivers.ByHand), 2*sheet.MaxRead)
	defer cancel()
	device, err := driver.Open(ctx, drivers.NewHandle(b, addr), options)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	readings, err := device.Read(ctx)
	for _, r := range readings {
		one := value{Channel: r.Channel, Value: r.Value}
		if ch, known := sheet.Channel(r.Channel); known && !raw {
			if one.Value, err = drivers.Convert(r.Quantity, r.Value, ch.Unit); err != nil {
				return nil, err
			}
			one.Unit = string(ch.Unit)
			one.Value, _ = strconv.ParseFloat(strconv.FormatFloat(one.Value, 'f', ch.Decimals, 64), 64) // just written
		}
		all = append(all, one)
	}
	return all, err
}

func (v *verbs) watch() *cobra.Command {
	var pull string
	cmd := verb("watch PIN", "Show the level of a line and each change: an input's name, LINE or CHIP/LINE; until Ctrl-C", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		w, err := v.load(cmd.ErrOrStderr(), v.file)
		if err != nil {
			return err
		}
		pin, resistor := pinOf(w, args[0]), drivers.Pull(pull)
		if i := slices.IndexFunc(w.Inputs, func(c drivers.InputConfig) bool { return c.Name == args[0] }); i >= 0 && pull == "" {
			resistor = w.Inputs[i].Pull
		}
		line, err := w.Buses.Input(pin, resistor, drivers.BothEdges)
		if err != nil {
			return fmt.Errorf("hw watch %s: %w", pin, err)
		}
		defer line.Close()
		return follow(cmd.Context(), cmd.OutOrStdout(), line)
	})
	cmd.Flags().StringVar(&pull, "pull", "", "up or down")
	return cmd
}

// pinOf is the pin of an input or output of the configuration, or the text
// itself.
func pinOf(w *Wiring, name string) drivers.PinConfig {
	for _, c := range w.Inputs {
		if c.Name == name && c.Pin != nil {
			return *c.Pin
		}
	}
	for _, c := range w.Outputs {
		if c.Name == name && c.Pin != nil {
			return *c.Pin
		}
	}
	if chip, line, ok := strings.Cut(name, "/"); ok {
		return drivers.PinConfig{Chip: chip, Line: line}
	}
	return drivers.PinConfig{Line: name}
}

func follow(ctx context.Context, out io.Writer, line drivers.InputLine) error {
	high, err := line.Read()
	if err != nil {
		return err
	}
	fmt.Fprintln(out, word(high), "now") // an error is seen at the next line
	var before time.Time
	for {
		e, err := line.Wait(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		since := ""
		if !before.IsZero() {
			since = " after " + e.Time.Sub(before).Round(time.Microsecond).String()
		}
		before = e.Time
		if _, err := fmt.Fprintf(out, "%s %s%s\n", e.Time.Format("15:04:05.000000"), word(e.High), since); err != nil {
			return err
		}
	}
}

func word(high bool) string {
	if high {
		return "high"
	}
	return "low"
}

func (v *verbs) set() *cobra.Command {
	var length time.Duration
	cmd := verb("set OUTPUT on|off", "Move an output for a while, then back; a running gateway is asked, so that its guards decide", cobra.ExactArgs(2), func(cmd *cobra.Command, args []string) error {
		on := args[1] == "on"
		if !on && args[1] != "off" {
			return ctl.UsageError{Err: fmt.Errorf("hw set: %q: want on or off", args[1])}
		}
		w, err := v.load(cmd.ErrOrStderr(), v.file)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(w.Outputs, func(c drivers.OutputConfig) bool { return c.Name == args[0] })
		if i < 0 {
			return fmt.Errorf("hw set: the configuration has no output %q", args[0])
		}
		if _, err := ctl.Ask(cmd.Context(), cmd, "GET", "/tidehold/v1/status", nil); ctl.Unreachable(err) {
			return drive(cmd, w, w.Outputs[i], on, length)
		}
		return wish(cmd, w.Outputs[i], on, length)
	})
	cmd.Flags().DurationVar(&length, "for", 2*time.Second, "how long")
	return cmd
}

// drive moves the line itself; nobody else owns it.
func drive(cmd *cobra.Command, w *Wiring, c drivers.OutputConfig, on bool, length time.Duration) error {
	if c.Pin == nil {
		return fmt.Errorf("hw set %s: only outputs on a line can be moved without the gateway: start it", c.Name)
	}
	high := on != (c.Active == "low")
	level := drivers.Low
	if high {
		level = drivers.High
	}
	line, err := w.Buses.Output(*c.Pin, level)
	if err != nil {
		return fmt.Errorf("hw set %s: %w", c.Name, err)
	}
	defer line.Close()
	now, err := line.Read()
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is %s: the pin is %s, for %v\n", c.Name, onOff(on), word(now), length)
	rest(cmd.Context(), length)
	if err := line.Write(!high); err != nil {
		return fmt.Errorf("hw set %s back: %w", c.Name, err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is %s again\n", c.Name, onOff(!on))
	return nil
}

// moveWithin is how long a running gateway may take to move an output.
const moveWithin = 2 * time.Second

// wish asks the running gateway by the output's shadow, and takes the wish back,
// also when the command is interrupted.
func wish(cmd *cobra.Command, c drivers.OutputConfig, on bool, length time.Duration) (err error) {
	s := shadow{cmd: cmd, key: c.Key, path: "/things/" + url.PathEscape(string(c.Thing)) + "/shadow"}
	if c.Shadow != "" {
		s.path += "?name=" + url.QueryEscape(string(c.Shadow))
	}
	was, _, err := s.reported()
	if err != nil {
		return fmt.Errorf("hw set %s: %w", c.Name, err)
	}
	defer func() { err = errors.Join(err, s.desire(context.WithoutCancel(cmd.Context()), was)) }()
	if err := s.desire(cmd.Context(), on); err != nil {
		return fmt.Errorf("hw set %s: %w", c.Name, err)
	}
	for end := time.Now().Add(moveWithin); ; rest(cmd.Context(), 50*time.Millisecond) {
		is, refused, err := s.reported()
		switch {
		case cmd.Context().Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("hw set %s: %w", c.Name, err)
		case refused != "":
			return fmt.Errorf("hw set %s: the gateway refuses: %s", c.Name, refused)
		case is == on:
			fmt.Fprintf(cmd.OutOrStdout(), "%s is %s, for %v\n", c.Name, onOff(on), length)
			rest(cmd.Context(), length)
			return nil
		case time.Now().After(end):
			return fmt.Errorf("hw set %s: the gateway did not move it within %v", c.Name, moveWithin)
		}
	}
}

// shadow is where an output of the running gateway stands.
type shadow struct {
	cmd       *cobra.Command
	path, key string
}

func (s shadow) desire(ctx context.Context, on bool) error {
	var desired any = map[string]any{"on": on}
	if s.key != "." {
		desired = map[string]any{s.key: desired}
	}
	body, err := json.Marshal(map[string]any{"state": map[string]any{"desired": desired}})
	if err == nil {
		_, err = ctl.Ask(ctx, s.cmd, "POST", s.path, body)
	}
	return err
}

// reported is whether the output is on, and why a wish is refused. Of one that
// has not reported yet: off.
func (s shadow) reported() (on bool, refused string, err error) {
	body, err := ctl.Ask(s.cmd.Context(), s.cmd, "GET", s.path, nil)
	if iot.CodeOf(err) == iot.NotFound {
		return false, "", nil
	}
	if err != nil {
		return false, "", err
	}
	var document struct {
		State struct{ Reported map[string]json.RawMessage }
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return false, "", err
	}
	section := document.State.Reported
	if text := section[s.key]; s.key != "." {
		section = nil
		if text == nil {
			return false, "", nil
		}
		if err := json.Unmarshal(text, &section); err != nil {
			return false, "", fmt.Errorf("reported.%s: %w", s.key, err)
		}
	}
	var wish struct{ Why string }
	if text := section["refused"]; text != nil {
		err = json.Unmarshal(text, &wish)
	}
	return string(section["on"]) == "true", wish.Why, err
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
