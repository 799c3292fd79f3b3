package ctl

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const syncAnswer = `{"up":[
 {"thing":"fan","state":"pending","conflicts":0},
 {"thing":"pump","state":"synced","conflicts":2,"winner":"cloudWins","synced_at":"2026-01-02T03:04:05Z","age_s":75.4},
 {"thing":"pump","shadow":"cfg","state":"blocked","reason":"too large","conflicts":0}]}`

func syncing(t *testing.T) string {
	return gateway(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/tidehold/v1/sync":
			fmt.Fprint(w, syncAnswer)
		case "/tidehold/v1/sync/conflicts":
			fmt.Fprint(w, `[{"id":1,"at":"2026-01-02T03:04:05Z","uplink":"up","thing":"pump","path":"/desired/on","local":"1","upstream":"2","winner":"cloudWins","writer":"app-7"}]`)
		case "/tidehold/v1/uplinks":
			fmt.Fprint(w, `[{"name":"up","profile":"aws-iot-core","state":"online","shadows":{"synced":1,"pending":1,"conflict":0,"blocked":1}}]`)
		default:
			fmt.Fprint(w, `{"state":{"desired":{"on":2}},"version":9}`)
		}
	})
}

// Each verb shows state, age, conflicts, last winner and reason of the shadows
// that it is about, and of no other.
func TestSync_EveryVerbShowsHowAShadowDoes(t *testing.T) {
	socket := syncing(t)
	const synced, blocked, pending = "up      pump   -       synced   1m15s  2          cloudWins    -", "up      pump   cfg     blocked  -      0          -            too large", "up      fan    -       pending  -      0          -            -"
	for _, c := range []struct {
		verb      string
		want, not []string
	}{
		{"sync list", []string{"LAST WINNER", synced, blocked, pending}, nil},
		{"shadow status", []string{synced, blocked, pending}, nil},
		{"shadow status pump", []string{synced, blocked}, []string{"fan"}},
		{"shadow get pump -o wide", []string{`"version": 9`, "cloudWins"}, []string{"cfg", "fan"}},
		{"shadow get pump --name cfg -o wide", []string{`"version": 9`, "too large"}, []string{"cloudWins"}},
		{"shadow get pump", []string{`"version": 9`}, []string{"UPLINK"}},
		{"uplink status", []string{"blocked 1, pending 1, synced 1"}, []string{"pump"}},
		{"uplink status -o wide", []string{"blocked 1, pending 1, synced 1", synced, blocked, pending}, nil},
		{"uplink status other -o wide", []string{"LAST WINNER"}, []string{"pump"}},
		{"sync conflicts", []string{"2026-01-02T03:04:05Z", "/desired/on", "cloudWins", "app-7"}, []string{"UPLINK"}},
		{"sync conflicts -o wide", []string{"UPLINK", "app-7"}, nil},
	} {
		out, err := tidehold(append(strings.Fields(c.verb), "--socket", socket)...)
		for _, want := range c.want {
			if err != nil || !strings.Contains(out, want) {
				t.Errorf("%s: %v, lacks %q\n%s", c.verb, err, want, out)
			}
		}
		for _, not := range c.not {
			if strings.Contains(out, not) {
				t.Errorf("%s: shows %q\n%s", c.verb, not, out)
			}
		}
	}
}
