package ctl

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tidehold/tidehold/gateway/access"
)

// control answers as the control plane does, a page at a time.
func control(t *testing.T) string {
	return gateway(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + r.URL.RequestURI() {
		case "GET /things":
			fmt.Fprint(w, `{"things":[{"thingName":"a","version":1,"thingArn":"arn:a"}],"nextToken":"YQ=="}`)
		case "GET /things?nextToken=YQ%3D%3D":
			fmt.Fprint(w, `{"things":[{"thingName":"b","attributes":{"k":"v"},"version":2,"thingArn":"arn:b"}]}`)
		case "GET /certificates":
			fmt.Fprint(w, `{"certificates":[{"certificateId":"ab01","certificateArn":"arn:1","creationDate":1.5},{"certificateId":"ab02","certificateArn":"arn:2"}]}`)
		case "GET /certificates/ab02":
			fmt.Fprint(w, `{"certificateDescription":{"certificateId":"ab02","status":"REVOKED"}}`)
		case "POST /policy-targets/p":
			fmt.Fprint(w, `{"targets":["arn:1","arn:2"]}`)
		default:
			fmt.Fprint(w, `{}`)
		}
	})
}

func TestRecords_PagesAreJoinedInEveryForm(t *testing.T) {
	socket := control(t)
	for form, want := range map[string]string{
		"name":  "a\nb\n",
		"table": "THING  TYPE  ATTRIBUTES\na      -     -\nb      -     {\"k\":\"v\"}\n",
		"wide":  "THING  TYPE  ATTRIBUTES  VERSION  ARN    CONNECTIVITY\na      -     -           1        arn:a  -\nb      -     {\"k\":\"v\"}   2        arn:b  -\n",
		"yaml":  "- thingName: a\n  version: 1\n  thingArn: arn:a\n- thingName: b\n  attributes:\n    k: v\n  version: 2\n  thingArn: arn:b\n",
	} {
		if out, err := tidehold("thing", "list", "-o", form, "--socket", socket); err != nil || out != want {
			t.Errorf("%s: %v\n%q, want\n%q", form, err, out, want)
		}
	}
	if out, err := tidehold("policy", "targets", "p", "-o", "name", "--socket", socket); err != nil || out != "arn:1\narn:2\n" {
		t.Errorf("texts: %q, %v", out, err)
	}
}

func TestCertificates_AreFoundByTheirFirstDigits(t *testing.T) {
	socket := control(t)
	for text, want := range map[string]int{"ab02": ExitOK, "AB02": ExitOK, "arn:2": ExitOK, "ab": ExitUsage, "cd": ExitNotFound} {
		out, err := tidehold("cert", "revoke", text, "--socket", socket)
		if ExitCode(err) != want || want == ExitOK && !strings.Contains(out, "REVOKED") {
			t.Errorf("%s: exit %d, %v, want %d\n%s", text, ExitCode(err), err, want, out)
		}
	}
}

func TestUsage_WhatIsMissingIsSaid(t *testing.T) {
	for _, args := range [][]string{
		{"thing", "create", "a"}, {"cert", "create"}, {"policy", "test", "--cert", "a"}, {"thing", "list", "--attribute", "x"},
	} {
		if _, err := tidehold(args...); ExitCode(err) != ExitUsage || !strings.Contains(err.Error(), "--") {
			t.Errorf("%v: exit %d, %v", args, ExitCode(err), err)
		}
	}
}

func TestPolicyLint_WorksWithoutAGateway(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(file, []byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := tidehold("policy", "lint", file, "--socket", "/nowhere")
	if err != nil || !strings.Contains(out, "warning: statement 0: Action *") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := tidehold("policy", "lint", file, "--strict"); ExitCode(err) != ExitFailed {
		t.Errorf("strict: exit %d", ExitCode(err))
	}
	if err := os.WriteFile(file, []byte(`{"Statement":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tidehold("policy", "lint", file); ExitCode(err) != ExitFailed || !strings.Contains(err.Error(), "empty list") {
		t.Errorf("malformed: %v", err)
	}
}

func TestUserHash_IsOneThatTheAuthoriserReads(t *testing.T) {
	root := &cobra.Command{Use: "tidehold", SilenceErrors: true, SilenceUsage: true}
	Add(root)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetIn(strings.NewReader("secret word\nmore"))
	root.SetArgs([]string{"user", "hash"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	hash, err := access.ParseHash(strings.TrimSpace(out.String()))
	if err != nil || !hash.Matches([]byte("secret word")) || hash.Matches([]byte("secret")) {
		t.Errorf("%v\n%s", err, out.String())
	}
	root.SetIn(strings.NewReader("\n"))
	if err := root.Execute(); ExitCode(err) != ExitUsage {
		t.Errorf("an empty password: %v", err)
	}
}
