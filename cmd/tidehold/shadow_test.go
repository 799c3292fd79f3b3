package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// ledger is what the gateway said it had accepted, by thing and version.
type ledger struct {
	mu       sync.Mutex
	accepted map[string]map[int64]string
	wrong    []string
}

// hear books one update/accepted; a version that was accepted for another
// request before is wrong.
func (l *ledger) hear(m gwtest.Message) {
	var said struct {
		Version     int64
		ClientToken string
	}
	thing := strings.Split(m.Topic, "/")[2]
	err := json.Unmarshal(m.Payload, &said)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.accepted[thing] == nil {
		l.accepted[thing] = make(map[int64]string)
	}
	before, known := l.accepted[thing][said.Version]
	if err != nil || known && before != said.ClientToken {
		l.wrong = append(l.wrong, fmt.Sprintf("%s version %d: %q, then %q, %v", thing, said.Version, before, said.ClientToken, err))
	}
	l.accepted[thing][said.Version] = said.ClientToken
}

// judge compares what was accepted of a thing with the shadow as it is.
func (l *ledger) judge(t *testing.T, thing string, version int64, token string) (count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, wrong := range l.wrong {
		t.Error(wrong)
	}
	highest := int64(0)
	for v := range l.accepted[thing] {
		highest = max(highest, v)
	}
	if version < highest {
		t.Errorf("%s has version %d; %d was accepted", thing, version, highest)
	}
	if said, known := l.accepted[thing][version]; known && said != token {
		t.Errorf("%s version %d is the update %q; accepted was %q", thing, version, token, said)
	}
	return len(l.accepted[thing])
}

const killThings = 8

// load updates the things in turn until the connection ends.
func load(client *gwtest.Client, round int) {
	line := make(chan (<-chan error), window)
	go func() {
		defer close(line)
		for n := 0; client.Connected(); n++ {
			token := fmt.Sprintf("%d-%d", round, n)
			line <- client.TryPublish(fmt.Sprintf("$aws/things/kill-%d/shadow/update", n%killThings),
				fmt.Appendf(nil, `{"state":{"reported":{"token":%q}},"clientToken":%q}`, token, token), 1)
		}
	}()
	for done := range line {
		select {
		case <-done:
		case <-time.After(5 * time.Second):
		}
	}
}

// TestKill_EveryAcceptedShadowVersionStays kills the gateway under a load of
// updates. Whatever version was accepted is there afterwards, with the state of
// the request that was told so, and no version is given twice.
func TestKill_EveryAcceptedShadowVersionStays(t *testing.T) {
	s := newSite(t, "gw", "shadow: {max_in_flight: 0}\n")
	l := &ledger{accepted: make(map[string]map[int64]string)}
	total := 0
	for round := range gwtest.Rounds(5, 100) {
		s.start()
		listener := gwtest.Connect(t, s.at(), "listener", gwtest.ClientOptions{Hear: l.hear})
		listener.Subscribe("$aws/things/+/shadow/update/accepted")
		device := gwtest.Connect(t, s.at(), "device", gwtest.ClientOptions{})
		over := make(chan struct{})
		go func() { load(device, round); close(over) }()
		time.Sleep(time.Duration(100+round*37%200) * time.Millisecond)
		s.process.Kill()
		<-over
		listener.Close()
		s.start()
		total = 0
		for n := range killThings {
			thing := fmt.Sprintf("kill-%d", n)
			now := ask[struct {
				Version int64
				State   struct{ Reported struct{ Token string } }
			}](t, "shadow", "get", thing, "--socket", s.socket)
			total += l.judge(t, thing, now.Version, now.State.Reported.Token)
		}
		s.stop()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	t.Logf("%d accepted versions, all there", total)
}

// A watch of the command line shows what an MQTT client does, and the history
// says that it was that client.
func TestShadow_WatchAndHistoryNameTheDevice(t *testing.T) {
	s := newSite(t, "gw", "")
	s.start()
	defer s.stop()
	watch := exec.Command(binary, "shadow", "watch", "pump", "--socket", s.socket, "-o", "json")
	out, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.do("shadow", "set", "pump", `{"desired":{"on":true}}`)
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	defer watch.Wait()
	defer watch.Process.Kill()
	lines := bufio.NewScanner(out)
	next := func(want ...string) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the watch ended: %v", lines.Err())
		}
		for _, text := range want {
			if !strings.Contains(lines.Text(), text) {
				t.Errorf("got %s, want %s", lines.Text(), text)
			}
		}
	}
	next(`"desired":{"on":true}`, `"version":1`)
	device := gwtest.Connect(t, s.at(), "pump", gwtest.ClientOptions{})
	device.Publish("$aws/things/pump/shadow/update", `{"state":{"reported":{"on":true}}}`, 1)
	next(`"reported":{"on":true}`, `"version":2`, `"changedBy":{"principal":"local","clientId":"pump"`)
	s.do("shadow", "delete", "pump")
	next(`"deleted":true`, `"version":3`)
	history := s.do("shadow", "history", "pump")
	for _, want := range []string{"dev/pump", `{"reported":{"on":true}}`, "api/operator", "deleted"} {
		if !strings.Contains(history, want) {
			t.Errorf("want %q in\n%s", want, history)
		}
	}
}

func TestThing_ShowsWhoIsOnlineAlsoAfterARestart(t *testing.T) {
	s := newSite(t, "gw", "things: [{name: pump}]\n")
	s.start()
	device := gwtest.Connect(t, s.at(), "pump", gwtest.ClientOptions{})
	wide := func(want string) {
		t.Helper()
		gwtest.Eventually(t, want, func() bool { return strings.Contains(s.do("thing", "list", "-o", "wide"), want) })
	}
	wide("online since ")
	if json := s.do("thing", "get", "pump", "-o", "json"); !strings.Contains(json, `"connected": true`) || !strings.Contains(json, "sessionIdentifier") {
		t.Errorf("get: %s", json)
	}
	device.Close()
	wide("(CLIENT_INITIATED_DISCONNECT)")
	s.stop()
	s.start()
	defer s.stop()
	wide("(CLIENT_INITIATED_DISCONNECT)")
}
