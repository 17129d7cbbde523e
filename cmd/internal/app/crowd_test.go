package app

import (
	"fmt"
	"testing"
	"time"
)

func TestWhoAsksTooOftenHoldsUpNobodyElse(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	c := newCrowd(func() time.Time { return now })
	c.accepted("ada's")
	for i := range wishesAtOnce {
		if !c.allows("ada's", "10.0.0.1") {
			t.Fatalf("wish %d of somebody known is refused", i+1)
		}
	}
	if c.allows("ada's", "10.0.0.1") {
		t.Error("somebody asks without end")
	}
	c.accepted("ben's")
	if !c.allows("ben's", "10.0.0.1") {
		t.Error("another one at the same address is held up")
	}
	// A stranger makes up tokens.
	taken := 0
	for i := range 1000 {
		if c.allows(fmt.Sprint("made up ", i), "10.9.9.9") {
			taken++
		}
	}
	if taken != wishesAtOnce {
		t.Errorf("a stranger was let through %d times", taken)
	}
	if !c.allows("cyn's", "10.0.0.2") {
		t.Error("somebody new at another address is held up")
	}
	// So do many.
	for i := range 10 * maxCallers {
		c.allows(fmt.Sprint("made up ", i), fmt.Sprint("10.8.0.", i))
	}
	if len(c.strangers) > maxCallers {
		t.Errorf("%d strangers are remembered", len(c.strangers))
	}
	if c.allows("new", "10.7.0.1") {
		t.Error("strangers have no bound together")
	}
	if !c.allows("ben's", "10.0.0.1") {
		t.Error("strangers hold up somebody known")
	}
	now = now.Add(time.Second)
	if !c.allows("ada's", "10.0.0.1") || !c.allows("new", "10.7.0.2") {
		t.Error("after a second they may ask again")
	}
}
