package ctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/gateway/iot"
)

// gateway answers on a Unix socket with what a test wants.
func gateway(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "ctl.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: answer}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return socket
}

func tidehold(args ...string) (string, error) {
	root := &cobra.Command{Use: "tidehold", SilenceErrors: true, SilenceUsage: true}
	Add(root)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	return out.String(), err
}

func TestStatus_FormsAndExitCodes(t *testing.T) {
	body := `{"gateway":"demo","state":"failed","listeners":[{"name":"local","address":"127.0.0.1:1883"}],"components":{"broker":{"state":"failed","since":"2026-01-02T03:04:05Z","error":"port taken"}}}`
	socket := gateway(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
	out, err := tidehold("status", "--socket", socket)
	if ExitCode(err) != ExitUnhealthy || !strings.Contains(out, "port taken") || !strings.Contains(out, "127.0.0.1:1883") {
		t.Errorf("table: exit %d\n%s", ExitCode(err), out)
	}
	if out, _ := tidehold("--socket", socket, "-o", "json", "status"); !strings.Contains(out, `"gateway": "demo"`) {
		t.Errorf("json:\n%s", out)
	}
	if out, _ := tidehold("status", "-o", "yaml", "--socket", socket); !strings.Contains(out, "gateway: demo\n") || !strings.Contains(out, "error: port taken") {
		t.Errorf("yaml:\n%s", out)
	}
	if _, err := tidehold("status", "-o", "xml", "--socket", socket); ExitCode(err) != ExitUsage {
		t.Errorf("unknown form: exit %d", ExitCode(err))
	}
}

func TestExitCodes_FollowTheRefusal(t *testing.T) {
	for status, want := range map[int]int{404: ExitNotFound, 403: ExitDenied, 401: ExitDenied, 409: ExitFailed, 500: ExitFailed} {
		socket := gateway(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, `{"message":"because"}`)
		})
		_, err := tidehold("shadow", "get", "t", "--socket", socket)
		if ExitCode(err) != want || !strings.Contains(err.Error(), "because") {
			t.Errorf("status %d: exit %d, %v; want exit %d", status, ExitCode(err), err, want)
		}
	}
	// AWS says of a rule that is not there that it is denied.
	socket := gateway(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"message":"Access to topic rule 'r' was denied"}`)
	})
	_, err := tidehold("rule", "get", "r", "--socket", socket)
	if ExitCode(err) != ExitNotFound || !strings.Contains(err.Error(), `rule "r" does not exist`) {
		t.Errorf("unknown rule: exit %d, %v", ExitCode(err), err)
	}
	_, err = tidehold("status", "--socket", filepath.Join(t.TempDir(), "nobody.sock"))
	if ExitCode(err) != ExitUnreachable || !strings.Contains(err.Error(), "tidehold run") {
		t.Errorf("nobody: exit %d, %v", ExitCode(err), err)
	}
	if ExitCode(iot.Errorf(iot.Internal, "x")) != ExitFailed || ExitCode(nil) != ExitOK || ExitCode(UsageError{errors.New("x")}) != ExitUsage {
		t.Error("plain codes are wrong")
	}
}

func TestShadowSet_WrapsABareStateAndKeepsDigits(t *testing.T) {
	for in, want := range map[string]string{
		`{"desired":{"n":9007199254740993}}`: `{"state":{"desired":{"n":9007199254740993}}}`,
		`{"state":{"desired":null}}`:         `{"state":{"desired":null}}`,
		`{"reported":{}}`:                    `{"state":{"reported":{}}}`,
		`{"state":null,"version":3}`:         `{"state":null,"version":3}`,
	} {
		if got, err := requestDocument(nil, in); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", in, got, err, want)
		}
	}
	if _, err := requestDocument(nil, "{"); ExitCode(err) != ExitUsage {
		t.Errorf("no JSON: %v", err)
	}
	if got, err := requestDocument(strings.NewReader(`{"desired":{}}`), "-"); err != nil || string(got) != `{"state":{"desired":{}}}` {
		t.Errorf("standard input: %s, %v", got, err)
	}
}

func TestVerbs_AskTheRightPath(t *testing.T) {
	var asked string
	socket := gateway(t, func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		body.ReadFrom(r.Body)
		asked = strings.TrimSpace(r.Method + " " + r.URL.String() + " " + body.String())
		if strings.HasPrefix(r.URL.Path, "/tidehold/v1/uplinks") || r.URL.Path == "/tidehold/v1/rules" || strings.HasSuffix(r.URL.Path, "/roles") || strings.HasSuffix(r.URL.Path, "/trace") {
			fmt.Fprint(w, `[{"name":"cloud","ruleName":"cloud"}]`)
			return
		}
		fmt.Fprint(w, `{"results":[],"uplinks":[{"name":"cloud","pending":3}],"value":1}`)
	})
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"shadow", "get", "t", "--name", "a b"}, "GET /things/t/shadow?name=a+b"},
		{[]string{"shadow", "set", "t", `{"desired":{}}`}, `POST /things/t/shadow {"state":{"desired":{}}}`},
		{[]string{"shadow", "delete", "t"}, "DELETE /things/t/shadow"},
		{[]string{"shadow", "list", "t"}, "GET /api/things/shadow/ListNamedShadowsForThing/t?pageSize=100"},
		{[]string{"shadow", "watch", "a:b", "--name", "s"}, "GET /tidehold/v1/shadows/a:b/watch?name=s"},
		{[]string{"uplink", "cut", "cloud"}, "POST /tidehold/v1/uplinks/cut?name=cloud"},
		{[]string{"uplink", "restore"}, "POST /tidehold/v1/uplinks/restore"},
		{[]string{"uplink", "status"}, "GET /tidehold/v1/uplinks"},
		{[]string{"uplink", "status", "cloud"}, "GET /tidehold/v1/uplinks?name=cloud"},
		{[]string{"spool", "stats"}, "GET /tidehold/v1/spool"},
		{[]string{"sim", "get", "climate", "temperature"}, "GET /tidehold/v1/sim/climate?quantity=temperature"},
		{[]string{"sim", "set", "climate", "temperature", "31.5"}, `PUT /tidehold/v1/sim/climate {"quantity":"temperature","value":"31.5"}`},
		{[]string{"sim", "set", "door-button", "on"}, `PUT /tidehold/v1/sim/door-button {"value":"on"}`},
		{[]string{"sim", "fault", "climate", "nack"}, `PUT /tidehold/v1/sim/climate {"fault":"nack"}`},
		{[]string{"rule", "list"}, "GET /tidehold/v1/rules"},
		{[]string{"rule", "get", "r"}, "GET /rules/r"},
		{[]string{"rule", "create", "r", "--sql", "SELECT 1", "--action", `{"edge.log":{}}`, "--error-action", `{"edge.log":{}}`, "--description", "d"},
			`POST /rules/r {"actions":[{"edge.log":{}}],"awsIotSqlVersion":"2016-03-23","description":"d","errorAction":{"edge.log":{}},"ruleDisabled":false,"sql":"SELECT 1"}`},
		{[]string{"rule", "replace", "r", "--sql", "SELECT 2", "--disabled"}, `PATCH /rules/r {"actions":[],"awsIotSqlVersion":"2016-03-23","ruleDisabled":true,"sql":"SELECT 2"}`},
		{[]string{"rule", "enable", "r"}, "POST /rules/r/enable"},
		{[]string{"rule", "disable", "r"}, "POST /rules/r/disable"},
		{[]string{"rule", "delete", "r"}, "DELETE /rules/r"},
		{[]string{"rule", "test", "r"}, `POST /tidehold/v1/test-rule {"clientId":"","payload":"","ruleName":"r","topic":""}`},
		{[]string{"rule", "test", "--sql", "SELECT 1", "--topic", "a", "--payload", "x", "--client-id", "c"},
			`POST /tidehold/v1/test-rule {"clientId":"c","payload":"eA==","rule":{"actions":[],"awsIotSqlVersion":"2016-03-23","ruleDisabled":false,"sql":"SELECT 1"},"topic":"a"}`},
		{[]string{"rule", "trace", "r"}, "GET /tidehold/v1/rules/r/trace"},
		{[]string{"role", "list"}, "GET /tidehold/v1/roles"},
		{[]string{"role", "get", "w"}, "GET /tidehold/v1/roles/w"},
		{[]string{"role", "create", "w", "--document", `{"a":1}`}, `POST /tidehold/v1/roles/w {"a":1}`},
		{[]string{"role", "replace", "w", "--document", `{"a":1}`}, `PUT /tidehold/v1/roles/w {"a":1}`},
		{[]string{"role", "delete", "w"}, "DELETE /tidehold/v1/roles/w"},
		{[]string{"access-key", "create", "--policy", "p"}, `POST /tidehold/v1/access-keys {"policy":"p"}`},
	} {
		if out, err := tidehold(append(c.args, "--socket", socket)...); err != nil || asked != c.want {
			t.Errorf("%v: asked %q, %v; want %q\n%s", c.args, asked, err, c.want, out)
		}
	}
	if out, err := tidehold("uplink", "status", "-o", "name", "--socket", socket); err != nil || out != "cloud\n" {
		t.Errorf("names: %q, %v", out, err)
	}
}

func TestShadowWatch_ShowsDocumentsUntilTheGatewayEndsIt(t *testing.T) {
	document := `{"state":{"desired":{"n":9007199254740993}},"version":4,"timestamp":1,"changedBy":{"source":"dev/app"}}`
	socket := gateway(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s\n{\"version\":5,\"deleted\":true,\"changedBy\":{}}\n{\"error\":\"fell behind\"}\n", document)
	})
	out, err := tidehold("shadow", "watch", "t", "--socket", socket, "-o", "json")
	if want := document + "\n" + `{"version":5,"deleted":true,"changedBy":{}}` + "\n"; out != want || ExitCode(err) != ExitFailed || !strings.Contains(err.Error(), "fell behind") {
		t.Errorf("json: %q, %v", out, err)
	}
	out, _ = tidehold("shadow", "watch", "t", "--socket", socket)
	if !strings.Contains(out, `version 4  dev/app  {"desired":{"n":9007199254740993}}`) || !strings.Contains(out, "version 5  -  deleted") {
		t.Errorf("table:\n%s", out)
	}
}

func TestShadowHistory_NamesWhoAndWhat(t *testing.T) {
	socket := gateway(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `[{"version":3,"timestamp":1,"deleted":true,"changedBy":{"source":"sys/sync","uplink":"cloud"}},{"version":2,"timestamp":1,"changedBy":{"principal":"local"}},
			{"version":1,"timestamp":1,"changedBy":{"source":"dev/app"},"state":{"desired":{"n":1.0}}}]`)
	})
	out, err := tidehold("shadow", "history", "t", "--socket", socket)
	for _, want := range []string{"cloud       deleted", "local       (too long to keep)", `dev/app     {"desired":{"n":1.0}}`} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v, want %q in\n%s", err, want, out)
		}
	}
}
