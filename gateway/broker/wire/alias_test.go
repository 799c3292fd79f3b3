package wire

import (
	"fmt"
	"testing"
)

func TestAliases_FirstComeFirstServedUpToTheLimit(t *testing.T) {
	for limit, want := range map[uint16]int{0: 0, 3: 3, 65535: aliasesMax} {
		a := NewAliases(limit)
		given := make(map[uint16]bool)
		for round := range 2 {
			for i := range 2 * aliasesMax {
				topic := fmt.Sprint(i)
				alias, known := a.Of(topic)
				if known != (round > 0 && i < want) || (alias > 0) != (i < want) || alias > limit {
					t.Fatalf("limit %d, topic %d: alias %d, known %v", limit, i, alias, known)
				}
				if alias > 0 && !known {
					a.Told(topic, alias)
					given[alias] = true
				}
			}
		}
		if len(given) != want {
			t.Errorf("limit %d: %d aliases, want %d", limit, len(given), want)
		}
	}
}

// A message that found no room was not sent: its alias is given to the next.
func TestAliases_WhatWasNotToldIsNotKnown(t *testing.T) {
	a := NewAliases(1)
	a.Of("refused")
	if alias, known := a.Of("sent"); alias != 1 || known {
		t.Errorf("alias %d, known %v", alias, known)
	}
}
