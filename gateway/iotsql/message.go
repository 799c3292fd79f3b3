package iotsql

import (
	"encoding/base64"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql/library"
	"github.com/tidehold/tidehold/gateway/iotsql/value"
)

func (sc *scope) modern() bool { return sc.of == nil || sc.of.dialect.Modern }

func timestamp(sc *scope, _ []value.Value, _ any) value.Value { return value.Integer(sc.ctx.NowMS) }

// ruleTopic is a topic without the Basic Ingest prefix.
func ruleTopic(name string) string {
	rest, ok := strings.CutPrefix(name, "$aws/rules/")
	if !ok {
		return name
	}
	_, rest, _ = strings.Cut(rest, "/")
	return rest
}

func topicOf(sc *scope, args []value.Value, _ any) value.Value {
	name := ruleTopic(sc.ctx.Message.Topic)
	if len(args) == 0 {
		return value.Text(name)
	}
	n, ok := args[0].Number()
	if !ok {
		return value.Value{}
	}
	level := n.Clamp(0, 1<<16)
	for ; level > 1; level-- {
		var more bool
		if _, name, more = strings.Cut(name, "/"); !more {
			return value.Value{}
		}
	}
	if level < 1 {
		return value.Value{}
	}
	name, _, _ = strings.Cut(name, "/")
	return value.Text(name)
}

func clientID(sc *scope, _ []value.Value, _ any) value.Value {
	if id := sc.ctx.Message.Origin.ClientID; id != "" {
		return value.Text(string(id))
	}
	return value.Text("n/a")
}

func principal(sc *scope, _ []value.Value, _ any) value.Value {
	switch p := sc.ctx.Message.Origin.Principal; p.Kind {
	case iot.CertificateKind, iot.UserKind, iot.AccessKeyKind:
		return value.Text(p.ID)
	}
	return value.Value{}
}

func sourceIP(sc *scope, _ []value.Value, _ any) value.Value {
	return textOrUndefined(sc.ctx.Message.Origin.SourceIP)
}

func textOrUndefined(s string) value.Value {
	if s == "" {
		return value.Value{}
	}
	return value.Text(s)
}

// defaultAccount is the account id when none is configured.
const defaultAccount = "000000000000"

func accountID(sc *scope, _ []value.Value, _ any) value.Value {
	if sc.ctx.Account == "" {
		return value.Text(defaultAccount)
	}
	return value.Text(sc.ctx.Account)
}

func sqlVersion(sc *scope, _ []value.Value, _ any) value.Value {
	return value.Text(sc.of.dialect.Version)
}

func newUUID(sc *scope, _ []value.Value, _ any) value.Value {
	if sc.ctx.NewUUID == nil {
		return value.Value{}
	}
	return value.Text(sc.ctx.NewUUID())
}

func traceID(sc *scope, _ []value.Value, _ any) value.Value {
	if sc.ctx.Message.Origin.Protocol == 0 {
		return value.Value{}
	}
	return textOrUndefined(sc.ctx.Message.Origin.TraceID)
}

func mqttProperty(sc *scope, args []value.Value, _ any) value.Value {
	p := sc.ctx.Message.Properties
	if p == nil {
		return value.Value{}
	}
	switch args[0].Str() {
	case "content_type":
		return textOrUndefined(p.ContentType)
	case "response_topic":
		return textOrUndefined(p.ResponseTopic)
	case "correlation_data":
		return textOrUndefined(base64.StdEncoding.EncodeToString(p.CorrelationData))
	case "format_indicator":
		if !p.HasPayloadFormat {
			return value.Value{}
		}
		if p.PayloadFormat == 1 {
			return value.Text("UTF8_DATA")
		}
		return value.Text("UNSPECIFIED_BYTES")
	}
	return value.Value{}
}

func userProperties(sc *scope, args []value.Value, _ any) value.Value {
	key, ok := args[0].AsText()
	if !ok || sc.ctx.Message.Properties == nil {
		return value.Value{}
	}
	var values []value.Value
	for _, p := range sc.ctx.Message.Properties.User {
		if p.Key == key {
			values = append(values, value.Text(p.Value))
		}
	}
	if len(values) == 0 {
		return value.Value{}
	}
	return value.List(values)
}

func random(sc *scope, _ []value.Value, _ any) value.Value {
	if sc.ctx.Random == nil {
		return value.Value{}
	}
	return library.FromFloat(sc.ctx.Random())
}
