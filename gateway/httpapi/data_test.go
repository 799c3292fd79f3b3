package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
)

// Paths arrive as SDKs encode them and as people write them; nothing is
// cleaned, and nobody is redirected.
func TestPublish_TopicsKeepTheirSlashesAndSigns(t *testing.T) {
	h := &house{}
	_, c := serve(t, h)
	for path, want := range map[string]string{
		"/topics/t%2Fa%20b%2Fc%2B%C3%A9": "", // a plus sign is a wildcard
		"/topics/t%2Fa%20b%2F%C3%A9":     "t/a b/é",
		"/topics/a//b":                   "a//b",
		"/topics/%2Fx":                   "/x",
		"/topics//x/":                    "/x/",
		"/topics/a/./..":                 "a/./..",
	} {
		h.message = iot.Message{}
		status, body, _ := ask(t, c, "POST", "http://x"+path, "")
		if (want != "") != (status == 200) || h.message.Topic != want {
			t.Errorf("%s: %d %s, published to %q, want %q", path, status, body, h.message.Topic, want)
		}
	}
}

func TestPublish_CarriesThePropertiesOfMQTT5(t *testing.T) {
	h := &house{}
	_, c := serve(t, h)
	req, _ := http.NewRequest("POST", "http://x/topics/a?qos=1&retain=true&contentType=text%2Fplain&responseTopic=r%2Fx&messageExpiry=7", strings.NewReader("hi"))
	req.Header.Set("x-amz-mqtt5-user-properties", "W3siayI6InYifSx7ImsiOiJ3In1d")
	req.Header.Set("x-amz-mqtt5-payload-format-indicator", "UTF8_DATA")
	req.Header.Set("x-amz-mqtt5-correlation-data", "aWQ=")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	want := &iot.Properties{ContentType: "text/plain", ResponseTopic: "r/x", CorrelationData: []byte("id"), PayloadFormat: 1, HasPayloadFormat: true,
		MessageExpiry: 7, User: []iot.UserProperty{{Key: "k", Value: "v"}, {Key: "k", Value: "w"}}}
	if m := h.message; m.QoS != 1 || !m.Retain || !reflect.DeepEqual(m.Properties, want) {
		t.Errorf("published %+v with %+v, want %+v", m, m.Properties, want)
	}
	if ask(t, c, "POST", "http://x/topics/a", ""); h.message.Properties != nil || h.message.Retain {
		t.Errorf("a plain publish has properties %+v", h.message.Properties)
	}
}

func TestPublish_MalformedPropertiesAreRefused(t *testing.T) {
	h := &house{}
	_, c := serve(t, h)
	for header, value := range map[string]string{
		"x-amz-mqtt5-correlation-data": "id!", "x-amz-mqtt5-payload-format-indicator": "utf8", "x-amz-mqtt5-user-properties": "e30=",
	} {
		req, _ := http.NewRequest("POST", "http://x/topics/a", nil)
		req.Header.Set(header, value)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 400 || h.message.Topic != "" {
			t.Errorf("%s %q: %d, published to %q", header, value, resp.StatusCode, h.message.Topic)
		}
	}
}

func TestPublish_RetainNeedsItsOwnPermission(t *testing.T) {
	h := &house{}
	s, _ := serve(t, h)
	for query, want := range map[string][]string{
		"": {"iot:Publish topic/a/b"}, "?retain=true": {"iot:Publish topic/a/b", "iot:RetainPublish topic/a/b"},
	} {
		h.asked = nil
		req, _ := http.NewRequest("POST", "http://"+s.Addresses()["control"]+"/topics/a%2Fb"+query, nil)
		req.Header.Set("Authorization", "signed")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || !reflect.DeepEqual(h.asked, want) {
			t.Errorf("retain %q: %d after asking %q, want %q", query, resp.StatusCode, h.asked, want)
		}
	}
}

func TestData_EveryOperationAsksForItsOwnAction(t *testing.T) {
	h := &house{}
	s, _ := serve(t, h)
	for call, want := range map[string]string{
		"POST /things/p/shadow":                                 "iot:UpdateThingShadow thing/p",
		"DELETE /things/p/shadow?name=s":                        "iot:DeleteThingShadow thing/p/s",
		"GET /api/things/shadow/ListNamedShadowsForThing/a%3Ab": "iot:ListNamedShadowsForThing thing/a:b",
		"GET /retainedMessage":                                  "iot:ListRetainedMessages *",
		"GET /retainedMessage/a%2Fb":                            "iot:GetRetainedMessage topic/a/b",
		"DELETE /connections/c%2F1":                             "iot:DeleteConnection client/c/1",
	} {
		method, path, _ := strings.Cut(call, " ")
		req, _ := http.NewRequest(method, "http://"+s.Addresses()["control"]+path, nil)
		req.Header.Set("Authorization", "signed")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if h.allowed != want {
			t.Errorf("%s asked for %q, want %q", call, h.allowed, want)
		}
	}
}

// What SDKs read of an error: status, x-amzn-ErrorType, message, and the id in
// header and body; never a `code`.
func TestErrors_AreThoseThatSDKsParse(t *testing.T) {
	_, c := serve(t, &house{})
	for call, want := range map[string]string{
		"GET /things/ghost/shadow":            "404 ResourceNotFoundException",
		"DELETE /things/pump/shadow":          "409 ConflictException",
		"PUT /things/pump/shadow":             "405 MethodNotAllowedException",
		"GET /topics/a":                       "405 MethodNotAllowedException",
		"GET /nowhere":                        "404 ResourceNotFoundException",
		"GET /things/pump/shadow/":            "404 ResourceNotFoundException",
		"POST /topics/a?retain=TRUE":          "400 InvalidRequestException",
		"POST /topics/a?messageExpiry=-1":     "400 InvalidRequestException",
		"POST /topics/a?responseTopic=%23":    "400 InvalidRequestException",
		"POST /topics/$aws/events/x":          "403 ForbiddenException",
		"GET /retainedMessage?maxResults=201": "400 InvalidRequestException",
		"GET /retainedMessage?nextToken=%25":  "400 InvalidRequestException",
		"GET /retainedMessage/a":              "404 ResourceNotFoundException",
		"DELETE /connections/nobody":          "404 ResourceNotFoundException",
	} {
		method, path, _ := strings.Cut(call, " ")
		status, body, head := ask(t, c, method, "http://x"+path, "")
		var got map[string]any
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Errorf("%s: %v in %s", call, err, body)
			continue
		}
		if got := fmt.Sprint(status, " ", head.Get("x-amzn-ErrorType")); got != want {
			t.Errorf("%s: %s, want %s", call, got, want)
		}
		if id := head.Get("x-amzn-RequestId"); len(id) != 36 || got["traceId"] != id || got["message"] == "" || got["code"] != nil {
			t.Errorf("%s: id %q, body %s", call, id, body)
		}
	}
}

func TestRetained_PagesByTopicAndShowsPayloadAsBase64(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	h := &house{retained: []iot.Message{
		{Topic: "a", Payload: []byte("hi"), QoS: 1, Arrived: at, Properties: &iot.Properties{User: []iot.UserProperty{{Key: "k", Value: "<"}}}},
		{Topic: "b/ü", Payload: []byte("xyz"), Arrived: at}, {Topic: "c", Payload: []byte("x"), Arrived: at},
	}}
	_, c := serve(t, h)
	_, body, _ := ask(t, c, "GET", "http://x/retainedMessage/a", "")
	if want := `{"topic":"a","payload":"aGk=","qos":1,"lastModifiedTime":1700000000123,"userProperties":"` + base64.StdEncoding.EncodeToString([]byte(`[{"k":"<"}]`)) + `"}`; strings.TrimSpace(body) != want {
		t.Errorf("get:\n got %s\nwant %s", body, want)
	}
	var seen []string
	for token := ""; ; {
		var page struct {
			RetainedTopics []retainedMessage
			NextToken      string
		}
		_, body, _ := ask(t, c, "GET", "http://x/retainedMessage?maxResults=2&nextToken="+token, "")
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err)
		}
		for _, m := range page.RetainedTopics {
			if m.Payload != nil || m.PayloadSize == 0 {
				t.Errorf("a list shows sizes, not payloads: %+v", m)
			}
			seen = append(seen, m.Topic)
		}
		if token = page.NextToken; token == "" {
			break
		}
	}
	if !reflect.DeepEqual(seen, []string{"a", "b/ü", "c"}) {
		t.Errorf("pages show %q", seen)
	}
}

func TestDeleteConnection_SaysWhatElseGoes(t *testing.T) {
	h := &house{}
	_, c := serve(t, h)
	if status, body, _ := ask(t, c, "DELETE", "http://x/connections/c1?cleanSession=true&preventWillMessage=true", ""); status != 200 || h.removed != "c1 session=true will=true" {
		t.Errorf("%d %s, removed %q", status, body, h.removed)
	}
	if ask(t, c, "DELETE", "http://x/connections/c1", ""); h.removed != "c1 session=false will=false" {
		t.Errorf("removed %q", h.removed)
	}
}

// Whatever is read as user properties reads the same after it was written.
func FuzzUserProperties(f *testing.F) {
	for _, seed := range []string{"W3siayI6InYifV0=", "W10=", "bnVsbA==", "W3t9XQ==", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		all, err := userProperties(header)
		if err != nil {
			return
		}
		again, err := userProperties(encodeUserProperties(&iot.Properties{User: all}))
		if err != nil || !reflect.DeepEqual(all, again) {
			t.Errorf("%q: %v became %v, %v", header, all, again, err)
		}
	})
}
