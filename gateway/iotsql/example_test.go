package iotsql_test

import (
	"fmt"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/iotsql"
)

func ExampleStatement_Eval() {
	s, err := iotsql.Parse("SELECT topic(2) AS room, t * 1.8 + 32 AS f FROM 'rooms/+' WHERE t > 20", iotsql.Version2016)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := &iotsql.Context{} // one per rule, used again for each message
	for _, payload := range []string{`{"t":21.5}`, `{"t":18}`, `no json`} {
		ctx.Message = iot.Message{Topic: "rooms/kitchen", Payload: []byte(payload)}
		out, err := s.Eval(ctx)
		fmt.Println(out.Fired, string(out.Payload), err)
	}
	// Output:
	// true {"room":"kitchen","f":70.70} <nil>
	// false  <nil>
	// false  <nil>
}

func ExampleParse_error() {
	_, err := iotsql.Parse("SELECT t\nFROM 'rooms/+' WHRE t > 20", iotsql.Version2016)
	fmt.Println(err)
	// Output:
	// sql line 2, column 16: found "WHRE", expected the end of the statement or an operator
}

func ExampleTemplate() {
	s, _ := iotsql.Parse("SET @id = lower(id) SELECT * FROM 'in/+'", iotsql.Version2016)
	t, err := iotsql.ParseTemplate("out/${@id}/${topic(2)}", s)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := &iotsql.Context{Message: iot.Message{Topic: "in/a", Payload: []byte(`{"id":"P-3"}`)}}
	if _, err := s.Eval(ctx); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(t.Eval(ctx))
	// Output:
	// out/p-3/a <nil>
}

func ExampleState() {
	s, _ := iotsql.Parse("SELECT topic(2) AS door FROM 'doors/+' WHERE open FOR 5m GROUP BY topic(2)", iotsql.Version2016)
	memory := s.NewState()
	ctx := &iotsql.Context{Message: iot.Message{Topic: "doors/a", Payload: []byte(`{"open":true}`)}}
	emit := func(out iotsql.Output, err error) { fmt.Println(ctx.NowMS, string(out.Payload), err) }
	memory.Handle(ctx, emit)
	fmt.Println(memory.Wait())
	ctx.NowMS, ctx.UpMS = 300_000, 300_000
	memory.Tick(ctx, emit)
	// Output:
	// 300000 true
	// 300000 {"door":"a"} <nil>
}
