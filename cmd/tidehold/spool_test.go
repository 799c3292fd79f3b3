package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/telemetry/desk"
)

// awayUplink is an upstream where nobody listens: everything waits.
const awayUplink = `uplinks:
  - {name: plant, endpoint: "tcp://127.0.0.1:1", drain: {start_jitter: 0s}, telemetry: [{name: all, from: "dt/#", form: inject}]}
`

// fill publishes n messages on dt/a and one on dt/b.
func (s *site) fill(n int) {
	client := gwtest.Connect(s.t, s.at(), "filler", gwtest.ClientOptions{})
	defer client.Close()
	for i := range n {
		client.Publish("dt/a", fmt.Sprintf(`{"n":%d}`, i), 1)
	}
	client.Publish("dt/b", "bulk", 0)
	gwtest.Eventually(s.t, "everything waits", func() bool {
		all := askAt[[]desk.Line](s, "spool", "ls", "--topic", "dt/b")
		return len(all) == 1
	})
}

func askAt[T any](s *site, args ...string) T {
	return ask[T](s.t, append(args, "--socket", s.socket)...)
}

func TestSpool_ListsPeeksAndVerifiesOverTheSocketAndInAStoppedFile(t *testing.T) {
	s := newSite(t, "gw", awayUplink)
	s.start()
	s.fill(3)
	file := filepath.Join(s.dir, "state", "messages.db")
	check := func(args ...string) {
		t.Helper()
		list := ask[[]desk.Line](t, append([]string{"spool", "peek", "--cls", "1", "--topic", "dt/#"}, args...)...)
		if len(list) != 3 || string(list[0].Raw) != `{"n":0}` || !strings.HasPrefix(list[0].ID, "gw:") || list[0].To[0] != "plant" || list[0].Source != "dev/filler" {
			t.Fatalf("peek %v: %+v", args, list)
		}
		if list := ask[[]desk.Line](t, append([]string{"spool", "ls", "--n", "2", "--topic", "dt/a"}, args...)...); len(list) != 2 || list[0].Raw != nil {
			t.Fatalf("ls %v: %+v", args, list)
		}
		if r := ask[desk.Report](t, append([]string{"spool", "verify"}, args...)...); !r.OK || r.Pending["plant"] < 4 {
			t.Fatalf("verify %v: %+v", args, r)
		}
	}
	check("--socket", s.socket)
	if out := s.do("spool", "peek", "--cls", "1", "--topic", "dt/a"); !strings.Contains(out, `{"n":2}`) || !strings.Contains(out, "PAYLOAD") {
		t.Fatalf("table: %s", out)
	}
	if out := s.do("spool", "ls", "--topic", "dt/a", "-o", "name"); len(strings.Fields(out)) != 3 {
		t.Fatalf("names: %s", out)
	}
	if out, code := verb(t, "spool", "ls", "--cls", "7", "--socket", s.socket); code != 1 || !strings.Contains(out, "want 0, 1 or 2") {
		t.Fatalf("exit %d: %s", code, out)
	}
	s.stop()
	check("--file", file, "--gateway", "gw")
	if _, code := verb(t, "spool", "stats", "--socket", s.socket); code != 5 {
		t.Fatalf("exit %d without a gateway", code)
	}
}

func TestSpool_VerifyFindsADamagedRecordWithExitCode6(t *testing.T) {
	s := newSite(t, "gw", awayUplink)
	s.start()
	s.fill(1)
	s.stop()
	file := filepath.Join(s.dir, "state", "messages.db")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(text), `{"n":0}`)
	if at < 0 {
		t.Fatal("the payload is not in the file")
	}
	text[at]++
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := verb(t, "spool", "verify", "--file", file, "-o", "json")
	if code != 6 || !strings.Contains(out, `"unreadable": 1`) {
		t.Fatalf("exit %d: %s", code, out)
	}
}

// T-35: export from a stopped gateway, import elsewhere, both come online later;
// each id names one message.
func TestSpool_ExportedMessagesKeepTheirIdsOnAnotherGateway(t *testing.T) {
	upstream := gwtest.StartMosquitto(t)
	consumer := gwtest.Connect(t, upstream.Address, "consumer", gwtest.ClientOptions{})
	consumer.Subscribe("gw/+/t/#")
	first := newSite(t, "one", awayUplink)
	first.start()
	first.fill(5)
	first.stop()
	carried := filepath.Join(first.dir, "carried.ndjson.gz")
	if _, code := verb(t, "spool", "export", "--file", filepath.Join(first.dir, "state", "messages.db"), "-o", carried); code != 2 {
		t.Fatalf("exit %d without --gateway", code)
	}
	must(t, "spool", "export", "--file", filepath.Join(first.dir, "state", "messages.db"), "--gateway", "one", "--topic", "dt/a", "-o", carried)

	online := strings.Replace(awayUplink, "127.0.0.1:1", upstream.Address, 1)
	second := newSite(t, "two", online)
	second.start()
	sum := askAt[struct{ Imported, Skipped int }](second, "spool", "import", carried)
	if sum.Imported != 5 || sum.Skipped != 0 {
		t.Fatalf("%+v", sum)
	}
	third := newSite(t, "one", online)
	if err := os.Rename(filepath.Join(first.dir, "state"), filepath.Join(third.dir, "state")); err != nil {
		t.Fatal(err)
	}
	third.start()
	seen := make(map[string]string) // by id
	came := make(map[string]int)    // by topic
	for came["gw/one/t/dt/a"] < 5 || came["gw/two/t/dt/a"] < 5 {
		m := consumer.Await("a message", func(m gwtest.Message) bool { return strings.HasSuffix(m.Topic, "/t/dt/a") })
		came[m.Topic]++
		var body struct {
			N  int
			GW struct{ ID string } `json:"_gw"`
		}
		if err := json.Unmarshal(m.Payload, &body); err != nil {
			t.Fatal(err)
		}
		n := fmt.Sprint(body.N)
		if old, is := seen[body.GW.ID]; is && old != n || !strings.HasPrefix(body.GW.ID, "one:") {
			t.Fatalf("id %s names %s and %s", body.GW.ID, old, n)
		}
		seen[body.GW.ID] = n
	}
	if len(seen) != 5 {
		t.Fatalf("%d ids for 5 messages: %v", len(seen), seen)
	}
}

func TestSpool_DropForgetAndQuarantineAreOneVerbEach(t *testing.T) {
	s := newSite(t, "gw", awayUplink)
	s.start()
	s.fill(4)
	if out, code := verb(t, "spool", "drop", "--cls", "1", "--before", "0s", "--socket", s.socket); code != 2 || !strings.Contains(out, "--yes") {
		t.Fatalf("exit %d: %s", code, out)
	}
	if sum := askAt[struct{ Lost int }](s, "spool", "drop", "--cls", "1", "--before", "0s", "--yes"); sum.Lost != 4 {
		t.Fatalf("%+v", sum)
	}
	losses := askAt[[]desk.Loss](s, "spool", "losses")
	if len(losses) != 1 || losses[0].Reason != "operator" || losses[0].Count != 4 {
		t.Fatalf("%+v", losses)
	}
	if _, code := verb(t, "spool", "forget", "plant", "--yes", "--socket", s.socket); code != 1 {
		t.Fatalf("exit %d: a configured uplink is not forgotten", code)
	}
	if _, code := verb(t, "spool", "forget", "nobody", "--yes", "--socket", s.socket); code != 3 {
		t.Fatalf("exit %d", code)
	}
	if _, code := verb(t, "spool", "quarantine", "release", "1", "--socket", s.socket); code != 3 {
		t.Fatalf("exit %d", code)
	}
	s.stop()
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.write(strings.Replace(string(text), "name: plant", "name: other", 1))
	s.start()
	if sum := askAt[struct{ Messages int }](s, "spool", "forget", "plant", "--yes"); sum.Messages == 0 {
		t.Fatalf("%+v", sum)
	}
	for _, u := range askAt[spoolStats](s, "spool", "stats").Uplinks {
		if u.Name == "plant" {
			t.Fatalf("still there: %+v", u)
		}
	}
}

func TestSpool_QuarantinedMessageIsReleasedUnderItsId(t *testing.T) {
	upstream := gwtest.StartMosquitto(t)
	config := `uplinks:
  - {name: plant, endpoint: "tcp://%s", drain: {start_jitter: 0s}, telemetry: [{name: all, from: "dt/#", to: "%s", form: native}]}
`
	s := newSite(t, "gw", fmt.Sprintf(config, upstream.Address, strings.Repeat("x", 70)+"/{topic}"))
	s.start()
	client := gwtest.Connect(t, s.at(), "c", gwtest.ClientOptions{})
	client.Publish("dt/big", strings.Repeat("y", 127<<10), 1) // too large once it is in its envelope
	client.Publish("dt/small", "z", 1)
	var poison []desk.Poison
	gwtest.Eventually(t, "the large one is in quarantine", func() bool {
		poison = askAt[[]desk.Poison](s, "spool", "quarantine", "ls")
		return len(poison) == 1
	})
	if poison[0].Topic != "dt/big" || !strings.Contains(poison[0].Why, "bytes") {
		t.Fatalf("%+v", poison[0].Why)
	}
	row := fmt.Sprint(poison[0].Row)
	if a := askAt[struct{ ID string }](s, "spool", "quarantine", "release", row); a.ID != poison[0].ID {
		t.Fatalf("%+v", a)
	}
	var again []desk.Poison
	gwtest.Eventually(t, "it was tried again and came back", func() bool {
		again = askAt[[]desk.Poison](s, "spool", "quarantine", "ls")
		return len(askAt[[]desk.Loss](s, "spool", "losses")) == 2 && len(again) == 1
	})
	if again[0].ID != poison[0].ID {
		t.Fatalf("id %s was %s", again[0].ID, poison[0].ID)
	}
	s.do("spool", "quarantine", "drop", fmt.Sprint(again[0].Row))
	if left := askAt[[]desk.Poison](s, "spool", "quarantine", "ls"); len(left) != 0 {
		t.Fatalf("%+v", left)
	}
}

func TestSpool_PauseHoldsBackUntilResume(t *testing.T) {
	upstream := gwtest.StartMosquitto(t)
	s := newSite(t, "gw", strings.Replace(awayUplink, "127.0.0.1:1", upstream.Address, 1))
	s.start()
	s.do("spool", "pause", "plant")
	s.do("spool", "rate", "plant", "20/s")
	if _, code := verb(t, "spool", "pause", "nobody", "--socket", s.socket); code != 3 {
		t.Fatalf("exit %d", code)
	}
	client := gwtest.Connect(t, s.at(), "c", gwtest.ClientOptions{})
	client.Publish("dt/a", "1", 1)
	waits := func() int { return len(askAt[[]desk.Line](s, "spool", "ls", "--topic", "dt/a")) }
	if waits() != 1 {
		t.Fatal("it went although the uplink is paused")
	}
	s.do("spool", "resume", "plant")
	gwtest.Eventually(t, "it goes", func() bool { return waits() == 0 })
}

func TestUplinkTest_PrintsEveryStepAndFailsWithExitCode1(t *testing.T) {
	upstream := gwtest.StartMosquitto(t)
	s := newSite(t, "gw", fmt.Sprintf(`uplinks:
  - {name: plant, endpoint: "tcp://%s", commands: [{from: "cmd/#"}]}
  - {name: away, endpoint: "tcp://127.0.0.1:1"}
`, upstream.Address))
	s.start()
	type step struct {
		Step, Detail, Hint string
		OK                 bool
	}
	steps := askAt[[]step](s, "uplink", "test", "plant")
	if len(steps) != 6 || steps[2].Step != "connect" || steps[5].Detail != "granted: cmd/#" || !strings.Contains(steps[4].Detail, "gw/gw/sys/test") {
		t.Fatalf("%+v", steps)
	}
	out, code := verb(t, "uplink", "test", "away", "--socket", s.socket)
	if code != 1 || !strings.Contains(out, "tcp") || !strings.Contains(out, "FAILED") || !strings.Contains(out, "-> a firewall") {
		t.Fatalf("exit %d: %s", code, out)
	}
	if _, code := verb(t, "uplink", "test", "nobody", "--socket", s.socket); code != 3 {
		t.Fatalf("exit %d", code)
	}
}

// A changed configuration never makes the store anew: what waited is there, under
// the ids it had.
func TestFL_036_AChangedConfigurationKeepsTheStore(t *testing.T) {
	s := newSite(t, "gw", awayUplink)
	s.start()
	s.fill(3)
	before := s.do("spool", "ls", "--topic", "dt/#", "-o", "name")
	s.stop()
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.write(string(text) + "telemetry: {profile: strict, order: fifo, store: {max_bytes: 64MiB}}\n")
	s.start()
	if after := s.do("spool", "ls", "--topic", "dt/#", "-o", "name"); after != before || len(strings.Fields(after)) != 4 {
		t.Fatalf("before:\n%s\nafter:\n%s", before, after)
	}
}
