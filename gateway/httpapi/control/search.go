package control

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/presence"
	"github.com/tidehold/tidehold/gateway/registry"
)

func searchOperations() []operation {
	return []operation{
		{name: "DescribeEndpoint", method: "GET", path: "/endpoint", do: describeEndpoint},
		{name: "SearchIndex", method: "POST", path: "/indices/search", do: searchIndex},
		{name: "TagResource", method: "POST", path: "/tags", do: tagResource},
		{name: "UntagResource", method: "POST", path: "/untag", do: untagResource},
		{name: "ListTagsForResource", method: "GET", path: "/tags", do: listTags},
	}
}

// endpointTypes are those devices ask for; old command lines send none.
var endpointTypes = []string{"", "iot:Data-ATS", "iot:Data", "iot:CredentialProvider", "iot:Jobs"}

func describeEndpoint(c *call) (any, error) {
	kind := c.query.Get("endpointType")
	if !slices.Contains(endpointTypes, kind) {
		return nil, iot.Errorf(iot.InvalidRequest, "endpointType %.40q: want one of%s", kind, strings.Join(endpointTypes, " "))
	}
	return answer{"endpointAddress": c.h.cfg.Endpoint}, nil
}

func tagResource(c *call) (any, error) {
	var in struct {
		ResourceArn string `json:"resourceArn"`
		Tags        tags   `json:"tags"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	resource, err := c.resourceOf("resourceArn", in.ResourceArn)
	if err != nil {
		return nil, err
	}
	return nil, c.label(resource, in.Tags)
}

func untagResource(c *call) (any, error) {
	var in struct {
		ResourceArn string   `json:"resourceArn"`
		TagKeys     []string `json:"tagKeys"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	resource, err := c.resourceOf("resourceArn", in.ResourceArn)
	if err != nil {
		return nil, err
	}
	return nil, c.registry().Untag(c, resource, in.TagKeys)
}

func listTags(c *call) (any, error) {
	resource, err := c.resourceOf("resourceArn", c.query.Get("resourceArn"))
	if err != nil {
		return nil, err
	}
	all, err := c.registry().Tags(c, resource)
	return answer{"tags": append([]registry.Tag{}, all...)}, err
}

// term is one condition of a search: field and value, which may end in `*`.
type term struct {
	field, value string
	prefix       bool
}

// parseSearch reads `thingName:pump* AND attributes.room:cellar`, and `*` for
// everything. It is a small part of AWS's query language; the rest is
// InvalidQuery.
func parseSearch(text string) (terms []term, err error) {
	text = strings.TrimSpace(text)
	if text == "*" {
		return nil, nil
	}
	for _, part := range strings.Split(text, " AND ") {
		field, value, found := strings.Cut(strings.TrimSpace(part), ":")
		value = strings.Trim(value, `"`)
		bare, prefix := strings.CutSuffix(value, "*")
		known := slices.Contains([]string{"thingName", "thingTypeName", "thingGroupNames", "thingId", "connectivity.connected"}, field) || strings.HasPrefix(field, "attributes.")
		if !found || !known || value == "" || strings.ContainsAny(bare, " ()[]<>*?\"") {
			return nil, iot.Errorf(iot.InvalidQuery, "%.100q: this gateway searches for thingName, thingTypeName, thingGroupNames, thingId, connectivity.connected and attributes.NAME, each FIELD:VALUE or FIELD:PREFIX*, joined by AND", part)
		}
		terms = append(terms, term{field, bare, prefix})
	}
	return terms, nil
}

func (t term) fits(text string) bool {
	if t.prefix {
		return strings.HasPrefix(text, t.value)
	}
	return text == t.value
}

// matches tells whether a thing in its groups meets all terms.
func (c *call) matches(terms []term, t registry.Thing, groups []string) bool {
	for _, one := range terms {
		met := false
		switch one.field {
		case "thingName":
			met = one.fits(string(t.Name))
		case "thingTypeName":
			met = t.Type != "" && one.fits(t.Type)
		case "thingId":
			met = one.fits(t.ID)
		case "thingGroupNames":
			met = slices.ContainsFunc(groups, one.fits)
		case "connectivity.connected":
			state, seen := c.connectivity(t.Name).(presence.State)
			met = one.fits(strconv.FormatBool(seen && state.Connected))
		default:
			value, has := t.Attributes[strings.TrimPrefix(one.field, "attributes.")]
			met = has && one.fits(value)
		}
		if !met {
			return false
		}
	}
	return true
}

func searchIndex(c *call) (any, error) {
	var in struct {
		IndexName   string `json:"indexName"`
		QueryString string `json:"queryString"`
		NextToken   string `json:"nextToken"`
		MaxResults  int    `json:"maxResults"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	if err := need("queryString", in.QueryString); err != nil {
		return nil, err
	}
	if in.IndexName != "" && in.IndexName != "AWS_Things" {
		return nil, iot.Errorf(iot.NotFound, "index %.40q does not exist; there is AWS_Things", in.IndexName)
	}
	terms, err := parseSearch(in.QueryString)
	if err != nil {
		return nil, err
	}
	if in.NextToken != "" {
		c.query.Set("nextToken", in.NextToken)
	}
	after, err := c.after()
	if err != nil {
		return nil, err
	}
	size := pageMax
	if in.MaxResults > 0 {
		size = min(in.MaxResults, pageMax)
	}
	found, err := c.search(terms, after, size+1)
	found, next := cut(found, size, func(a answer) string { return string(a["thingName"].(iot.ThingName)) })
	return answer{"things": each(found, func(a answer) any { return a }), "nextToken": next}, err
}

// search walks through the things until limit of them meet the terms.
func (c *call) search(terms []term, after string, limit int) (found []answer, err error) {
	for {
		all, err := c.registry().ListThings(c, registry.ThingQuery{After: after, Limit: pageMax})
		if err != nil {
			return nil, err
		}
		for _, t := range all {
			groups, err := c.registry().GroupsOfThing(c, string(t.Name), "", pageMax)
			if err != nil && iot.CodeOf(err) != iot.NotFound {
				return nil, err
			}
			if !c.matches(terms, t, groups) {
				continue
			}
			found = append(found, compact(answer{
				"thingName": t.Name, "thingId": t.ID, "thingTypeName": orNil(t.Type), "attributes": t.Attributes,
				"thingGroupNames": slices.Concat([]string{}, groups), "connectivity": c.connectivity(t.Name),
			}))
			if len(found) == limit {
				return found, nil
			}
		}
		if len(all) < pageMax {
			return found, nil
		}
		after = string(all[len(all)-1].Name)
	}
}
