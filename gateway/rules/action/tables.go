package action

import (
	"context"
	"strconv"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/rules/role"
	"github.com/tidehold/tidehold/gateway/rules/table"
)

// onTable begins the plan of an action on a table.
func (w *World) onTable(name, permission string) (Plan, error) {
	plan := Plan{Resource: name, Needs: []role.Need{{Action: permission, Resource: "table/" + name}}}
	if w.Tables == nil {
		return plan, iot.Errorf(iot.Unavailable, "tables.db is not open; see the gateway's health")
	}
	return plan, table.CheckName(name)
}

func dynamoV2(d *draft) planner {
	var f struct {
		PutItem struct {
			Table string `json:"tableName"`
		} `json:"putItem"`
		RoleARN string `json:"roleArn"`
	}
	d.read(&f)
	name := d.required("putItem.tableName", f.PutItem.Table)
	d.by(f.RoleARN)
	return func(_ context.Context, w *World, c *Call, texts []string) (Plan, error) {
		plan, err := w.onTable(name.of(texts), "dynamodb:PutItem")
		plan.do = func(ctx context.Context) error { return w.Tables.Put(ctx, name.of(texts), c.Payload) }
		return plan, err
	}
}

// operations of dynamoDB and what they need.
var operations = map[string]string{
	table.Insert: "dynamodb:PutItem", table.Update: "dynamodb:UpdateItem", table.Delete: "dynamodb:DeleteItem",
}

func dynamo(d *draft) planner {
	var f struct {
		Table      string `json:"tableName"`
		HashField  string `json:"hashKeyField"`
		HashType   string `json:"hashKeyType"`
		HashValue  string `json:"hashKeyValue"`
		RangeField string `json:"rangeKeyField"`
		RangeType  string `json:"rangeKeyType"`
		RangeValue string `json:"rangeKeyValue"`
		Payload    string `json:"payloadField"`
		Operation  string `json:"operation"`
		RoleARN    string `json:"roleArn"`
	}
	d.read(&f)
	if f.Payload == "" {
		f.Payload = "payload"
	}
	if f.Operation == "" {
		f.Operation = table.Insert
	}
	if (f.RangeField == "") != (f.RangeValue == "") {
		d.refuse("rangeKeyField and rangeKeyValue are given both or not at all")
	}
	name, operation, column := d.required("tableName", f.Table), d.required("operation", f.Operation), d.required("payloadField", f.Payload)
	hash, hashValue := d.required("hashKeyField", f.HashField), d.required("hashKeyValue", f.HashValue)
	ranged, rangeValue := d.optional("rangeKeyField", f.RangeField), d.optional("rangeKeyValue", f.RangeValue)
	d.by(f.RoleARN)
	return func(_ context.Context, w *World, c *Call, texts []string) (Plan, error) {
		verb := strings.ToUpper(operation.of(texts))
		plan, err := w.onTable(name.of(texts), operations[verb])
		if operations[verb] == "" {
			return plan, iot.Errorf(iot.InvalidRequest, "operation %q: want INSERT, UPDATE or DELETE", operation.of(texts))
		}
		change := table.Change{Table: name.of(texts), Operation: verb, Column: column.of(texts), Payload: c.Payload,
			Keys: []table.Key{{Column: hash.of(texts), Value: table.KeyValue(hashValue.of(texts), f.HashType == "NUMBER")}}}
		if ranged >= 0 {
			change.Keys = append(change.Keys, table.Key{Column: ranged.of(texts), Value: table.KeyValue(rangeValue.of(texts), f.RangeType == "NUMBER")})
		}
		plan.do = func(ctx context.Context) error { return w.Tables.Change(ctx, change) }
		return plan, err
	}
}

// perMS is how many of a unit make a millisecond, or, below zero, how many
// milliseconds make the unit.
var perMS = map[string]int64{"": 1, "MILLISECONDS": 1, "SECONDS": -1000, "MICROSECONDS": 1000, "NANOSECONDS": 1_000_000}

func timestream(d *draft) planner {
	var f struct {
		Database   string `json:"databaseName"`
		Table      string `json:"tableName"`
		Dimensions []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"dimensions"`
		Timestamp *struct {
			Value string `json:"value"`
			Unit  string `json:"unit"`
		} `json:"timestamp"`
		RoleARN string `json:"roleArn"`
	}
	d.read(&f)
	database, name := d.required("databaseName", f.Database), d.required("tableName", f.Table)
	if len(f.Dimensions) == 0 {
		d.refuse("dimensions are missing; want at least one")
	}
	var values []slot
	for _, dimension := range f.Dimensions {
		values = append(values, d.required("dimensions.value", dimension.Value))
		if dimension.Name == "" {
			d.refuse("dimensions: a name is missing")
		}
	}
	at, unit := slot(-1), slot(-1)
	if f.Timestamp != nil {
		at, unit = d.required("timestamp.value", f.Timestamp.Value), d.optional("timestamp.unit", f.Timestamp.Unit)
	}
	d.by(f.RoleARN)
	return func(_ context.Context, w *World, c *Call, texts []string) (Plan, error) {
		plan, err := w.onTable(name.of(texts), "timestream:WriteRecords")
		if err != nil {
			return plan, err
		}
		r := table.Record{Database: database.of(texts), Table: name.of(texts), TimeMS: w.Clock.Now().UnixMilli(), Result: c.Payload}
		if at >= 0 {
			r.TimeMS, err = milliseconds(at.of(texts), unit.of(texts))
		}
		for i, dimension := range f.Dimensions {
			r.Dimensions = append(r.Dimensions, table.Dimension{Name: dimension.Name, Value: values[i].of(texts)})
		}
		plan.do = func(ctx context.Context) error { return w.Tables.Append(ctx, r) }
		return plan, err
	}
}

func milliseconds(value, unit string) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return 0, iot.Errorf(iot.InvalidRequest, "timestamp.value %q: want a whole number", value)
	}
	per, ok := perMS[strings.ToUpper(unit)]
	switch {
	case !ok:
		return 0, iot.Errorf(iot.InvalidRequest, "timestamp.unit %q: want SECONDS, MILLISECONDS, MICROSECONDS or NANOSECONDS", unit)
	case per > 0:
		return n / per, nil
	case n > 1<<50:
		return 0, iot.Errorf(iot.InvalidRequest, "timestamp.value %q is too large", value)
	}
	return n * -per, nil
}

func statement(d *draft) planner {
	var f struct {
		Statement string     `json:"statement"`
		Mode      table.Mode `json:"mode"`
		Result    string     `json:"resultTopic"`
		RoleARN   string     `json:"roleArn"`
	}
	d.read(&f)
	if f.Mode == "" {
		f.Mode = table.ModeExec
	}
	parsed, err := table.Parse(f.Statement, f.Mode)
	if err != nil {
		d.fail(err)
	}
	result := d.optional("resultTopic", dollar(f.Result))
	if (result >= 0) != (f.Mode == table.ModeQuery) {
		d.refuse("resultTopic is for mode query, and needed there")
	}
	d.by(f.RoleARN)
	return func(ctx context.Context, w *World, c *Call, texts []string) (Plan, error) {
		plan := Plan{Resource: "tables.db"}
		if w.Tables == nil {
			return plan, iot.Errorf(iot.Unavailable, "tables.db is not open; see the gateway's health")
		}
		looking, cancel := context.WithTimeout(ctx, d.action.limit)
		defer cancel()
		var err error
		if plan.Needs, err = w.Tables.Needs(looking, parsed); err != nil {
			return plan, err
		}
		if len(plan.Needs) > 0 {
			plan.Resource = strings.TrimPrefix(plan.Needs[0].Resource, "table/")
		}
		by := d.action.role
		allow := func(n role.Need) error { return w.Allow(by, n) }
		if f.Mode == table.ModeExec {
			plan.do = func(ctx context.Context) error { return w.Tables.Exec(ctx, parsed, c.Payload, allow) }
			return plan, nil
		}
		need, err := ownTopic(result.of(texts))
		if err != nil {
			return plan, err
		}
		plan.Needs = append(plan.Needs, need)
		m, err := w.born(c, result.of(texts), 1, nil)
		plan.do = func(ctx context.Context) (err error) {
			if m.Payload, err = w.Tables.Query(ctx, parsed, c.Payload, allow); err == nil {
				w.Publisher.Publish(m)
			}
			return err
		}
		return plan, err
	}
}
