package registry

import (
	"context"
	"encoding/json"
	"maps"
	"regexp"
	"slices"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/registry/row"
	"github.com/tidehold/tidehold/gateway/registry/table"
	"github.com/tidehold/tidehold/gateway/store"
)

// Thing is a registry entry, with the names of AWS's API.
type Thing struct {
	Name       iot.ThingName     `json:"thingName"`
	Type       string            `json:"thingTypeName,omitempty"`
	Attributes map[string]string `json:"attributes"`
	// Groups are those that the configuration names.
	Groups []string `json:"thingGroups,omitempty"`
	// Writable are the keys of desired that an upstream may set; nil means all.
	Writable []string `json:"writable,omitempty"`
	// Policies are names of policies that all certificates of the thing have.
	Policies []string `json:"policies,omitempty"`
	// ID is a UUID, the same over the thing's life.
	ID string `json:"thingId,omitempty"`
	// Version starts at 1 and grows by 1 with each update.
	Version int64 `json:"version,omitempty"`
	// Static is set on things of the configuration.
	Static bool `json:"static,omitempty"`
}

// Limits of attributes (AWS).
const (
	attributesMax      = 3 // of a thing without a type
	attributesTypedMax = 50
	attributeKeyMax    = 128
	attributeValueMax  = 800
)

var (
	nameForm      = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)
	attributeForm = regexp.MustCompile(`^[a-zA-Z0-9_.,@/:#=\[\]-]*$`)
)

func checkName(what, name string) error {
	if !nameForm.MatchString(name) {
		return iot.Errorf(iot.InvalidRequest, "%s name %.140q: want 1 to 128 characters of a-z A-Z 0-9 : _ -", what, name)
	}
	return nil
}

func checkAttributes(attributes map[string]string, limit int) error {
	if len(attributes) > limit {
		return iot.Errorf(iot.InvalidRequest, "%d attributes; at most %d (a thing with a type may have %d)", len(attributes), limit, attributesTypedMax)
	}
	for key, value := range attributes {
		if key == "" || len(key) > attributeKeyMax || len(value) > attributeValueMax || !attributeForm.MatchString(key+value) {
			return iot.Errorf(iot.InvalidRequest, "attribute %.140q: want a name of 1 to %d and a value of at most %d characters of a-z A-Z 0-9 _ . , @ / : # = [ ] -", key, attributeKeyMax, attributeValueMax)
		}
	}
	return nil
}

func attributeLimit(typeName string) int {
	if typeName == "" {
		return attributesMax
	}
	return attributesTypedMax
}

// withoutEmpty leaves out attributes with an empty value: they mean "none".
func withoutEmpty(attributes map[string]string) map[string]string {
	kept := maps.Clone(attributes)
	if kept == nil {
		kept = make(map[string]string)
	}
	maps.DeleteFunc(kept, func(_, value string) bool { return value == "" })
	return kept
}

// CreateThing makes a thing of its name, type and attributes. The same again
// gives the thing there is; another one of the name is AlreadyExists, an unknown
// type NotFound.
func (r *Registry) CreateThing(ctx context.Context, want Thing) (Thing, error) {
	if _, err := iot.ParseThingName(string(want.Name)); err != nil {
		return Thing{}, err
	}
	want.Attributes = withoutEmpty(want.Attributes)
	if err := checkAttributes(want.Attributes, attributeLimit(want.Type)); err != nil {
		return Thing{}, err
	}
	made := Thing{Name: want.Name, Type: want.Type, Attributes: want.Attributes, ID: r.ids.UUID(), Version: 1}
	err := r.write(ctx, Change{ThingChange, string(want.Name)}, "create thing", func(tx *store.Tx) error {
		have, found, err := thingOf(tx, string(want.Name))
		if err != nil {
			return err
		}
		if found {
			if have.Type != want.Type || !maps.Equal(have.Attributes, want.Attributes) {
				return iot.Errorf(iot.AlreadyExists, "Thing %s already exists in account with different tags or properties", want.Name)
			}
			made = have
			return nil
		}
		if err := usableType(tx, want.Type); err != nil {
			return err
		}
		if err := atMost(tx, ThingsMax, "things", table.CountThings); err != nil {
			return err
		}
		return saveThing(tx, made, r.nowMS())
	})
	return made, err
}

// usableType finds a type that is not deprecated.
func usableType(tx *store.Tx, name string) error {
	if name == "" {
		return nil
	}
	t, found, err := typeOf(tx, name)
	if err == nil && !found {
		err = missing("thing type", name)
	}
	if err == nil && t.DeprecatedMS != 0 {
		err = iot.Errorf(iot.InvalidRequest, "thing type %q is deprecated", name)
	}
	return err
}

func saveThing(tx *store.Tx, t Thing, nowMS int64) error {
	attributes, policies := encodeMap(t.Attributes), encodeList(t.Policies)
	var writable *string
	if t.Writable != nil {
		text := encodeList(t.Writable)
		writable = &text
	}
	static := 0
	if t.Static {
		static = 1
	}
	if _, err := tx.Exec(table.UpsertThing, string(t.Name), t.ID, t.Type, attributes, writable, policies, t.Version, static, nowMS); err != nil {
		return err
	}
	if _, err := tx.Exec(table.DeleteAttributes, string(t.Name)); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(t.Attributes)) {
		if _, err := tx.Exec(table.InsertAttribute, key, t.Attributes[key], string(t.Name)); err != nil {
			return err
		}
	}
	return nil
}

func scanThing(s store.Scan) (t Thing, err error) {
	var name, attributes, policies string
	var writable *string
	var static int
	if err := s(&name, &t.ID, &t.Type, &attributes, &writable, &policies, &t.Version, &static); err != nil {
		return t, err
	}
	t.Name, t.Static = iot.ThingName(name), static == 1
	if writable != nil {
		if err := json.Unmarshal([]byte(*writable), &t.Writable); err != nil {
			return t, err
		}
	}
	if err := json.Unmarshal([]byte(policies), &t.Policies); err != nil {
		return t, err
	}
	return t, json.Unmarshal([]byte(attributes), &t.Attributes)
}

// encodeMap and encodeList write columns; text always encodes.
func encodeMap(m map[string]string) string {
	if m == nil {
		return "{}"
	}
	text, _ := json.Marshal(m)
	return string(text)
}

func encodeList(list []string) string {
	if list == nil {
		return "null"
	}
	text, _ := json.Marshal(list)
	return string(text)
}

func thingOf(tx *store.Tx, name string) (Thing, bool, error) {
	t, found, err := row.One(tx, table.SelectThing, scanThing, name)
	if err == nil && found && t.Static {
		t.Groups, err = row.Names(tx, table.SelectGroupsOf, name, "", -1)
	}
	return t, found, err
}

// Thing finds a thing by name. When the disk cannot answer, the things of the
// configuration are still known.
func (r *Registry) Thing(name iot.ThingName) (Thing, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), readWait)
	defer cancel()
	var t Thing
	found := false
	err := r.read(ctx, "find thing", func(tx *store.Tx) (err error) {
		t, found, err = thingOf(tx, string(name))
		return err
	})
	if err != nil || !found {
		t, found = r.static[name]
	}
	return t, found
}

// ThingQuery chooses things. Zero values choose all; After is the last name
// seen, Limit the most to give.
type ThingQuery struct {
	After string
	Limit int
	Type  string
	// Attribute and Value choose by an attribute; Prefix by the beginning of its
	// value.
	Attribute, Value string
	Prefix           bool
}

// ListThings gives the chosen things, sorted by name.
func (r *Registry) ListThings(ctx context.Context, q ThingQuery) (all []Thing, err error) {
	text, args := table.SelectThings, []any{q.After, q.Type, q.Type, q.Limit}
	switch {
	case q.Attribute != "" && q.Prefix:
		text, args = table.SelectThingsByPrefix, append([]any{q.Attribute, q.Value, q.Value}, args...)
	case q.Attribute != "":
		text, args = table.SelectThingsByValue, append([]any{q.Attribute, q.Value}, args...)
	}
	err = r.read(ctx, "list things", func(tx *store.Tx) error {
		if all, err = row.All(tx, text, scanThing, args...); err != nil {
			return err
		}
		for i := range all {
			if all[i].Static {
				if all[i].Groups, err = row.Names(tx, table.SelectGroupsOf, string(all[i].Name), "", -1); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return all, err
}

// ThingUpdate changes a thing. Attributes nil keeps them; Merge joins them with
// those there are, an empty value removes one.
type ThingUpdate struct {
	Type       string
	RemoveType bool
	Attributes map[string]string
	Merge      bool
	// IfVersion is the version the thing must have; 0 means any.
	IfVersion int64
}

// UpdateThing changes a thing: NotFound, VersionConflict.
func (r *Registry) UpdateThing(ctx context.Context, name string, u ThingUpdate) error {
	if u.RemoveType && u.Type != "" {
		return iot.Errorf(iot.InvalidRequest, "thingTypeName and removeThingType exclude each other")
	}
	return r.write(ctx, Change{ThingChange, name}, "update thing", func(tx *store.Tx) error {
		t, err := changeable(tx, name, u.IfVersion)
		if err != nil {
			return err
		}
		if u.RemoveType {
			t.Type = ""
		}
		if u.Type != "" {
			if err := usableType(tx, u.Type); err != nil {
				return err
			}
			t.Type = u.Type
		}
		t.Attributes = changed(t.Attributes, u)
		if err := checkAttributes(t.Attributes, attributeLimit(t.Type)); err != nil {
			return err
		}
		t.Version++
		return saveThing(tx, t, r.nowMS())
	})
}

func changed(have map[string]string, u ThingUpdate) map[string]string {
	if u.Attributes == nil {
		return have
	}
	next := make(map[string]string)
	if u.Merge {
		maps.Copy(next, have)
	}
	maps.Copy(next, u.Attributes)
	return withoutEmpty(next)
}

// changeable finds a thing that may be changed.
func changeable(tx *store.Tx, name string, version int64) (Thing, error) {
	t, found, err := thingOf(tx, name)
	switch {
	case err != nil:
		return t, err
	case !found:
		return t, missing("thing", name)
	case t.Static:
		return t, fixed("thing", name)
	case version != 0 && version != t.Version:
		return t, iot.Errorf(iot.VersionConflict, "The version for thing %s does not match the expected version: it is %d, not %d", name, t.Version, version)
	}
	return t, nil
}

// DeleteThing removes a thing; one that does not exist is no error. A thing with
// certificates is refused: InvalidRequest.
func (r *Registry) DeleteThing(ctx context.Context, name string, ifVersion int64) error {
	return r.write(ctx, Change{ThingChange, name}, "delete thing", func(tx *store.Tx) error {
		_, err := changeable(tx, name, ifVersion)
		if iot.CodeOf(err) == iot.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if n, err := row.Number(tx, table.CountPrincipals, name); err != nil || n > 0 {
			if err == nil {
				err = iot.Errorf(iot.InvalidRequest, "Cannot delete thing %s; %d principals are still attached, detach them first", name, n)
			}
			return err
		}
		if err := row.Exec(tx, []string{table.DeleteThing, table.DeleteAttributes, table.DeleteMemberships}, name); err != nil {
			return err
		}
		_, err = tx.Exec(table.DeleteTags, "thing/"+name)
		return err
	})
}

// loadThings makes the records of the configuration's things, their types and
// groups, and removes those of things it no longer declares.
func (r *Registry) loadThings(tx *store.Tx) error {
	old, err := row.Names(tx, table.SelectStaticThings)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(table.DeleteStaticMember); err != nil {
		return err
	}
	for _, name := range old {
		if _, still := r.static[iot.ThingName(name)]; !still {
			if err := row.Exec(tx, []string{table.DeleteThing, table.DeleteAttributes, table.DeleteMemberships}, name); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.static)) {
		if err := r.loadThing(tx, r.static[name]); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) loadThing(tx *store.Tx, t Thing) error {
	have, found, err := thingOf(tx, string(t.Name))
	if err != nil {
		return err
	}
	t.ID, t.Version = have.ID, have.Version
	if !found {
		t.ID, t.Version = r.ids.UUID(), 1
	} else if have.Type != t.Type || !maps.Equal(have.Attributes, t.Attributes) {
		t.Version++
	}
	if t.Type != "" {
		if err := r.ensureType(tx, t.Type); err != nil {
			return err
		}
	}
	for _, group := range t.Groups {
		if err := r.ensureGroup(tx, group); err != nil {
			return err
		}
		if _, err := tx.Exec(table.InsertMember, group, string(t.Name), 1); err != nil {
			return err
		}
	}
	return saveThing(tx, t, r.nowMS())
}
