package ctl

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/gateway/telemetry/desk"
)

// errDamaged means that a message file is not whole.
var errDamaged = errors.New("the message file is damaged; the next start of the gateway salvages what is readable")

// spoolVerbs are the verbs of the spool. Those that only look also work on the
// file of a stopped gateway.
type spoolVerbs struct {
	*options
	file, gateway                 string
	class, topic, since, until, n string
}

func (o *options) spool() *cobra.Command {
	s := &spoolVerbs{options: o}
	return group("spool", "Telemetry that waits for an upstream",
		verb("stats", "Figures of the spool", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, "GET", "/tidehold/v1/spool", nil, drawSpool)
		}),
		s.look("ls", "Messages that wait, class by class, the oldest first", drawLines, true),
		s.look("peek", "The same with their payload", drawLines, true),
		s.verify(),
		s.look("losses", "What an uplink will not get: ranges, reasons, whether it was told", drawLosses, false),
		s.export(), s.importFile(), s.drop(), s.forget(),
		group("quarantine", "Messages that an uplink could not take",
			s.look("ls", "List them", drawQuarantine, false),
			s.row("release", "Send one once more, under its old id", "release"),
			s.row("drop", "Forget one; its loss is recorded already", "discard")),
		s.steer("pause", "Hold everything back from an uplink until resume or restart"),
		s.steer("resume", "End a pause"),
		s.rate())
}

// choose adds the flags that say which messages are meant.
func (s *spoolVerbs) choose(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.class, "cls", "", "class: 0 critical, 1 normal, 2 bulk")
	f.StringVar(&s.topic, "topic", "", "topic filter of MQTT")
	f.StringVar(&s.since, "since", "", "captured at or after: RFC 3339, or a duration ago (2h)")
	f.StringVar(&s.until, "until", "", "captured before")
}

func (s *spoolVerbs) stopped(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.file, "file", "", "messages.db of a stopped gateway, read without it")
	cmd.Flags().StringVar(&s.gateway, "gateway", "", "with --file: id of the gateway that wrote it, first part of the ids")
}

func (s *spoolVerbs) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"cls": s.class, "topic": s.topic, "since": s.since, "until": s.until, "n": s.n} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

func (s *spoolVerbs) look(use, short string, draw table, chooses bool) *cobra.Command {
	cmd := verb(use, short, cobra.NoArgs, nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		what := use
		if parent := cmd.Parent(); parent != nil && parent.Name() == "quarantine" {
			what = "quarantine"
		}
		body, err := s.ask(cmd, what)
		if err != nil {
			return err
		}
		return show(cmd.OutOrStdout(), s.output, body, draw)
	}
	s.stopped(cmd)
	if chooses {
		s.choose(cmd)
		cmd.Flags().StringVar(&s.n, "n", "", "at most so many (100)")
	}
	return cmd
}

// ask looks into the running gateway, or into a file.
func (s *spoolVerbs) ask(cmd *cobra.Command, what string) ([]byte, error) {
	if s.file == "" {
		return s.client().ask(cmd.Context(), "GET", "/tidehold/v1/spool/"+what+"?"+s.query().Encode(), nil)
	}
	d, err := desk.Open(cmd.Context(), s.gateway, s.file)
	if err != nil {
		return nil, err
	}
	defer d.DB.Close()
	var answer any
	switch what {
	case "ls", "peek":
		answer, err = d.List(cmd.Context(), s.query(), what == "peek")
	case "verify":
		answer, err = d.Verify(cmd.Context())
	case "losses":
		answer, err = d.Losses(cmd.Context())
	default:
		answer, err = d.Quarantine(cmd.Context())
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

func (s *spoolVerbs) verify() *cobra.Command {
	cmd := verb("verify", "Check the file and the CRC of every record; exit code 6 when it is damaged", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		body, err := s.ask(cmd, "verify")
		if err != nil {
			return err
		}
		if err := show(cmd.OutOrStdout(), s.output, body, drawValues); err != nil {
			return err
		}
		var report desk.Report
		if err := json.Unmarshal(body, &report); err != nil || !report.OK {
			return errors.Join(errDamaged, err)
		}
		return nil
	})
	s.stopped(cmd)
	return cmd
}

func (s *spoolVerbs) export() *cobra.Command {
	var to string
	cmd := verb("export", "Copy messages that wait into a file, one JSON document a line; nothing is deleted", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		if s.file != "" && s.gateway == "" {
			return UsageError{errors.New("spool export: --file needs --gateway, the id of the gateway that wrote it: ids begin with it")}
		}
		if to == "" || to == "-" {
			_, err := s.exportTo(cmd, cmd.OutOrStdout())
			return err
		}
		n, err := s.exportFile(cmd, to)
		if err == nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "%d messages in %s\n", n, to)
		}
		return err
	})
	s.choose(cmd)
	s.stopped(cmd)
	cmd.Flags().StringVarP(&to, "output", "o", "", "file, compressed when its name ends with .gz (default: standard output)")
	return cmd
}

// exportFile writes a file, whole or not at all.
func (s *spoolVerbs) exportFile(cmd *cobra.Command, name string) (n int, err error) {
	part := name + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer os.Remove(part)
	var out io.Writer = f
	pack := gzip.NewWriter(f)
	if strings.HasSuffix(name, ".gz") {
		out = pack
	}
	if n, err = s.exportTo(cmd, out); err == nil && out == pack {
		err = pack.Close()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return n, err
	}
	return n, os.Rename(part, name)
}

func (s *spoolVerbs) exportTo(cmd *cobra.Command, out io.Writer) (n int, err error) {
	write := func(line []byte) error {
		var failed struct{ Error string }
		if json.Unmarshal(line, &failed) == nil && failed.Error != "" {
			return fmt.Errorf("spool export: %s", failed.Error)
		}
		n++
		_, err := fmt.Fprintf(out, "%s\n", line)
		return err
	}
	if s.file == "" {
		return n, s.client().follow(cmd.Context(), "/tidehold/v1/spool/export?"+s.query().Encode(), write)
	}
	d, err := desk.Open(cmd.Context(), s.gateway, s.file)
	if err != nil {
		return 0, err
	}
	defer d.DB.Close()
	err = d.Export(cmd.Context(), s.query(), write)
	return n, err
}

// importBytes is what one request of an import carries, about.
const importBytes = 256 << 10

func (s *spoolVerbs) importFile() *cobra.Command {
	return verb("import FILE", "Store exported messages here, under the ids they have, for the uplinks that want them", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		in := bufio.NewReader(f)
		lines := bufio.NewScanner(in)
		if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
			unpacked, err := gzip.NewReader(in)
			if err != nil {
				return fmt.Errorf("spool import %s: %w", args[0], err)
			}
			lines = bufio.NewScanner(unpacked)
		}
		lines.Buffer(nil, lineBytesMax)
		return s.importLines(cmd, lines)
	})
}

// importLines sends the lines in requests, each stored as a whole.
func (s *spoolVerbs) importLines(cmd *cobra.Command, lines *bufio.Scanner) error {
	var sum struct {
		Imported int `json:"imported"`
		Skipped  int `json:"skipped"`
	}
	var part []byte
	send := func() error {
		if len(part) == 0 {
			return nil
		}
		body, err := s.client().ask(cmd.Context(), "POST", "/tidehold/v1/spool/import", part)
		if err != nil {
			return fmt.Errorf("after %d messages: %w", sum.Imported, err)
		}
		before := sum
		if err := json.Unmarshal(body, &sum); err != nil {
			return err
		}
		sum.Imported += before.Imported
		sum.Skipped += before.Skipped
		part = part[:0]
		return nil
	}
	for lines.Scan() {
		part = append(append(part, lines.Bytes()...), '\n')
		if len(part) >= importBytes {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(lines.Err(), send()); err != nil {
		return err
	}
	body, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	return show(cmd.OutOrStdout(), s.output, body, drawValues)
}

// do sends a verb that changes the spool.
func (s *spoolVerbs) do(cmd *cobra.Command, verb string, request map[string]any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	return s.run(cmd, "POST", "/tidehold/v1/spool/"+verb, body, drawValues)
}

// errSure asks for --yes.
func errSure(what string) error {
	return UsageError{fmt.Errorf("%s; say --yes when that is meant", what)}
}

func (s *spoolVerbs) drop() *cobra.Command {
	var class int
	var before string
	var yes bool
	cmd := verb("drop", "Lose messages of a class; recorded as a loss with the reason operator", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		if !yes {
			return errSure("spool drop deletes messages that were not delivered")
		}
		return s.do(cmd, "drop", map[string]any{"cls": class, "before": before})
	})
	cmd.Flags().IntVar(&class, "cls", -1, "class: 0 critical, 1 normal, 2 bulk")
	cmd.Flags().StringVar(&before, "before", "", "what was captured before: RFC 3339, or a duration ago (0s: everything)")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

func (s *spoolVerbs) forget() *cobra.Command {
	var yes bool
	cmd := verb("forget UPLINK", "Give up what waits for an uplink that is no longer configured", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		if !yes {
			return errSure("spool forget deletes what waits for the uplink alone")
		}
		return s.do(cmd, "forget", map[string]any{"uplink": args[0]})
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

func (s *spoolVerbs) row(use, short, send string) *cobra.Command {
	return verb(use+" ROW", short, cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		row, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return UsageError{fmt.Errorf("spool quarantine %s: row %q: want the number that `ls` shows", use, args[0])}
		}
		return s.do(cmd, send, map[string]any{"row": row})
	})
}

func (s *spoolVerbs) steer(use, short string) *cobra.Command {
	return verb(use+" UPLINK", short, cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		return s.do(cmd, use, map[string]any{"uplink": args[0]})
	})
}

func (s *spoolVerbs) rate() *cobra.Command {
	return verb("rate UPLINK RATE", "Messages a second (20/s; 0: no limit) until restart", cobra.ExactArgs(2), func(cmd *cobra.Command, args []string) error {
		rate, err := strconv.ParseFloat(strings.TrimSuffix(args[1], "/s"), 64)
		if err != nil {
			return UsageError{fmt.Errorf("spool rate: %q: want a rate such as 20/s", args[1])}
		}
		return s.do(cmd, "rate", map[string]any{"uplink": args[0], "rate": rate})
	})
}

func drawLines(w io.Writer, body []byte) error {
	var list []desk.Line
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	row(w, "ID", "CAPTURED", "CLASS", "TOPIC", "BYTES", "FOR", "PAYLOAD")
	for _, l := range list {
		row(w, l.ID, l.TS.Local().Format(time.DateTime), l.Class, l.Topic, l.Bytes, strings.Join(l.To, ","), readable(l.Raw))
	}
	return nil
}

// readable is a payload for people: text as it is, bytes quoted.
func readable(payload []byte) string {
	const shown = 120
	if !utf8.Valid(payload) || bytes.ContainsAny(payload, "\n\r\t\x00") {
		payload = []byte(strconv.QuoteToASCII(string(payload)))
	}
	if len(payload) > shown {
		return string(payload[:shown]) + "..."
	}
	return string(payload)
}

func drawLosses(w io.Writer, body []byte) error {
	var list []desk.Loss
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	row(w, "UPLINK", "REASON", "CLASS", "NUMBERS", "COUNT", "BYTES", "AT", "TOLD")
	for _, x := range list {
		row(w, x.Uplink, x.Reason, x.Class, fmt.Sprintf("%s:%d-%d", x.Inc, x.From, x.To), x.Count, x.Bytes, x.At.Local().Format(time.DateTime), x.Told)
	}
	return nil
}

func drawQuarantine(w io.Writer, body []byte) error {
	var list []desk.Poison
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	row(w, "ROW", "UPLINK", "ID", "TOPIC", "BYTES", "WHY")
	for _, p := range list {
		row(w, p.Row, p.Uplink, p.ID, p.Topic, p.Bytes, p.Why)
	}
	return nil
}
