// Command paho-go is a lamp that follows its device shadow, with Eclipse Paho
// for Go and no SDK.
//
//	go run ./scripts/examples/paho-go lamp-1 ./lamp-1 gateway.local:8883
//
// ./lamp-1 is the folder that `tidehold thing create lamp-1 --out lamp-1` wrote.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: paho-go THING FOLDER HOST:PORT")
	}
	identity, err := load(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	l := lamp{shadow: "$aws/things/" + os.Args[1] + "/shadow"}
	mqtt.NewClient(mqtt.NewClientOptions().
		AddBroker("ssl://" + os.Args[3]).SetTLSConfig(identity).SetClientID(os.Args[1]).
		SetOrderMatters(false). // so that what comes in may publish
		SetConnectRetry(true).SetOnConnectHandler(l.connected)).Connect()
	select {}
}

// load reads the certificate, its key and the gateway's CA.
func load(folder string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "private.key"))
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}, nil
}

type lamp struct{ shadow string }

// connected asks what was wished while the lamp was away.
func (l lamp) connected(c mqtt.Client) {
	filters := map[string]byte{l.shadow + "/update/delta": 1, l.shadow + "/get/accepted": 1, l.shadow + "/get/rejected": 1}
	if t := c.SubscribeMultiple(filters, l.hear); t.Wait() && t.Error() != nil {
		log.Print(t.Error())
	}
	c.Publish(l.shadow+"/get", 1, false, "")
}

// hear follows a delta, the answer of get, or its refusal: no shadow yet.
func (l lamp) hear(c mqtt.Client, m mqtt.Message) {
	var delta struct{ State struct{ On bool } }
	var got struct {
		State struct{ Desired, Reported struct{ On *bool } }
	}
	on := false
	switch {
	case strings.HasSuffix(m.Topic(), "/delta") && json.Unmarshal(m.Payload(), &delta) == nil:
		on = delta.State.On
	case json.Unmarshal(m.Payload(), &got) == nil && got.State.Desired.On != nil:
		on = *got.State.Desired.On
	case got.State.Reported.On != nil:
		on = *got.State.Reported.On
	}
	fmt.Printf("the lamp is %s\n", map[bool]string{true: "on", false: "off"}[on])
	c.Publish(l.shadow+"/update", 1, false, fmt.Sprintf(`{"state":{"reported":{"on":%t}}}`, on))
}
