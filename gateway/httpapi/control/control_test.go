package control

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/clock"
	"github.com/tidehold/tidehold/gateway/gwtest"
	"github.com/tidehold/tidehold/gateway/ids"
	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/metrics"
	"github.com/tidehold/tidehold/gateway/pki"
	"github.com/tidehold/tidehold/gateway/policy"
	"github.com/tidehold/tidehold/gateway/registry"
	"github.com/tidehold/tidehold/gateway/store"
)

const allowAll = `{"Version":"2012-10-17","Statement":[{"Sid":"all","Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

// allower lets everything but one action through, and remembers.
type allower struct {
	deny  string
	asked []string
}

func (a *allower) Allow(_ *http.Request, _ iot.Principal, action, resource string) error {
	a.asked = append(a.asked, action+" "+resource)
	if action == a.deny {
		return iot.Errorf(iot.Forbidden, "not allowed")
	}
	return nil
}

type house struct {
	t       testing.TB
	url     string
	allow   *allower
	reg     *registry.Registry
	server  *httptest.Server
	handler *Handler
}

func build(t testing.TB) *house {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "state.db"), Durability: store.Normal, Schemas: []store.Schema{registry.Schema()}, Metrics: metrics.New(), Clock: clock.NewSystem()})
	if err != nil {
		t.Fatal(err)
	}
	src := ids.New(rand.Reader)
	reg := registry.New([]registry.Thing{{Name: "fixed"}}, db, clock.NewSystem(), src)
	a, err := pki.NewAuthority("gw", pki.Moment{Now: time.Now(), Synced: true}, src)
	if err != nil {
		t.Fatal(err)
	}
	if err := reg.Load(t.Context(), registry.Config{Authority: func() *pki.Authority { return a }}); err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, allow: &allower{}, reg: reg}
	h.handler = New(Config{Scope: policy.Scope{Region: "us-east-1", Account: "000000000000"}, Endpoint: "gw.local", Registry: reg, Allow: h.allow, IDs: src})
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.handler.Handle(w, r, iot.Principal{Kind: iot.AccessKeyKind, ID: "AKIA"}, body)
	}))
	h.url = h.server.URL
	t.Cleanup(func() { h.server.Close(); db.Close() })
	return h
}

// do sends one request and gives status, error type and body.
func (h *house) do(method, path, body string, headers ...string) (int, string, map[string]any) {
	h.t.Helper()
	r, err := http.NewRequest(method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		h.t.Fatalf("%s %s: %q is no object", method, path, text)
	}
	if answer.Header.Get("X-Amzn-Requestid") == "" || answer.Header.Get("Date") == "" || answer.Header.Get("Content-Type") != "application/json" {
		h.t.Errorf("%s %s: headers %v", method, path, answer.Header)
	}
	return answer.StatusCode, answer.Header.Get("X-Amzn-Errortype"), out
}

func (h *house) ok(method, path, body string, headers ...string) map[string]any {
	h.t.Helper()
	status, kind, out := h.do(method, path, body, headers...)
	if status != 200 {
		h.t.Fatalf("%s %s: %d %s %v", method, path, status, kind, out)
	}
	return out
}

func (h *house) refused(status int, kind, method, path, body string, headers ...string) {
	h.t.Helper()
	got, gotKind, out := h.do(method, path, body, headers...)
	if got != status || gotKind != kind || out["message"] == "" || out["code"] != nil {
		h.t.Errorf("%s %s: %d %s %v; want %d %s", method, path, got, gotKind, out, status, kind)
	}
}

func arn(resource string) string { return "arn:aws:iot:us-east-1:000000000000:" + resource }

func TestStory_ADeviceIsMadeAndUnmade(t *testing.T) {
	h := build(t)
	thing := h.ok("POST", "/things/pump%3A1", `{"attributePayload":{"attributes":{"room":"cellar"}}}`)
	if thing["thingName"] != "pump:1" || thing["thingArn"] != arn("thing/pump:1") || len(thing["thingId"].(string)) != 36 {
		t.Errorf("CreateThing: %v", thing)
	}
	about := h.ok("GET", "/things/pump:1", "")
	if about["defaultClientId"] != "pump:1" || about["version"] != 1.0 || about["thingTypeName"] != nil || about["thingId"] != thing["thingId"] {
		t.Errorf("DescribeThing: %v", about)
	}
	made := h.ok("POST", "/keys-and-certificate?setAsActive=true", "{}")
	id, certARN := made["certificateId"].(string), made["certificateArn"].(string)
	if certARN != arn("cert/"+id) || !strings.HasPrefix(made["keyPair"].(map[string]any)["PrivateKey"].(string), "-----BEGIN RSA PRIVATE KEY-----") {
		t.Errorf("CreateKeysAndCertificate: %v", made)
	}
	document, _ := json.Marshal(map[string]string{"policyDocument": allowAll + "\n"})
	if p := h.ok("POST", "/policies/all", string(document)); p["policyDocument"] != allowAll+"\n" || p["policyVersionId"] != "1" || p["policyArn"] != arn("policy/all") {
		t.Errorf("CreatePolicy: %v", p)
	}
	h.ok("PUT", "/target-policies/all", fmt.Sprintf(`{"target":%q}`, certARN))
	h.ok("PUT", "/things/pump:1/principals", "", "x-amzn-principal", certARN)
	if got := h.ok("GET", "/things/pump:1/principals", ""); fmt.Sprint(got["principals"]) != "["+certARN+"]" {
		t.Errorf("ListThingPrincipals: %v", got)
	}
	if got := h.ok("GET", "/principals/things", "", "x-amzn-principal", certARN); fmt.Sprint(got["things"]) != "[pump:1]" {
		t.Errorf("ListPrincipalThings: %v", got)
	}
	escaped := strings.NewReplacer(":", "%3A", "/", "%2F").Replace(certARN)
	if got := h.ok("POST", "/attached-policies/"+escaped, ""); fmt.Sprint(got["policies"]) != fmt.Sprint([]any{map[string]any{"policyArn": arn("policy/all"), "policyName": "all"}}) {
		t.Errorf("ListAttachedPolicies: %v", got)
	}
	if got := h.ok("POST", "/policy-targets/all", ""); fmt.Sprint(got["targets"]) != "["+certARN+"]" {
		t.Errorf("ListTargetsForPolicy: %v", got)
	}
	d := h.ok("GET", "/certificates/"+id, "")["certificateDescription"].(map[string]any)
	if d["status"] != "ACTIVE" || d["certificatePem"] != made["certificatePem"] || d["validity"].(map[string]any)["notAfter"].(float64) < float64(time.Now().Unix()) {
		t.Errorf("DescribeCertificate: %v", d)
	}
	h.refused(406, "CertificateStateException", "DELETE", "/certificates/"+id, "")
	h.refused(409, "DeleteConflictException", "DELETE", "/policies/all", "")
	h.refused(400, "InvalidRequestException", "DELETE", "/things/pump:1", "")
	h.ok("PUT", "/certificates/"+id+"?newStatus=INACTIVE", "")
	h.ok("DELETE", "/things/pump:1/principals", "", "x-amzn-principal", certARN)
	h.ok("POST", "/target-policies/all", fmt.Sprintf(`{"target":%q}`, certARN))
	h.ok("DELETE", "/certificates/"+id, "")
	h.ok("DELETE", "/policies/all", "")
	h.ok("DELETE", "/things/pump:1", "")
	h.refused(404, "ResourceNotFoundException", "GET", "/things/pump:1", "")
}

func TestRouting_UnknownOperationsAreCleanErrors(t *testing.T) {
	h := build(t)
	h.refused(404, "ResourceNotFoundException", "GET", "/jobs", "")
	h.refused(404, "ResourceNotFoundException", "GET", "/things//x/y", "")
	h.refused(404, "ResourceNotFoundException", "GET", "/things/", "")
	h.refused(405, "MethodNotAllowedException", "PATCH", "/endpoint", "")
	h.refused(400, "InvalidRequestException", "POST", "/things/a", "{")
	h.refused(400, "InvalidRequestException", "POST", "/things/a%2Fb", "")
	h.refused(400, "InvalidRequestException", "GET", "/things?maxResults=0", "")
	h.refused(400, "InvalidRequestException", "GET", "/things?nextToken=%25", "")
	h.refused(400, "InvalidRequestException", "POST", "/keys-and-certificate?setAsActive=yes", "")
	h.refused(503, "ServiceUnavailableException", "GET", "/rules", "")
	h.refused(400, "InvalidRequestException", "PATCH", "/things/fixed", `{"attributePayload":{"attributes":{}}}`)
	h.refused(400, "InvalidRequestException", "PUT", "/things/fixed/principals", "", "x-amzn-principal", "arn:aws:iot:us-east-1:999999999999:cert/x")
	h.refused(400, "MalformedPolicyException", "POST", "/policies/p", `{"policyDocument":"{"}`)
}

func TestAllow_IsAskedForTheOperationOnItsResource(t *testing.T) {
	h := build(t)
	h.do("POST", "/things/a", "")
	h.do("GET", "/things", "")
	h.do("GET", "/policies/p/version/3", "")
	h.do("PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupName":"g","thingName":"t"}`)
	want := []string{"iot:CreateThing thing/a", "iot:ListThings *", "iot:GetPolicyVersion policy/p", "iot:AddThingToThingGroup thinggroup/g"}
	if !slices.Equal(h.allow.asked, want) {
		t.Errorf("asked %q, want %q", h.allow.asked, want)
	}
	h.allow.deny = "iot:DeleteThing"
	h.refused(403, "AccessDeniedException", "DELETE", "/things/a", "")
	h.ok("GET", "/things/a", "")
}

// TestCreate_WhatIsRefusedLeavesNothingBehind: a bad tag makes no policy, and an
// unknown group changes no membership.
func TestCreate_WhatIsRefusedLeavesNothingBehind(t *testing.T) {
	h := build(t)
	tagged := func(n int) string {
		text, _ := json.Marshal(map[string]any{"policyDocument": allowAll, "tags": slices.Repeat([]any{map[string]string{"Key": "k", "Value": "v"}}, n)})
		return string(text)
	}
	h.refused(400, "InvalidRequestException", "POST", "/policies/p", strings.Replace(tagged(1), `"Key":"k"`, `"Key":""`, 1))
	h.refused(410, "LimitExceededException", "POST", "/policies/p", tagged(51))
	h.refused(404, "ResourceNotFoundException", "GET", "/policies/p", "")
	h.ok("POST", "/policies/p", tagged(1))
	if got := h.ok("GET", "/tags?resourceArn="+url.QueryEscape(arn("policy/p")), ""); fmt.Sprint(got["tags"]) != "[map[Key:k Value:v]]" {
		t.Errorf("tags: %v", got)
	}

	h.ok("POST", "/things/pump", "")
	h.ok("POST", "/thing-groups/hall", "")
	h.ok("POST", "/thing-groups/roof", "")
	h.ok("PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupName":"hall","thingName":"pump"}`)
	h.refused(404, "ResourceNotFoundException", "PUT", "/thing-groups/updateThingGroupsForThing", `{"thingName":"pump","thingGroupsToRemove":["hall"],"thingGroupsToAdd":["roof","none"]}`)
	groups := func() string { return fmt.Sprint(h.ok("GET", "/things/pump/thing-groups", "")["thingGroups"]) }
	if got := groups(); !strings.Contains(got, "hall") || strings.Contains(got, "roof") {
		t.Errorf("a refused change moved the thing: %s", got)
	}
	h.ok("PUT", "/thing-groups/updateThingGroupsForThing", `{"thingName":"pump","thingGroupsToRemove":["hall"],"thingGroupsToAdd":["roof"]}`)
	if got := groups(); strings.Contains(got, "hall") || !strings.Contains(got, "roof") {
		t.Errorf("moved: %s", got)
	}
}

func TestPages_GoToTheEndWithTokensThatClientsAccept(t *testing.T) {
	h := build(t)
	for i := range 5 {
		h.ok("POST", fmt.Sprintf("/things/t%d", i), "")
		h.ok("POST", fmt.Sprintf("/policies/p%d", i), fmt.Sprintf(`{"policyDocument":%q}`, allowAll))
	}
	form := regexp.MustCompile(`^[A-Za-z0-9+/]+={0,2}$`)
	for _, c := range []struct{ path, list, name, size, out, in string }{
		{"/things", "things", "thingName", "maxResults", "nextToken", "nextToken"},
		{"/policies", "policies", "policyName", "pageSize", "nextMarker", "marker"},
	} {
		var seen []string
		token := ""
		for range 10 {
			got := h.ok("GET", c.path+"?isAscendingOrder=true&"+c.size+"=2"+token, "")
			for _, item := range got[c.list].([]any) {
				seen = append(seen, item.(map[string]any)[c.name].(string))
			}
			next, more := got[c.out].(string)
			if !more {
				break
			}
			if !form.MatchString(next) {
				t.Errorf("token %q", next)
			}
			token = "&" + c.in + "=" + strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(next)
		}
		if len(seen) < 5 || !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != len(seen) {
			t.Errorf("%s: %v", c.path, seen)
		}
	}
}

func TestTestAuthorization_PrintsTheDecidingStatement(t *testing.T) {
	h := build(t)
	h.ok("POST", "/policies/all", fmt.Sprintf(`{"policyDocument":%q}`, allowAll))
	made := h.ok("POST", "/keys-and-certificate?setAsActive=true&tidehold-key=p256", "")
	ask := func(extra string) map[string]any {
		t.Helper()
		got := h.ok("POST", "/test-authorization?clientId=c", fmt.Sprintf(`{"principal":%q,"authInfos":[{"actionType":"PUBLISH","resources":[%q]}]%s}`, made["certificateArn"], arn("topic/a"), extra))
		return got["authResults"].([]any)[0].(map[string]any)
	}
	if got := ask(""); got["authDecision"] != "IMPLICIT_DENY" {
		t.Errorf("without policies: %v", got)
	}
	if got := ask(`,"policyNamesToAdd":["all"]`); got["authDecision"] != "ALLOWED" || got["tideholdStatement"].(map[string]any)["sid"] != "all" {
		t.Errorf("with one more policy: %v", got)
	}
	h.ok("PUT", "/target-policies/all", fmt.Sprintf(`{"target":%q}`, made["certificateArn"]))
	if got := ask(""); got["authDecision"] != "ALLOWED" {
		t.Errorf("attached: %v", got)
	}
	if got := ask(`,"policyNamesToSkip":["all"]`); got["authDecision"] != "IMPLICIT_DENY" {
		t.Errorf("skipped: %v", got)
	}
	if got := h.ok("POST", "/effective-policies", fmt.Sprintf(`{"principal":%q}`, made["certificateArn"])); len(got["effectivePolicies"].([]any)) != 1 {
		t.Errorf("effective: %v", got)
	}
}

func TestSearch_FindsByNameTypeGroupAndAttribute(t *testing.T) {
	h := build(t)
	h.ok("POST", "/thing-groups/attic", "")
	h.ok("POST", "/things/lamp-1", `{"attributePayload":{"attributes":{"room":"attic"}}}`)
	h.ok("POST", "/things/lamp-2", "")
	h.ok("PUT", "/thing-groups/addThingToThingGroup", `{"thingGroupName":"attic","thingName":"lamp-1"}`)
	for query, n := range map[string]int{
		"*": 3, "thingName:lamp*": 2, "thingName:lamp* AND attributes.room:attic": 1, "thingGroupNames:attic": 1, "thingTypeName:x": 0,
	} {
		got := h.ok("POST", "/indices/search", fmt.Sprintf(`{"queryString":%q}`, query))
		if len(got["things"].([]any)) != n {
			t.Errorf("%s: %v, want %d", query, got["things"], n)
		}
	}
	h.refused(400, "InvalidQueryException", "POST", "/indices/search", `{"queryString":"thingName:(a OR b)"}`)
}

// TestOperations_AllThatTheSpecificationListsAreThere reads the tables of
// http-api.md section 2 as name, verb and path.
func TestOperations_AllThatTheSpecificationListsAreThere(t *testing.T) {
	text, err := os.ReadFile("testdata/operations.txt")
	if err != nil {
		t.Fatal(err)
	}
	h, variable := New(Config{}), regexp.MustCompile(`\{\w+\}`)
	listed := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range listed {
		fields := strings.Fields(line)
		path := variable.ReplaceAllString(fields[2], "x")
		op, _, err := h.find(httptest.NewRequest(fields[1], "http://gw"+path, nil), nil)
		if err != nil || op.name != fields[0] || !h.Known(path) {
			t.Errorf("%s: %v, %v", line, op, err)
		}
	}
	if len(listed) != 76 {
		t.Errorf("%d operations listed", len(listed))
	}
	if h.Known("/things/a/shadow") || h.Known("/topics/a") {
		t.Error("paths of the data plane are known")
	}
}

// TestBoto3_TellsTheWholeStory runs an unmodified client; without one it is
// skipped.
func TestBoto3_TellsTheWholeStory(t *testing.T) {
	python := gwtest.Python(t, "boto3")
	h := build(t)
	out, err := exec.Command(python, "testdata/story.py", h.url).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func FuzzHandle(f *testing.F) {
	h := build(f)
	handler := New(Config{Scope: policy.Scope{Region: "us-east-1", Account: "000000000000"}, Registry: h.reg, Allow: h.allow, IDs: ids.New(rand.Reader)})
	f.Add("POST", "/things/a", `{"attributePayload":{"attributes":{"a":"b"}}}`)
	f.Add("POST", "/attached-policies/arn%3Aaws", "")
	f.Add("PUT", "/cacertificate/x?newStatus=ACTIVE", `{"registrationConfig":null}`)
	f.Add("POST", "/test-authorization", `{"authInfos":[{}]}`)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r, err := http.NewRequest(method, "http://gw"+path, nil)
		if err != nil || strings.HasPrefix(r.URL.EscapedPath(), "/keys-and-certificate") {
			return
		}
		w := httptest.NewRecorder()
		handler.Handle(w, r, iot.Principal{}, []byte(body))
		if w.Code >= 500 && w.Code != 503 {
			t.Errorf("%s %s %s: %d %s", method, path, body, w.Code, w.Body)
		}
	})
}
