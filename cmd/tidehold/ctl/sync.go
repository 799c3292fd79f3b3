package ctl

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const syncPath = "/tidehold/v1/sync"

// sync shows how shadows do with their upstreams, and what was in conflict.
func (o *options) sync() *cobra.Command {
	cmd := o.list("sync", "Shadows synchronised with an uplink", syncPath, drawSync(anyShadow))
	cmd.AddCommand(verb("conflicts [THING]", "The newest conflicts: who, when, both values, which won", cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) error {
		path := syncPath + "/conflicts"
		if len(args) > 0 {
			path += "?thing=" + url.QueryEscape(args[0])
		}
		return o.run(cmd, "GET", path, nil, o.columns(column{"AT", "at", false}, column{"UPLINK", "uplink", true}, column{"THING", "thing", false},
			column{"SHADOW", "shadow", false}, column{"PATH", "path", false}, column{"LOCAL", "local", false}, column{"UPSTREAM", "upstream", false},
			column{"WINNER", "winner", false}, column{"WRITER", "writer", false}))
	}))
	return cmd
}

// shadowStatus shows the sync of all shadows, or of those of one thing.
func (o *options) shadowStatus() *cobra.Command {
	return verb("status [THING]", "How shadows do with their upstreams: synced, pending, conflict or blocked, since when, who won last", cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) error {
		return o.run(cmd, "GET", syncPath, nil, drawSync(func(_ string, s syncedShadow) bool { return len(args) == 0 || s.Thing == args[0] }))
	})
}

// getWide shows a shadow and, below it, how it does with each upstream.
func (o *options) getWide(cmd *cobra.Command, path, thing, name string) error {
	if err := o.run(cmd, "GET", path, nil, nil); err != nil {
		return err
	}
	return o.run(cmd, "GET", syncPath, nil, drawSync(func(_ string, s syncedShadow) bool { return s.Thing == thing && s.Shadow == name }))
}

type syncedShadow struct {
	Thing, Shadow, State, Reason, Winner string
	Conflicts                            int
	SyncedAt                             *time.Time `json:"synced_at"`
	Age                                  float64    `json:"age_s"`
}

func anyShadow(string, syncedShadow) bool { return true }

// drawSync draws the shadows of all uplinks that are wanted.
func drawSync(wanted func(uplink string, s syncedShadow) bool) table {
	return func(w io.Writer, body []byte) error {
		var all map[string][]syncedShadow
		if err := json.Unmarshal(body, &all); err != nil {
			return fmt.Errorf("answer of the gateway: %w", err)
		}
		row(w, "UPLINK", "THING", "SHADOW", "STATE", "AGE", "CONFLICTS", "LAST WINNER", "REASON")
		for _, uplink := range slices.Sorted(maps.Keys(all)) {
			for _, s := range all[uplink] {
				if wanted(uplink, s) {
					row(w, uplink, s.Thing, orDash(s.Shadow), s.State, s.age(), s.Conflicts, orDash(s.Winner), orDash(s.Reason))
				}
			}
		}
		return nil
	}
}

// age is how long ago both sides agreed, a dash when they have not since the
// start.
func (s syncedShadow) age() string {
	if s.SyncedAt == nil {
		return "-"
	}
	return time.Duration(s.Age * float64(time.Second)).Round(time.Second).String()
}

// countsOf tells how many shadows are in each state, a dash for none.
func countsOf(states map[string]int) string {
	var told []string
	for _, state := range slices.Sorted(maps.Keys(states)) {
		if states[state] > 0 {
			told = append(told, fmt.Sprintf("%s %d", state, states[state]))
		}
	}
	return orDash(strings.Join(told, ", "))
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
