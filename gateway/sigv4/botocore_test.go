package sigv4

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"
	"time"
)

// The requests were signed by botocore's own signer, with a made-up key.
func TestVerify_WhatBotocoreSigns(t *testing.T) {
	text, err := os.ReadFile("testdata/botocore.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		At          time.Time
		Key, Secret string
		Cases       []struct {
			Name, Method, Path, Query, Host, Body, Token string
			Headers                                      map[string]string
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) != 11 {
		t.Errorf("%d cases, want 11", len(file.Cases))
	}
	for _, c := range file.Cases {
		r := Request{Method: c.Method, Path: c.Path, Query: c.Query, Host: c.Host, ContentLength: int64(len(c.Body)), Header: http.Header{}}
		for name, value := range c.Headers {
			http.Header(r.Header).Set(name, value)
		}
		if c.Body != "" {
			r.Body = func() ([]byte, error) { return []byte(c.Body), nil }
		}
		lookup := func(id, token string) (string, bool) { return file.Secret, id == file.Key && token == c.Token }
		if _, err := VerifySession(r, lookup, file.At, Skew); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
}
