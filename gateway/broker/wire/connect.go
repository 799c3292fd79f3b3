package wire

import (
	"github.com/mochi-mqtt/server/v2/packets"
)

// Refusal is a CONNECT that is answered with a CONNACK and an end.
type Refusal struct {
	Code   byte   // of MQTT 5
	Reason string // label of metrics
	Text   string // for the client
}

// ParseConnect reads and checks what MQTT says about CONNECT (3.1).
func ParseConnect(body []byte) (pk packets.Packet, no *Refusal) {
	name, rest, ok := CutText(body)
	if !ok || len(rest) < 2 || string(name) != "MQTT" && string(name) != "MQIsdp" {
		return pk, &Refusal{Code: CodeMalformed, Reason: "malformed"}
	}
	if level := rest[0]; string(name) != "MQTT" || level != 4 && level != 5 {
		return pk, &Refusal{Code: CodeVersion, Reason: "version"}
	}
	pk.FixedHeader.Type = packets.Connect
	if err := Decode(pk.ConnectDecode, body); err != nil {
		return pk, &Refusal{Code: CodeMalformed, Reason: "malformed", Text: err.Error()}
	}
	p := &pk.Connect
	switch {
	case pk.ReservedBit != 0, p.WillQos > 2, !p.WillFlag && (p.WillQos > 0 || p.WillRetain),
		pk.ProtocolVersion == 4 && p.PasswordFlag && !p.UsernameFlag:
		return pk, &Refusal{Code: CodeMalformed, Reason: "malformed", Text: "bad CONNECT flags"}
	case pk.Properties.AuthenticationMethod != "":
		return pk, &Refusal{Code: CodeAuthMethod, Reason: "auth_method", Text: "enhanced authentication is not offered"}
	}
	return pk, nil
}
