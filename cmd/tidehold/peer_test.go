package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// args are the arguments of a command of the play.
type args map[string]any

// told is a line that a client of the play tells: an answer, or what it heard.
type told struct {
	Answer, Error, Why string
	Value              json.RawMessage
	Topic, Payload     string
	Retain             bool
	User               string // user properties of MQTT 5, as JSON
}

// app is who asks for operations: an unmodified client behind one command a line.
type app interface {
	// ask gives the document, or the name or number of the client's error.
	ask(op string, a args) (document, string)
}

// document is what tests look at of an answer.
type document struct {
	Present bool
	Version int64
	Results []string
	State   struct{ Desired, Reported, Delta json.RawMessage }
}

// wait bounds every wait of the play: only a hang reaches it.
const wait = time.Minute

// peer is a client in a process of its own (scripts/examples/play).
type peer struct {
	t       testing.TB
	name    string
	cmd     *exec.Cmd
	in      *json.Encoder
	lines   chan told
	waiting []told // heard and not yet looked at
	log     strings.Builder
}

// peer starts a client of the play: FILE, and what it is given on its command line.
func (l *lan) peer(t testing.TB, command ...string) *peer {
	t.Helper()
	p := &peer{t: t, name: command[1], cmd: exec.Command(command[0], command[1:]...), lines: make(chan told, 64)}
	p.cmd.Dir, p.cmd.Env = filepath.Join(l.examples, "play"), append(os.Environ(), l.keys...)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = json.NewEncoder(in)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var one told
			if json.Unmarshal(lines.Bytes(), &one) == nil {
				p.lines <- one
			}
		}
	}()
	t.Cleanup(p.kill)
	return p
}

// kill ends the client without a word to the gateway.
func (p *peer) kill() {
	if p.cmd.ProcessState != nil {
		return
	}
	p.cmd.Process.Kill()
	for range p.lines { // what it still told
	}
	p.cmd.Wait()
}

// ask has the client do one command.
func (p *peer) ask(op string, a args) (document, string) {
	p.t.Helper()
	command := args{"op": op}
	maps.Copy(command, a)
	if err := p.in.Encode(command); err != nil {
		p.t.Fatalf("%s: %s: %v", p.name, op, err)
	}
	for {
		one := p.next(op)
		if one.Answer != op {
			p.waiting = append(p.waiting, one)
			continue
		}
		var d document
		json.Unmarshal(one.Value, &d) // some operations answer with something else
		if one.Error != "" {
			fmt.Fprintf(&p.log, "%s: %s, %s\n", op, one.Error, one.Why)
		}
		return d, one.Error
	}
}

func (p *peer) next(what string) told {
	p.t.Helper()
	select {
	case one, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("%s ended while the play waits for %s", p.name, what)
		}
		return one
	case <-time.After(wait):
		p.t.Fatalf("%s: never: %s; waiting: %+v\n%s", p.name, what, p.waiting, p.log.String())
	}
	return told{}
}

// hears waits for a message on a topic with this text in it.
func (p *peer) hears(topic, text string) told {
	p.t.Helper()
	fits := func(one told) bool { return one.Topic == topic && strings.Contains(one.Payload, text) }
	for i, one := range p.waiting {
		if fits(one) {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			return one
		}
	}
	for {
		one := p.next("a message on " + topic + " with " + text)
		if fits(one) {
			return one
		}
		p.waiting = append(p.waiting, one)
	}
}

// cli is the AWS CLI as an app of the play.
type cli struct {
	t testing.TB
	l *lan
}

// ask runs one command of `aws iot-data`.
func (c cli) ask(op string, a args) (document, string) {
	c.t.Helper()
	var words []string
	thing := func(verb string, more ...string) {
		words = append([]string{verb, "--thing-name", fmt.Sprint(a["thing"])}, more...)
		if name, ok := a["shadow"]; ok {
			words = append(words, "--shadow-name", fmt.Sprint(name))
		}
	}
	switch op {
	case "get":
		thing("get-thing-shadow", "/dev/stdout")
	case "delete":
		thing("delete-thing-shadow", "/dev/stdout")
	case "update":
		body, err := json.Marshal(a["body"])
		if err != nil {
			c.t.Fatal(err)
		}
		thing("update-thing-shadow", "--payload", string(body), "/dev/stdout")
	case "list":
		thing("list-named-shadows-for-thing")
	case "publish":
		words = []string{"publish", "--topic", fmt.Sprint(a["topic"]), "--payload", fmt.Sprint(a["payload"]), "--qos", "1"}
		if a["retain"] == true {
			words = append(words, "--retain")
		}
	}
	words = append([]string{"iot-data", "--endpoint-url", c.l.endpoint(), "--cli-binary-format", "raw-in-base64-out", "--output", "json"}, words...)
	cmd := exec.Command("/usr/bin/aws", words...)
	cmd.Env = append(os.Environ(), c.l.keys...)
	out, err := cmd.CombinedOutput()
	var d document
	if err != nil {
		_, name, _ := strings.Cut(string(out), "An error occurred (")
		name, _, _ = strings.Cut(name, ")")
		if name == "" {
			c.t.Fatalf("aws %v: %v\n%s", words, err, out)
		}
		return d, name
	}
	json.NewDecoder(strings.NewReader(string(out))).Decode(&d) // publish answers nothing
	return d, ""
}
