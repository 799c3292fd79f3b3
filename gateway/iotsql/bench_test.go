package iotsql

import (
	"strings"
	"testing"
)

const benchPayload = `{"id":"sensor-0042","ts":1700000000000,"t":21.53,"h":48.2,"status":"ok","state":{"reported":{"mode":"auto","limit":30}}}`

func BenchmarkEval(b *testing.B) {
	for name, sql := range map[string]string{
		"no match":   "SELECT t FROM 'a/+' WHERE t > 50",
		"star":       "SELECT * FROM 'a/+' WHERE t > 20",
		"two fields": "SELECT t, topic(2) AS s FROM 'a/+' WHERE state.reported.mode = 'auto'",
		"arithmetic": "SELECT t * 1.8 + 32 AS f, (h - 32) * 5 / 9 AS c FROM 'a/+'",
		"text":       "SELECT upper(status) + '-' + id AS s, regexp_substr(id, '[0-9]+') AS n FROM 'a/+'",
		"enrich":     "SELECT *, topic(2) AS s, timestamp() AS at FROM 'a/+'",
	} {
		b.Run(name, func(b *testing.B) {
			s := mustParse(b, sql)
			ctx := contextOf("a/b", benchPayload)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Eval(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEval_RulesShareADocument is one message against 100 rules, one of
// which fires.
func BenchmarkEval_RulesShareADocument(b *testing.B) {
	var rules []*Statement
	for range 99 {
		rules = append(rules, mustParse(b, "SELECT t FROM 'a/+' WHERE t > 50 AND status = 'bad'"))
	}
	rules = append(rules, mustParse(b, "SELECT t FROM 'a/+' WHERE t > 20"))
	ctx := contextOf("a/b", benchPayload)
	ctx.Document = documentOf(ctx.Message.Payload)
	b.ReportAllocs()
	for b.Loop() {
		ctx.Document.Reset(ctx.Message.Payload)
		for _, s := range rules {
			if _, err := s.Eval(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkState(b *testing.B) {
	for name, sql := range map[string]string{
		"tumbling": "SELECT avg(t) AS t, max(t) AS hi, count(*) AS n FROM 'a/+' GROUP BY topic(2) WINDOW TUMBLING(1m)",
		"changed":  "SELECT t FROM 'a/+' WHERE changed(t, 0.5) OR every(10m) GROUP BY topic(2)",
	} {
		b.Run(name, func(b *testing.B) {
			st := mustParse(b, sql).NewState()
			ctx := contextOf("a/b", benchPayload)
			ctx.NowMS = 0
			b.ReportAllocs()
			for b.Loop() {
				ctx.NowMS += 100
				ctx.UpMS += 100
				st.Handle(ctx, func(Output, error) {})
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	sql := "SET @f = t * 1.8 + 32 SELECT topic(2) AS room, @f AS f, upper(status) AS s FROM 'a/+' WHERE @f > 60 AND NOT startswith(id, 'x')"
	b.ReportAllocs()
	for b.Loop() {
		mustParse(b, sql)
	}
}

func BenchmarkDocument_LargePayload(b *testing.B) {
	payload := `{"list":[` + strings.Repeat(`{"a":1.5,"b":"some text","c":[1,2,3]},`, 500) + `0],"t":21.5}`
	s := mustParse(b, "SELECT t FROM 'a/+' WHERE t > 50")
	ctx := contextOf("a/b", payload)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Eval(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
