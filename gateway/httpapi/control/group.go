package control

import (
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/registry"
)

func groupOperations() []operation {
	return []operation{
		{name: "CreateThingGroup", method: "POST", path: "/thing-groups/{group}", do: createGroup},
		{name: "DescribeThingGroup", method: "GET", path: "/thing-groups/{group}", do: describeGroup},
		{name: "UpdateThingGroup", method: "PATCH", path: "/thing-groups/{group}", do: updateGroup},
		{name: "DeleteThingGroup", method: "DELETE", path: "/thing-groups/{group}", do: deleteGroup},
		{name: "ListThingGroups", method: "GET", path: "/thing-groups", do: listGroups},
		{name: "AddThingToThingGroup", method: "PUT", path: "/thing-groups/addThingToThingGroup", do: addToGroup, resource: memberGroup},
		{name: "RemoveThingFromThingGroup", method: "PUT", path: "/thing-groups/removeThingFromThingGroup", do: removeFromGroup, resource: memberGroup},
		{name: "UpdateThingGroupsForThing", method: "PUT", path: "/thing-groups/updateThingGroupsForThing", do: updateGroupsOfThing},
		{name: "ListThingsInThingGroup", method: "GET", path: "/thing-groups/{group}/things", do: listThingsInGroup},
		{name: "ListThingGroupsForThing", method: "GET", path: "/things/{thing}/thing-groups", do: listGroupsOfThing},
	}
}

type groupProperties struct {
	ThingGroupDescription *string           `json:"thingGroupDescription"`
	AttributePayload      *attributePayload `json:"attributePayload"`
}

func createGroup(c *call) (any, error) {
	var in struct {
		ParentGroupName      string          `json:"parentGroupName"`
		ThingGroupProperties groupProperties `json:"thingGroupProperties"`
		Tags                 tags            `json:"tags"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	want := registry.Group{Name: c.vars["group"], Parent: in.ParentGroupName}
	if text := in.ThingGroupProperties.ThingGroupDescription; text != nil {
		want.Description = *text
	}
	if p := in.ThingGroupProperties.AttributePayload; p != nil {
		want.Attributes = p.Attributes
	}
	g, err := c.registry().CreateGroup(c, want)
	if err == nil {
		err = c.label(registry.GroupTarget(g.Name), in.Tags)
	}
	return answer{"thingGroupName": g.Name, "thingGroupArn": c.arn(registry.GroupTarget(g.Name)), "thingGroupId": g.ID}, err
}

func describeGroup(c *call) (any, error) {
	g, above, err := c.registry().Group(c, c.vars["group"])
	if err != nil {
		return nil, err
	}
	attributes := g.Attributes
	if attributes == nil {
		attributes = map[string]string{}
	}
	return answer{
		"thingGroupName": g.Name, "thingGroupId": g.ID, "thingGroupArn": c.arn(registry.GroupTarget(g.Name)), "version": g.Version,
		"thingGroupProperties": compact(answer{
			"thingGroupDescription": orNil(g.Description), "attributePayload": answer{"attributes": attributes},
		}),
		"thingGroupMetadata": compact(answer{
			"parentGroupName": orNil(g.Parent), "rootToParentThingGroups": groupList(c, above), "creationDate": secondsMS(g.CreatedMS),
		}),
	}, nil
}

func groupList(c *call, names []string) []any {
	return each(names, func(name string) any { return answer{"groupName": name, "groupArn": c.arn(registry.GroupTarget(name))} })
}

func updateGroup(c *call) (any, error) {
	var in struct {
		ThingGroupProperties groupProperties `json:"thingGroupProperties"`
		ExpectedVersion      int64           `json:"expectedVersion"`
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	u := registry.ThingUpdate{IfVersion: in.ExpectedVersion}
	in.ThingGroupProperties.AttributePayload.apply(&u)
	version, err := c.registry().UpdateGroup(c, c.vars["group"], in.ThingGroupProperties.ThingGroupDescription, u)
	return answer{"version": version}, err
}

func deleteGroup(c *call) (any, error) {
	version, err := c.version()
	if err != nil {
		return nil, err
	}
	return nil, c.registry().DeleteGroup(c, c.vars["group"], version)
}

// listGroups: recursive is true unless asked otherwise, as at AWS: without a
// parent that means all groups, with false those at the top.
func listGroups(c *call) (any, error) {
	after, size, err := c.page()
	if err != nil {
		return nil, err
	}
	recursive := c.query.Get("recursive") != "false"
	q := registry.GroupQuery{
		After: after, Limit: size + 1, Parent: c.query.Get("parentGroup"), Prefix: c.query.Get("namePrefixFilter"), Recursive: recursive,
	}
	q.Roots = q.Parent == "" && !recursive
	all, err := c.registry().ListGroups(c, q)
	all, next := cut(all, size, func(g registry.Group) string { return g.Name })
	return answer{"thingGroups": each(all, func(g registry.Group) any {
		return answer{"groupName": g.Name, "groupArn": c.arn(registry.GroupTarget(g.Name))}
	}), "nextToken": next}, err
}

// member reads a group and a thing, each by name or by ARN.
func (c *call) member() (group, thing string, err error) {
	var in struct{ ThingGroupName, ThingGroupArn, ThingName, ThingArn string }
	if err := c.into(&in); err != nil {
		return "", "", err
	}
	if group, err = c.nameOrARN("thingGroup", in.ThingGroupName, in.ThingGroupArn, "thinggroup/"); err != nil {
		return "", "", err
	}
	thing, err = c.nameOrARN("thing", in.ThingName, in.ThingArn, "thing/")
	return group, thing, err
}

func (c *call) nameOrARN(what, name, arn, prefix string) (string, error) {
	if name != "" {
		return name, nil
	}
	resource, err := c.resourceOf(what+"Name or "+what+"Arn", arn)
	if err != nil {
		return "", err
	}
	name, is := strings.CutPrefix(resource, prefix)
	if !is {
		return "", iot.Errorf(iot.InvalidRequest, "%sArn %.200q: want an ARN of a %s", what, arn, strings.TrimSuffix(prefix, "/"))
	}
	return name, nil
}

func memberGroup(c *call) (string, error) {
	group, _, err := c.member()
	return registry.GroupTarget(group), err
}

func addToGroup(c *call) (any, error) {
	group, thing, err := c.member()
	if err != nil {
		return nil, err
	}
	return nil, c.registry().Regroup(c, thing, nil, []string{group})
}

func removeFromGroup(c *call) (any, error) {
	group, thing, err := c.member()
	if err != nil {
		return nil, err
	}
	return nil, c.registry().Regroup(c, thing, []string{group}, nil)
}

func updateGroupsOfThing(c *call) (any, error) {
	var in struct {
		ThingName           string
		ThingGroupsToAdd    []string
		ThingGroupsToRemove []string
	}
	if err := c.into(&in); err != nil {
		return nil, err
	}
	return nil, c.registry().Regroup(c, in.ThingName, in.ThingGroupsToRemove, in.ThingGroupsToAdd)
}

func listThingsInGroup(c *call) (any, error) {
	after, size, err := c.page()
	if err != nil {
		return nil, err
	}
	recursive, err := c.flag("recursive")
	if err != nil {
		return nil, err
	}
	all, err := c.registry().ThingsInGroup(c, c.vars["group"], recursive, after, size+1)
	all, next := cut(all, size, itself)
	return answer{"things": each(all, func(name string) any { return name }), "nextToken": next}, err
}

func listGroupsOfThing(c *call) (any, error) {
	after, size, err := c.page()
	if err != nil {
		return nil, err
	}
	all, err := c.registry().GroupsOfThing(c, c.vars["thing"], after, size+1)
	all, next := cut(all, size, itself)
	return answer{"thingGroups": groupList(c, all), "nextToken": next}, err
}
