package trace

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

func message(payload string) *iot.Message {
	return &iot.Message{Topic: "a/b", Payload: []byte(payload), Origin: iot.Origin{ClientID: "c", TraceID: "t"}}
}

func TestLog_RemembersTheLatestTwenty(t *testing.T) {
	var l Log
	for i := range 30 {
		l.Miss(int64(i), message(fmt.Sprint(i)))
	}
	serial := l.Match(30, message(`{"x":1}`), []byte(`{"y":2}`))
	l.Failed(31, message("\xff"), errors.New("no object"))
	l.Acted(serial, "republish", "out", nil, 1500*time.Microsecond)
	l.Acted(serial, "lambda", "f", errors.New("late"), time.Second)
	l.Acted(3, "republish", "forgotten", nil, 0)
	l.Acted(0, "republish", "nothing", nil, 0)
	all := l.List()
	if len(all) != EvaluationsMax || all[0].Time != 31 || all[19].Time != 12 {
		t.Fatalf("%d evaluations, %+v … %+v", len(all), all[0], all[len(all)-1])
	}
	if e := all[0]; e.Error != "no object" || e.Payload != "base64:/w==" || e.Matched {
		t.Errorf("the failed one: %+v", e)
	}
	e := all[1]
	if !e.Matched || e.Output != `{"y":2}` || e.Payload != `{"x":1}` || e.Topic != "a/b" || e.ClientID != "c" || e.TraceID != "t" || len(e.Actions) != 2 {
		t.Fatalf("the match: %+v", e)
	}
	if o := e.Actions[0]; o.Action != "republish" || o.Resource != "out" || o.MS != 1.5 || o.Error != "" {
		t.Errorf("the first action: %+v", o)
	}
	if o := e.Actions[1]; o.Error != "late" {
		t.Errorf("the second action: %+v", o)
	}
	if e := all[2]; e.Payload != "29" || e.Matched || len(e.Actions) != 0 {
		t.Errorf("a miss: %+v", e)
	}
}

func TestLog_CutsLongPayloadsAtACharacter(t *testing.T) {
	var l Log
	long := strings.Repeat("x", ExcerptMax-1) + "ä" + strings.Repeat("y", 1000)
	l.Match(1, message(long), []byte(long))
	l.Miss(2, message(long))
	all := l.List()
	if want := strings.Repeat("x", ExcerptMax-1) + "…"; all[1].Payload != want || all[1].Output != want {
		t.Errorf("cut to %.20q… of %d bytes", all[1].Payload, len(all[1].Payload))
	}
	if all[0].Payload != "…" {
		t.Errorf("a long miss tells %.30q", all[0].Payload)
	}
	if got := Excerpt([]byte(long)); got != long {
		t.Errorf("an excerpt has %d bytes", len(got))
	}
}

func TestMiss_AllocatesNothing(t *testing.T) {
	var l Log
	m := message("x")
	l.Miss(0, m)
	if n := testing.AllocsPerRun(100, func() { l.Miss(1, m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := new(Log).List(); got == nil || len(got) != 0 {
		t.Errorf("an empty log lists %v", got)
	}
}

func TestMiss_OfACrowdedMillisecondTheFirstAreRemembered(t *testing.T) {
	var log Log
	for n := range 100 {
		log.Miss(7, &iot.Message{Topic: strconv.Itoa(n)})
	}
	if all := log.List(); len(all) != EvaluationsMax || all[0].Topic != "19" {
		t.Errorf("of one millisecond: %d, the latest %q", len(all), all[0].Topic)
	}
	log.Match(7, &iot.Message{Topic: "hit"}, nil)
	log.Miss(8, &iot.Message{Topic: "later"})
	if all := log.List(); all[0].Topic != "later" || all[1].Topic != "hit" {
		t.Errorf("then %q and %q", all[0].Topic, all[1].Topic)
	}
}
