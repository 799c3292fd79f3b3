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
