package control

import (
	"maps"
	"slices"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/registry"
)

func thingOperations() []operation {
	return []operation{
		{name: "CreateThing", method: "POST", path: "/things/{thing}", do: createThing},
		{name: "DescribeThing", method: "GET", path: "/things/{thing}", do: describeThing},
		{name: "UpdateThing", method: "PATCH", path: "/things/{thing}", do: updateThing},
		{name: "DeleteThing", method: "DELETE", path: "/things/{thing}", do: deleteThing},
		{name: "ListThings", method: "GET", path: "/things", do: listThings},
		{name: "AttachThingPrincipal", method: "PUT", path: "/things/{thing}/principals", do: attachThing},
		{name: "DetachThingPrincipal", method: "DELETE", path: "/things/{thing}/principals", do: detachThing},
		{name: "ListThingPrincipals", method: "GET", path: "/things/{thing}/principals", do: listPrincipals},
		{name: "ListThingPrincipalsV2", method: "GET", path: "/things/{thing}/principals-v2", do: listPrincipalsV2},
		{name: "ListPrincipalThings", method: "GET", path: "/principals/things", do: listPrincipalThings},
		{name: "ListPrincipalThingsV2", method: "GET", path: "/principals/things-v2", do: listPrincipalThingsV2},
		{name: "CreateThingType", method: "POST", path: "/thing-types/{type}", do: createType},
		{name: "DescribeThingType", method: "GET", path: "/thing-types/{type}", do: describeType},
		{name: "ListThingTypes", method: "GET", path: "/thing-types", do: listTypes},
		{name: "DeprecateThingType", method: "POST", path: "/thing-types/{type}/deprecate", do: deprecateType},
		{name: "DeleteThingType", method: "DELETE", path: "/thing-types/{type}", do: deleteType},
	}
}

func createThing(c *call) (any, error) {
	var in struct {
		ThingTypeName    string           `json:"thingTypeName"`
		AttributePayload attributePayload `json:"attributePayload"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	t, err := c.registry().CreateThing(c, registry.Thing{
		Name: iot.ThingName(c.vars["thing"]), Type: in.ThingTypeName, Attributes: in.AttributePayload.Attributes,
	})
	return answer{"thingName": t.Name, "thingArn": c.arn("thing/" + string(t.Name)), "thingId": t.ID}, err
}

func describeThing(c *call) (any, error) {
	t, found := c.registry().Thing(iot.ThingName(c.vars["thing"]))
	if !found {
		return nil, iot.Errorf(iot.NotFound, "Thing %s cannot be found.", c.vars["thing"])
	}
	a := thingItem(c, t)
	a["defaultClientId"], a["thingId"] = t.Name, t.ID
	return a, nil
}

func thingItem(c *call, t registry.Thing) answer {
	attributes := t.Attributes
	if attributes == nil {
		attributes = map[string]string{}
	}
	return compact(answer{
		"thingName": t.Name, "thingArn": c.arn("thing/" + string(t.Name)), "thingTypeName": orNil(t.Type),
		"attributes": attributes, "version": t.Version, "tideholdReadOnly": orFalse(t.Static),
		"connectivity": c.connectivity(t.Name),
	})
}

// connectivity is that of the client with the name of a thing, as AWS's fleet
// index has it; nil for one that was never seen.
func (c *call) connectivity(name iot.ThingName) any {
	if c.h.cfg.Connectivity == nil {
		return nil
	}
	state, seen := c.h.cfg.Connectivity(iot.ClientID(name))
	if !seen {
		return nil
	}
	return state
}

// compact leaves nil members out of an item of a list.
func compact(a answer) answer {
	maps.DeleteFunc(a, func(_ string, member any) bool { return member == nil })
	return a
}

func updateThing(c *call) (any, error) {
	var in struct {
		ThingTypeName    string            `json:"thingTypeName"`
		AttributePayload *attributePayload `json:"attributePayload"`
		ExpectedVersion  int64             `json:"expectedVersion"`
		RemoveThingType  bool              `json:"removeThingType"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	u := registry.ThingUpdate{Type: in.ThingTypeName, RemoveType: in.RemoveThingType, IfVersion: in.ExpectedVersion}
	in.AttributePayload.apply(&u)
	return nil, c.registry().UpdateThing(c, c.vars["thing"], u)
}

// apply hands the attributes on; a payload without the member keeps them.
func (p *attributePayload) apply(u *registry.ThingUpdate) {
	if p != nil {
		u.Attributes, u.Merge = p.Attributes, p.Merge
	}
}

func deleteThing(c *call) (any, error) {
	version, err := c.version()
	if err != nil {
		return nil, err
	}
	return nil, c.registry().DeleteThing(c, c.vars["thing"], version)
}

func listThings(c *call) (any, error) {
	after, size, err := c.page()
	if err != nil {
		return nil, err
	}
	prefix, err := c.flag("usePrefixAttributeValue")
	if err != nil {
		return nil, err
	}
	all, err := c.registry().ListThings(c, registry.ThingQuery{
		After: after, Limit: size + 1, Type: c.query.Get("thingTypeName"),
		Attribute: c.query.Get("attributeName"), Value: c.query.Get("attributeValue"), Prefix: prefix,
	})
	all, next := cut(all, size, func(t registry.Thing) string { return string(t.Name) })
	return answer{"things": each(all, func(t registry.Thing) any { return thingItem(c, t) }), "nextToken": next}, err
}

func attachThing(c *call) (any, error) {
	id, err := c.certificateOf("x-amzn-principal", c.header.Get("X-Amzn-Principal"))
	if err != nil {
		return nil, err
	}
	kind := c.query.Get("thingPrincipalType")
	if kind != "" && kind != "EXCLUSIVE_THING" && kind != "NON_EXCLUSIVE_THING" {
		return nil, iot.Errorf(iot.InvalidRequest, "thingPrincipalType %.40q: want EXCLUSIVE_THING or NON_EXCLUSIVE_THING", kind)
	}
	return nil, c.registry().AttachThing(c, id, c.vars["thing"], kind == "EXCLUSIVE_THING")
}

func detachThing(c *call) (any, error) {
	id, err := c.certificateOf("x-amzn-principal", c.header.Get("X-Amzn-Principal"))
	if err != nil {
		return nil, err
	}
	return nil, c.registry().DetachThing(c, id, c.vars["thing"])
}

func principals(c *call) ([]registry.Binding, any, error) {
	after, size, err := c.page()
	if err != nil {
		return nil, nil, err
	}
	all, err := c.registry().Principals(c, c.vars["thing"], after, size+1)
	all, next := cut(all, size, func(b registry.Binding) string { return b.Name })
	return all, next, err
}

func listPrincipals(c *call) (any, error) {
	all, next, err := principals(c)
	return answer{"principals": each(all, func(b registry.Binding) any { return c.arn("cert/" + b.Name) }), "nextToken": next}, err
}

func listPrincipalsV2(c *call) (any, error) {
	all, next, err := principals(c)
	return answer{"thingPrincipalObjects": each(all, func(b registry.Binding) any {
		return answer{"principal": c.arn("cert/" + b.Name), "thingPrincipalType": bindingKind(b)}
	}), "nextToken": next}, err
}

func bindingKind(b registry.Binding) string {
	if b.Exclusive {
		return "EXCLUSIVE_THING"
	}
	return "NON_EXCLUSIVE_THING"
}

func principalThings(c *call) ([]registry.Binding, any, error) {
	after, size, err := c.page()
	if err != nil {
		return nil, nil, err
	}
	id, err := c.certificateOf("x-amzn-principal", c.header.Get("X-Amzn-Principal"))
	if err != nil {
		return nil, nil, err
	}
	all, err := c.registry().ThingsOf(c, id, after, size+1)
	all, next := cut(all, size, func(b registry.Binding) string { return b.Name })
	return all, next, err
}

func listPrincipalThings(c *call) (any, error) {
	all, next, err := principalThings(c)
	return answer{"things": each(all, func(b registry.Binding) any { return b.Name }), "nextToken": next}, err
}

func listPrincipalThingsV2(c *call) (any, error) {
	all, next, err := principalThings(c)
	return answer{"principalThingObjects": each(all, func(b registry.Binding) any {
		return answer{"thingName": b.Name, "thingPrincipalType": bindingKind(b)}
	}), "nextToken": next}, err
}

func createType(c *call) (any, error) {
	var in struct {
		ThingTypeProperties struct {
			ThingTypeDescription string   `json:"thingTypeDescription"`
			SearchableAttributes []string `json:"searchableAttributes"`
		} `json:"thingTypeProperties"`
		Tags tags `json:"tags"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	t, err := c.registry().CreateType(c, registry.ThingType{
		Name: c.vars["type"], Description: in.ThingTypeProperties.ThingTypeDescription, Searchable: in.ThingTypeProperties.SearchableAttributes,
	})
	if err == nil {
		err = c.label("thingtype/"+t.Name, in.Tags)
	}
	return answer{"thingTypeName": t.Name, "thingTypeArn": c.arn("thingtype/" + t.Name), "thingTypeId": t.ID}, err
}

func typeItem(c *call, t registry.ThingType) answer {
	about := answer{"deprecated": t.DeprecatedMS != 0, "creationDate": secondsMS(t.CreatedMS)}
	if t.DeprecatedMS != 0 {
		about["deprecationDate"] = secondsMS(t.DeprecatedMS)
	}
	return answer{
		"thingTypeName": t.Name, "thingTypeArn": c.arn("thingtype/" + t.Name), "thingTypeMetadata": about,
		"thingTypeProperties": compact(answer{"thingTypeDescription": orNil(t.Description), "searchableAttributes": slices.Concat([]string{}, t.Searchable)}),
	}
}

func describeType(c *call) (any, error) {
	t, err := c.registry().Type(c, c.vars["type"])
	a := typeItem(c, t)
	a["thingTypeId"] = t.ID
	return a, err
}

func listTypes(c *call) (any, error) {
	after, size, err := c.page()
	if err != nil {
		return nil, err
	}
	if name := c.query.Get("thingTypeName"); name != "" {
		t, err := c.registry().Type(c, name)
		if iot.CodeOf(err) == iot.NotFound && err != nil {
			return answer{"thingTypes": []any{}}, nil
		}
		return answer{"thingTypes": []any{typeItem(c, t)}}, err
	}
	all, err := c.registry().ListTypes(c, after, size+1)
	all, next := cut(all, size, func(t registry.ThingType) string { return t.Name })
	return answer{"thingTypes": each(all, func(t registry.ThingType) any { return typeItem(c, t) }), "nextToken": next}, err
}

func deprecateType(c *call) (any, error) {
	var in struct {
		UndoDeprecate bool `json:"undoDeprecate"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	return nil, c.registry().DeprecateType(c, c.vars["type"], in.UndoDeprecate)
}

func deleteType(c *call) (any, error) { return nil, c.registry().DeleteType(c, c.vars["type"]) }
