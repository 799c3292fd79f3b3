package clock

import (
	"testing"
	"time"
)

func TestSystem_UpNeverGoesBackAndBootHasSixCharacters(t *testing.T) {
	s := NewSystem()
	first := s.Up()
	if later := s.Up(); later < first || first <= 0 {
		t.Errorf("up went from %v to %v", first, later)
	}
	if len(s.Boot()) != 6 {
		t.Errorf("boot id %q: want 6 characters", s.Boot())
	}
	if time.Since(s.Now()) > time.Minute {
		t.Errorf("now is %v", s.Now())
	}
	s.Synced() // either answer is right; it must not panic without rights
}

func TestFixed_StandsStill(t *testing.T) {
	f := Fixed{Wall: time.Unix(7, 0), Since: time.Second, BootID: "abcdef", Unsynched: true}
	if !f.Now().Equal(time.Unix(7, 0)) || f.Up() != time.Second || f.Boot() != "abcdef" || f.Synced() {
		t.Errorf("got %v %v %v %v", f.Now(), f.Up(), f.Boot(), f.Synced())
	}
}

var _ Clock = Fixed{}
var _ Clock = (*System)(nil)
