package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidehold/tidehold/gateway/gwtest"
)

// TestConsole_ShowsWhoIsOnlineAndWhoChangedWhat to the holder of an access key,
// and to one whose policy allows nothing no more than the refusal.
func TestConsole_ShowsWhoIsOnlineAndWhoChangedWhat(t *testing.T) {
	gwtest.Need(t, "node")
	s := newSecureSite(t, `security: {policies: [{name: nothing, document: '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}'}]}`+"\n")
	defer s.stop()
	s.do("thing", "create", "pump", "--out", filepath.Join(s.dir, "pump"))
	s.do("thing", "create", "sensor:1", "--out", filepath.Join(s.dir, "sensor"))
	device := gwtest.Connect(t, s.at(), "pump", gwtest.ClientOptions{})
	device.Publish("$aws/things/pump/shadow/update", `{"state":{"reported":{"text":"<b>hot</b>"}}}`, 1)
	s.do("shadow", "set", "pump", `{"desired":{"rate":5}}`, "--name", "cfg")
	s.do("shadow", "delete", "pump")
	for _, c := range []struct {
		flags []string
		shows []string
	}{
		{nil, []string{"pump online since", "sensor:1 never", "classic shadow", `{"reported":{"text":"<b>hot</b>"}}`, "dev/pump", `{"desired":{"rate":5}}`, "deleted"}},
		{[]string{"--policy", "nothing"}, []string{"may not iot:SearchIndex"}},
	} {
		key := ask[struct{ AccessKeyID, SecretAccessKey string }](t, append([]string{"access-key", "create", "--socket", s.socket}, c.flags...)...)
		out, err := exec.Command("node", "testdata/console.mjs", "../../../gateway/console/console.js", fmt.Sprintf("http://127.0.0.1:%d", s.control), key.AccessKeyID, key.SecretAccessKey).CombinedOutput()
		for _, want := range c.shows {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("with a key %v: %v; does not show %q\n%s", c.flags, err, want, out)
			}
		}
		if c.flags != nil && strings.Contains(string(out), "pump") {
			t.Errorf("shown to a key that may see nothing: %s", out)
		}
	}
}

// TestFL_011_AnExpiredWishIsSeenEverywhere asks an output for something that is
// over already. It is not done; that it expired is told over MQTT, on the
// command line and on the console, and the wish itself stays.
func TestFL_011_AnExpiredWishIsSeenEverywhere(t *testing.T) {
	gwtest.Need(t, "node")
	s := newSecureSite(t, fan)
	defer s.stop()
	s.do("thing", "create", "fan-1", "--out", filepath.Join(s.dir, "fan"))
	device := gwtest.Connect(t, s.at(), "fan-1", gwtest.ClientOptions{})
	device.Subscribe("$aws/things/fan-1/shadow/update/accepted")
	s.do("shadow", "set", "fan-1", `{"desired":{"on":true,"expires":1000000000}}`)
	told := device.Await("that the wish expired", func(m gwtest.Message) bool { return strings.Contains(string(m.Payload), `"why":"expired"`) })
	if strings.Contains(string(told.Payload), `"on":true`) {
		t.Errorf("an expired wish was done: %s", told.Payload)
	}
	shown := strings.Join(strings.Fields(s.do("shadow", "get", "fan-1")), "")
	for _, want := range []string{`"desired":{"expires":1000000000,"on":true}`, `"why":"expired"`, `"reported":{"`} {
		if !strings.Contains(shown, want) {
			t.Errorf("shadow get lacks %s: %s", want, shown)
		}
	}
	key := ask[struct{ AccessKeyID, SecretAccessKey string }](t, "access-key", "create", "--socket", s.socket)
	page, err := exec.Command("node", "testdata/console.mjs", "../../../gateway/console/console.js", fmt.Sprintf("http://127.0.0.1:%d", s.control), key.AccessKeyID, key.SecretAccessKey).CombinedOutput()
	for _, want := range []string{`"expires":1000000000`, `"why":"expired"`} {
		if err != nil || !strings.Contains(string(page), want) {
			t.Errorf("console: %v, lacks %s\n%s", err, want, page)
		}
	}
}
