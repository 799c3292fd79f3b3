package policy

import (
	"fmt"
	"strings"
	"testing"
)

// tenPolicies are 10 documents of about 2 kB each (security.md 1.5).
func tenPolicies(b testing.TB) []Named {
	b.Helper()
	var all []Named
	for i := range 10 {
		var statements []string
		for j := range 9 {
			statements = append(statements, fmt.Sprintf(`{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":["arn:aws:iot:us-east-1:000000000000:topic/site-%d/${iot:ClientId}/%d/*/state","arn:aws:iot:us-east-1:000000000000:topic/hall-%d/*"]}`, i, j, j))
		}
		d, err := Parse([]byte(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`))
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, Named{Name: fmt.Sprint("p", i), Document: d})
	}
	return all
}

func BenchmarkEvaluate_TenPoliciesOf2kB(b *testing.B) {
	c := Compile(tenPolicies(b), Connection{ClientID: "pump-1"}, home)
	for _, topic := range []string{"site-9/pump-1/8/x/state", "site-9/pump-1/8/x/none"} {
		resource := "topic/" + topic
		b.Run(topic, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Evaluate(Request{Action: "iot:Publish", Resource: resource})
			}
		})
	}
}

func BenchmarkCompile_TenPoliciesOf2kB(b *testing.B) {
	named := tenPolicies(b)
	b.ReportAllocs()
	for b.Loop() {
		Compile(named, Connection{ClientID: "pump-1"}, home)
	}
}

func TestEvaluate_AllocatesNothingOnTheMessagePath(t *testing.T) {
	c := Compile(tenPolicies(t), Connection{ClientID: "pump-1"}, home)
	r := Request{Action: "iot:Publish", Resource: "topic/site-9/pump-1/8/x/none"}
	if n := testing.AllocsPerRun(100, func() { c.Evaluate(r) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
