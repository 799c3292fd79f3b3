package uplink

import (
	"strings"
	"testing"
)

// What goes ahead overtakes what waits, keeps its own order, and never overtakes
// the farewell.
func TestOutbox_WhatGoesAheadOvertakesWhatWaits(t *testing.T) {
	o := newOutbox(10, func(int) {})
	put := func(topic string, ahead bool) {
		t.Helper()
		if err := o.add(&parcel{m: Outgoing{Topic: topic, Ahead: ahead}}); err != nil {
			t.Fatal(err)
		}
	}
	put("backlog1", false)
	put("shadow1", true)
	put("backlog2", false)
	put("shadow2", true)
	if err := o.first(&parcel{m: Outgoing{Topic: "farewell"}}); err != nil {
		t.Fatal(err)
	}
	put("shadow3", true)
	var order []string
	for p := o.next(1); p != nil; p = o.next(1) {
		order = append(order, p.m.Topic)
	}
	if got := strings.Join(order, " "); got != "farewell shadow1 shadow2 shadow3 backlog1 backlog2" {
		t.Errorf("sent %s", got)
	}
}
