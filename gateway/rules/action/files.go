package action

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/rules/folder"
	"github.com/tidehold/tidehold/gateway/rules/role"
)

// bucketForm is AWS's form of a bucket's name.
var bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func object(d *draft) planner {
	var f struct {
		Bucket  string `json:"bucketName"`
		Key     string `json:"key"`
		ACL     string `json:"cannedAcl"` // files belong to the gateway
		RoleARN string `json:"roleArn"`
	}
	d.read(&f)
	bucket, key := d.required("bucketName", f.Bucket), d.required("key", f.Key)
	d.by(f.RoleARN)
	return func(_ context.Context, w *World, c *Call, texts []string) (Plan, error) {
		name := bucket.of(texts) + "/" + key.of(texts)
		plan := Plan{Resource: name, Needs: []role.Need{{Action: "s3:PutObject", Resource: name}}}
		switch {
		case w.Buckets == nil:
			return plan, unavailable("a folder of buckets is")
		case !bucketForm.MatchString(bucket.of(texts)) || strings.Contains(bucket.of(texts), ".."):
			return plan, iot.Errorf(iot.InvalidRequest, "bucketName %q: want 3 to 63 characters of a-z 0-9 . -", bucket.of(texts))
		}
		plan.do = func(context.Context) error { return w.Buckets.Put(name, c.Payload) }
		return plan, folder.CheckName(name)
	}
}

func file(d *draft) planner {
	var f struct {
		Path    string   `json:"path"`
		Format  string   `json:"format"`
		Columns []string `json:"columns"`
		Max     int64    `json:"maxBytes"`
		Keep    int      `json:"keep"`
		RoleARN string   `json:"roleArn"`
	}
	d.read(&f)
	name := d.required("path", f.Path)
	lines, err := folder.Lines{MaxBytes: f.Max, Keep: f.Keep}.WithDefaults()
	if err != nil {
		d.fail(err)
	}
	switch f.Format {
	case "", "jsonl":
		if len(f.Columns) > 0 {
			d.refuse("columns are for format csv")
		}
	case "csv":
		if len(f.Columns) == 0 {
			d.refuse("columns are missing; format csv needs them")
		}
		lines.Head = csvLine(f.Columns)
	default:
		d.refuse("format %q: want jsonl or csv", f.Format)
	}
	d.by(f.RoleARN)
	return func(_ context.Context, w *World, c *Call, texts []string) (Plan, error) {
		plan := Plan{Resource: name.of(texts), Needs: []role.Need{{Action: "file:Append", Resource: "file/" + name.of(texts)}}}
		if w.Files == nil {
			return plan, unavailable("a folder of files is")
		}
		if err := folder.CheckName(plan.Resource); err != nil {
			return plan, err
		}
		line, err := lineOf(c.Payload, f.Columns)
		plan.do = func(context.Context) error { return w.Files.Append(plan.Resource, line, lines) }
		return plan, err
	}
}

// lineOf is a result as one line: JSON, or its members in the columns.
func lineOf(result []byte, columns []string) ([]byte, error) {
	if len(columns) == 0 {
		var line bytes.Buffer
		if err := json.Compact(&line, result); err != nil {
			return nil, iot.Errorf(iot.InvalidRequest, "the result is no JSON")
		}
		line.WriteByte('\n')
		return line.Bytes(), nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(result, &members) != nil || members == nil {
		return nil, iot.Errorf(iot.InvalidRequest, "the result is no JSON object")
	}
	cells := make([]string, len(columns))
	for i, column := range columns {
		raw := members[column]
		if json.Unmarshal(raw, &cells[i]) != nil && !bytes.Equal(raw, []byte("null")) {
			cells[i] = string(raw)
		}
	}
	return csvLine(cells), nil
}

func csvLine(cells []string) []byte {
	var line bytes.Buffer
	w := csv.NewWriter(&line)
	_ = w.Write(cells) // a buffer takes everything
	w.Flush()
	return line.Bytes()
}

// logGroup is the local stream of cloudwatchLogs: a rotated file per group.
func logGroup(d *draft) planner {
	var f struct {
		Group   string `json:"logGroupName"`
		Batch   bool   `json:"batchMode"`
		RoleARN string `json:"roleArn"`
	}
	d.read(&f)
	name := d.required("logGroupName", f.Group)
	lines, _ := folder.Lines{}.WithDefaults() // the zero value is in range
	d.by(f.RoleARN)
	return func(_ context.Context, w *World, c *Call, texts []string) (Plan, error) {
		group := strings.TrimPrefix(name.of(texts), "/")
		plan := Plan{Resource: name.of(texts), Needs: []role.Need{{Action: "logs:PutLogEvents", Resource: "log-group/" + group}}}
		if w.Files == nil {
			return plan, unavailable("a folder of files is")
		}
		path := "logs/" + group + ".jsonl"
		if err := folder.CheckName(path); err != nil {
			return plan, err
		}
		events, err := w.events(c, f.Batch)
		plan.do = func(context.Context) error { return w.Files.Append(path, events, lines) }
		return plan, err
	}
}

// logEvent is one line of a log group.
type logEvent struct {
	Timestamp int64           `json:"timestamp"`
	Message   json.RawMessage `json:"message"`
}

// events are the lines of one result: in batch mode one of each element.
func (w *World) events(c *Call, batch bool) ([]byte, error) {
	list := []logEvent{{w.Clock.Now().UnixMilli(), c.Payload}}
	if !json.Valid(c.Payload) {
		text, err := json.Marshal(string(c.Payload))
		if err != nil {
			return nil, err
		}
		list[0].Message = text
	}
	if batch {
		list = nil
		if json.Unmarshal(c.Payload, &list) != nil || len(list) == 0 {
			return nil, iot.Errorf(iot.InvalidRequest, "batchMode: the result is no array of {timestamp, message}")
		}
	}
	var out []byte
	for _, e := range list {
		line, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		out = append(append(out, line...), '\n')
	}
	return out, nil
}
