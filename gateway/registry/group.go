package registry

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/registry/row"
	"github.com/tidehold/tidehold/gateway/registry/table"
	"github.com/tidehold/tidehold/gateway/store"
)

// Group is a static thing group.
type Group struct {
	Name, ID string
	// Parent is empty for a root.
	Parent      string
	Description string
	Attributes  map[string]string
	Version     int64
	// Static is set on groups that the configuration names.
	Static    bool
	CreatedMS int64
}

// Limits of groups (AWS).
const (
	groupDepthMax       = 7
	groupsOfThingMax    = 10
	groupAttributesMax  = 50
	policiesOfGroupMax  = 2
	policiesOfPeopleMax = 10 // policies of one certificate
)

func scanGroup(s store.Scan) (g Group, err error) {
	var attributes string
	var static int
	if err := s(&g.Name, &g.ID, &g.Parent, &g.Description, &attributes, &g.Version, &static, &g.CreatedMS); err != nil {
		return g, err
	}
	g.Static = static == 1
	return g, json.Unmarshal([]byte(attributes), &g.Attributes)
}

func groupOf(tx *store.Tx, name string) (Group, error) {
	g, found, err := row.One(tx, table.SelectGroup, scanGroup, name)
	if err == nil && !found {
		err = missing("thing group", name)
	}
	return g, err
}

func saveGroup(tx *store.Tx, g Group) error {
	static := 0
	if g.Static {
		static = 1
	}
	_, err := tx.Exec(table.UpsertGroup, g.Name, g.ID, g.Parent, g.Description, encodeMap(g.Attributes), g.Version, static, g.CreatedMS)
	return err
}

// CreateGroup makes a group below its parent. The same again gives the one
// there is; another one of the name is AlreadyExists, an unknown parent NotFound.
func (r *Registry) CreateGroup(ctx context.Context, want Group) (Group, error) {
	if err := checkName("thing group", want.Name); err != nil {
		return Group{}, err
	}
	want.Attributes = withoutEmpty(want.Attributes)
	if err := checkAttributes(want.Attributes, groupAttributesMax); err != nil {
		return Group{}, err
	}
	want.ID, want.Version, want.Static, want.CreatedMS = r.ids.UUID(), 1, false, r.nowMS()
	err := r.write(ctx, Change{GroupChange, want.Name}, "create thing group", func(tx *store.Tx) error {
		have, err := groupOf(tx, want.Name)
		if err == nil {
			if have.Parent != want.Parent || have.Description != want.Description || !maps.Equal(have.Attributes, want.Attributes) {
				return iot.Errorf(iot.AlreadyExists, "thing group %q already exists with other properties", want.Name)
			}
			want = have
			return nil
		}
		if iot.CodeOf(err) != iot.NotFound {
			return err
		}
		if err := checkParent(tx, want.Parent); err != nil {
			return err
		}
		if err := atMost(tx, GroupsMax, "thing groups", table.CountGroups); err != nil {
			return err
		}
		return saveGroup(tx, want)
	})
	return want, err
}

func checkParent(tx *store.Tx, parent string) error {
	if parent == "" {
		return nil
	}
	line, err := lineage(tx, parent)
	if err == nil && len(line) >= groupDepthMax {
		err = iot.Errorf(iot.InvalidRequest, "thing group %q is %d levels deep, the most there may be", parent, len(line))
	}
	return err
}

// lineage gives a group and all groups above it, from the group to the root.
func lineage(tx *store.Tx, name string) (line []string, err error) {
	for name != "" && len(line) <= groupDepthMax {
		g, err := groupOf(tx, name)
		if err != nil {
			return nil, err
		}
		line, name = append(line, g.Name), g.Parent
	}
	return line, nil
}

// ensureGroup makes a group that a thing of the configuration names.
func (r *Registry) ensureGroup(tx *store.Tx, name string) error {
	if err := checkName("thing group", name); err != nil {
		return err
	}
	_, err := groupOf(tx, name)
	if iot.CodeOf(err) == iot.NotFound {
		err = saveGroup(tx, Group{Name: name, ID: r.ids.UUID(), Version: 1, Static: true, CreatedMS: r.nowMS()})
	}
	return err
}

// Group finds a group and the names of those above it, from the root down:
// NotFound.
func (r *Registry) Group(ctx context.Context, name string) (g Group, above []string, err error) {
	err = r.read(ctx, "find thing group", func(tx *store.Tx) error {
		if g, err = groupOf(tx, name); err != nil {
			return err
		}
		line, err := lineage(tx, g.Parent)
		for i := len(line) - 1; i >= 0; i-- {
			above = append(above, line[i])
		}
		return err
	})
	return g, above, err
}

// UpdateGroup changes description and attributes (nil keeps them) and gives the
// new version. Version 0 means any.
func (r *Registry) UpdateGroup(ctx context.Context, name string, description *string, u ThingUpdate) (version int64, err error) {
	err = r.write(ctx, Change{GroupChange, name}, "update thing group", func(tx *store.Tx) error {
		g, err := groupOf(tx, name)
		switch {
		case err != nil:
			return err
		case u.IfVersion != 0 && u.IfVersion != g.Version:
			return iot.Errorf(iot.VersionConflict, "thing group %q has version %d, not %d", name, g.Version, u.IfVersion)
		}
		if description != nil {
			g.Description = *description
		}
		g.Attributes = changed(g.Attributes, u)
		if err := checkAttributes(g.Attributes, groupAttributesMax); err != nil {
			return err
		}
		g.Version++
		version = g.Version
		return saveGroup(tx, g)
	})
	return version, err
}

// DeleteGroup removes a group without children; one that does not exist is no
// error.
func (r *Registry) DeleteGroup(ctx context.Context, name string, ifVersion int64) error {
	return r.write(ctx, Change{GroupChange, name}, "delete thing group", func(tx *store.Tx) error {
		g, err := groupOf(tx, name)
		switch {
		case iot.CodeOf(err) == iot.NotFound:
			return nil
		case err != nil:
			return err
		case g.Static:
			return fixed("thing group", name)
		case ifVersion != 0 && ifVersion != g.Version:
			return iot.Errorf(iot.VersionConflict, "thing group %q has version %d, not %d", name, g.Version, ifVersion)
		}
		if n, err := row.Number(tx, table.CountChildren, name); err != nil || n > 0 {
			return either(err, iot.Errorf(iot.InvalidRequest, "thing group %q has %d child groups; delete them first", name, n))
		}
		if err := row.Exec(tx, []string{table.DeleteGroup, table.DeleteMembers}, name); err != nil {
			return err
		}
		return row.Exec(tx, []string{table.DeleteTargets, table.DeleteTags}, GroupTarget(name))
	})
}

// GroupQuery chooses groups: those below Parent, at any depth when Recursive,
// whose names begin with Prefix. With neither Parent nor Recursive all are given.
type GroupQuery struct {
	After, Parent, Prefix string
	Limit                 int
	Recursive             bool
	// Roots chooses groups without a parent.
	Roots bool
}

// ListGroups gives the chosen groups, sorted by name. An unknown parent is
// NotFound.
func (r *Registry) ListGroups(ctx context.Context, q GroupQuery) (all []Group, err error) {
	err = r.read(ctx, "list thing groups", func(tx *store.Tx) error {
		if q.Parent != "" {
			if _, err := groupOf(tx, q.Parent); err != nil {
				return err
			}
		}
		if q.Parent != "" && q.Recursive {
			all, err = row.All(tx, table.SelectGroupsBelow, scanGroup, q.Parent, q.After, q.Prefix, q.Prefix, q.Limit)
			return err
		}
		roots := 0
		if q.Roots {
			roots = 1
		}
		all, err = row.All(tx, table.SelectGroups, scanGroup, q.After, q.Parent, q.Parent, roots, q.Prefix, q.Prefix, q.Limit)
		return err
	})
	return all, err
}

// Regroup takes a thing out of groups and puts it into others, all or nothing. To
// be in a group twice is once.
func (r *Registry) Regroup(ctx context.Context, thing string, from, into []string) error {
	return r.write(ctx, Change{ThingChange, thing}, "regroup thing", func(tx *store.Tx) error {
		if _, found, err := thingOf(tx, thing); err != nil || !found {
			return either(err, missing("thing", thing))
		}
		for _, group := range slices.Concat(from, into) {
			if _, err := groupOf(tx, group); err != nil {
				return err
			}
		}
		for _, group := range from {
			if err := leave(tx, group, thing); err != nil {
				return err
			}
		}
		for _, group := range into {
			if err := join(tx, group, thing); err != nil {
				return err
			}
		}
		return nil
	})
}

func join(tx *store.Tx, group, thing string) error {
	var static int
	if found, err := tx.QueryRow(table.SelectMember, []any{group, thing}, &static); err != nil || found {
		return err
	}
	if err := atMost(tx, groupsOfThingMax, "groups of thing "+thing, table.CountMemberships, thing); err != nil {
		return err
	}
	_, err := tx.Exec(table.InsertMember, group, thing, 0)
	return err
}

func leave(tx *store.Tx, group, thing string) error {
	var static int
	if _, err := tx.QueryRow(table.SelectMember, []any{group, thing}, &static); err != nil {
		return err
	}
	if static == 1 {
		return fixed("membership of thing", thing)
	}
	_, err := tx.Exec(table.DeleteMember, group, thing)
	return err
}

// ThingsInGroup gives names of things in a group, and in those below it when
// recursive, sorted.
func (r *Registry) ThingsInGroup(ctx context.Context, group string, recursive bool, after string, limit int) (all []string, err error) {
	err = r.read(ctx, "list things in group", func(tx *store.Tx) error {
		if _, err := groupOf(tx, group); err != nil {
			return err
		}
		text := table.SelectMembers
		if recursive {
			text = table.SelectMembersBelow
		}
		all, err = row.Names(tx, text, group, after, limit)
		return err
	})
	return all, err
}

// GroupsOfThing gives the names of the groups a thing is in, sorted.
func (r *Registry) GroupsOfThing(ctx context.Context, thing, after string, limit int) (all []string, err error) {
	err = r.read(ctx, "list groups of thing", func(tx *store.Tx) error {
		_, found, err := thingOf(tx, thing)
		if err != nil || !found {
			return either(err, missing("thing", thing))
		}
		all, err = row.Names(tx, table.SelectGroupsOf, thing, after, limit)
		return err
	})
	return all, err
}

// groupsAbove gives every group that counts for a thing, with those above.
func groupsAbove(tx *store.Tx, thing string) ([]string, error) {
	direct, err := row.Names(tx, table.SelectGroupsOf, thing, "", -1)
	if err != nil {
		return nil, err
	}
	var all []string
	seen := make(map[string]bool)
	for _, name := range direct {
		line, err := lineage(tx, name)
		if err != nil {
			return nil, err
		}
		for _, g := range line {
			if !seen[g] {
				seen[g], all = true, append(all, g)
			}
		}
	}
	return all, nil
}
