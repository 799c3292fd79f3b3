package control

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/registry"
)

// pageMax is the largest page, and the one given when none is asked for.
const pageMax = 250

func (c *call) registry() *registry.Registry { return c.h.cfg.Registry }

func (c *call) arn(resource string) string { return c.h.cfg.Scope.ARN(resource) }

// into decodes the body; an empty one is an empty object. Members nobody asked
// for are ignored, as AWS does.
func (c *call) into(v any) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return nil
	}
	var judged *iot.Error
	if err := json.Unmarshal(c.body, v); errors.As(err, &judged) {
		return err
	} else if err != nil {
		return iot.Errorf(iot.InvalidRequest, "the request body is not the JSON of this operation: %v", err)
	}
	return nil
}

// flag reads `true` or `false` from the query; absent means false.
func (c *call) flag(name string) (bool, error) {
	switch text := c.query.Get(name); text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, iot.Errorf(iot.InvalidRequest, "%s=%.20q: want true or false", name, text)
	}
}

// version reads expectedVersion from the query; absent means 0.
func (c *call) version() (int64, error) {
	text := c.query.Get("expectedVersion")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, iot.Errorf(iot.InvalidRequest, "expectedVersion=%.20q: want a positive number", text)
	}
	return n, nil
}

// need refuses an absent required member.
func need(name, value string) error {
	if value == "" {
		return iot.Errorf(iot.InvalidRequest, "%s is required", name)
	}
	return nil
}

// resourceOf takes an ARN of this gateway apart.
func (c *call) resourceOf(name, arn string) (string, error) {
	if err := need(name, arn); err != nil {
		return "", err
	}
	resource, ours := c.h.cfg.Scope.Resource(arn)
	if !ours {
		return "", iot.Errorf(iot.InvalidRequest, "%s %.200q: want an ARN that begins with %s", name, arn, strings.TrimSuffix(c.arn("x"), "x"))
	}
	return resource, nil
}

// certificateOf gives the id of a certificate's ARN.
func (c *call) certificateOf(name, arn string) (string, error) {
	resource, err := c.resourceOf(name, arn)
	if err != nil {
		return "", err
	}
	id, is := strings.CutPrefix(resource, "cert/")
	if !is {
		return "", iot.Errorf(iot.InvalidRequest, "%s %.200q: want the ARN of a certificate", name, arn)
	}
	return id, nil
}

// size reads the size of a page, under either of its names.
func (c *call) size(most int) (int, error) {
	for _, name := range []string{"maxResults", "pageSize"} {
		if text := c.query.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > most {
				return 0, iot.Errorf(iot.InvalidRequest, "%s=%.20q: want 1 to %d", name, text, most)
			}
			return n, nil
		}
	}
	return pageMax, nil
}

// after reads the token of a page: what the last item of the page before was
// called.
func (c *call) after() (string, error) {
	for _, name := range []string{"nextToken", "marker"} {
		if text := c.query.Get(name); text != "" {
			key, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return "", iot.Errorf(iot.InvalidRequest, "%s is not one this gateway gave", name)
			}
			return string(key), nil
		}
	}
	return "", nil
}

// page reads size and token.
func (c *call) page() (after string, size int, err error) { return c.pageOf(pageMax) }

// pageOf is page where AWS allows other sizes.
func (c *call) pageOf(most int) (after string, size int, err error) {
	if after, err = c.after(); err == nil {
		size, err = c.size(most)
	}
	return after, size, err
}

// seq reads a page of records in the order of their creation; AWS gives the
// newest first unless asked otherwise.
func (c *call) seq() (registry.SeqQuery, error) {
	after, size, err := c.page()
	if err != nil {
		return registry.SeqQuery{}, err
	}
	ascending, err := c.flag("isAscendingOrder")
	if err != nil {
		return registry.SeqQuery{}, err
	}
	q := registry.SeqQuery{Limit: size + 1, Newest: !ascending}
	if after != "" {
		if q.After, err = strconv.ParseInt(after, 10, 64); err != nil {
			return q, iot.Errorf(iot.InvalidRequest, "marker is not one this gateway gave")
		}
	}
	return q, nil
}

// cut takes the surplus item off a page and gives the token of the next one, nil
// at the end. Lists are read one longer than asked for.
func cut[T any](all []T, size int, key func(T) string) ([]T, any) {
	if len(all) <= size {
		return all, nil
	}
	all = all[:size]
	return all, base64.StdEncoding.EncodeToString([]byte(key(all[size-1])))
}

// each converts a list; an empty one is [], not null.
func each[T any](all []T, f func(T) any) []any {
	list := make([]any, 0, len(all))
	for _, one := range all {
		list = append(list, f(one))
	}
	return list
}

func itself(name string) string { return name }

// seconds is a timestamp on the wire: seconds with a fraction.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func secondsMS(ms int64) float64 { return float64(ms) / 1000 }

// orNil leaves an empty text out of an answer.
func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// orFalse leaves a mark out of an answer unless it is set. `tideholdReadOnly` is
// ours: it stands on what the configuration declares, and AWS's clients skip it.
func orFalse(set bool) any {
	if !set {
		return nil
	}
	return true
}

// attributePayload is how attributes come in.
type attributePayload struct {
	Attributes map[string]string `json:"attributes"`
	Merge      bool              `json:"merge"`
}

// tags are labels that come in. They are judged while they are read: a creation
// that brings bad ones makes nothing.
type tags []registry.Tag

// UnmarshalJSON reads a list of Key and Value.
func (t *tags) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, (*[]registry.Tag)(t)); err != nil {
		return err
	}
	return registry.CheckTags(*t)
}

// label stores the tags that came with a creation.
func (c *call) label(resource string, t tags) error {
	if len(t) == 0 {
		return nil
	}
	return c.registry().Tag(c, resource, t)
}
