package registry

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/registry/row"
	"github.com/tidehold/tidehold/gateway/registry/table"
	"github.com/tidehold/tidehold/gateway/store"
)

// ThingType is a kind of thing.
type ThingType struct {
	Name, ID, Description string
	Searchable            []string
	// DeprecatedMS is when it was deprecated, 0 when it was not.
	DeprecatedMS int64
	CreatedMS    int64
}

// searchableMax is how many attributes of a type may be searchable (AWS).
const searchableMax = 3

func scanType(s store.Scan) (t ThingType, err error) {
	var searchable string
	if err := s(&t.Name, &t.ID, &t.Description, &searchable, &t.DeprecatedMS, &t.CreatedMS); err != nil {
		return t, err
	}
	return t, json.Unmarshal([]byte(searchable), &t.Searchable)
}

func typeOf(tx *store.Tx, name string) (ThingType, bool, error) {
	return row.One(tx, table.SelectType, scanType, name)
}

// CreateType makes a type. The same again gives the one there is; another one of
// the name is AlreadyExists.
func (r *Registry) CreateType(ctx context.Context, want ThingType) (ThingType, error) {
	if err := checkName("thing type", want.Name); err != nil {
		return ThingType{}, err
	}
	if len(want.Searchable) > searchableMax {
		return ThingType{}, iot.Errorf(iot.InvalidRequest, "%d searchable attributes; at most %d", len(want.Searchable), searchableMax)
	}
	if want.Searchable == nil {
		want.Searchable = []string{}
	}
	want.ID, want.CreatedMS, want.DeprecatedMS = r.ids.UUID(), r.nowMS(), 0
	err := r.write(ctx, Change{ThingChange, want.Name}, "create thing type", func(tx *store.Tx) error {
		have, found, err := typeOf(tx, want.Name)
		if err != nil {
			return err
		}
		if found {
			if have.Description != want.Description || !slices.Equal(have.Searchable, want.Searchable) {
				return iot.Errorf(iot.AlreadyExists, "thing type %q already exists with other properties", want.Name)
			}
			want = have
			return nil
		}
		if err := atMost(tx, TypesMax, "thing types", table.CountTypes); err != nil {
			return err
		}
		_, err = tx.Exec(table.InsertType, want.Name, want.ID, want.Description, encodeList(want.Searchable), want.CreatedMS)
		return err
	})
	return want, err
}

// ensureType makes the type of a thing of the configuration.
func (r *Registry) ensureType(tx *store.Tx, name string) error {
	_, found, err := typeOf(tx, name)
	if err == nil && !found {
		_, err = tx.Exec(table.InsertType, name, r.ids.UUID(), "", "[]", r.nowMS())
	}
	return err
}

// Type finds a type: NotFound.
func (r *Registry) Type(ctx context.Context, name string) (t ThingType, err error) {
	err = r.read(ctx, "find thing type", func(tx *store.Tx) error {
		var found bool
		if t, found, err = typeOf(tx, name); err == nil && !found {
			err = missing("thing type", name)
		}
		return err
	})
	return t, err
}

// ListTypes gives types after a name, sorted.
func (r *Registry) ListTypes(ctx context.Context, after string, limit int) (all []ThingType, err error) {
	err = r.read(ctx, "list thing types", func(tx *store.Tx) error {
		all, err = row.All(tx, table.SelectTypes, scanType, after, limit)
		return err
	})
	return all, err
}

// DeprecateType lets no new thing have the type, or lets it again.
func (r *Registry) DeprecateType(ctx context.Context, name string, undo bool) error {
	return r.write(ctx, Change{ThingChange, name}, "deprecate thing type", func(tx *store.Tx) error {
		_, found, err := typeOf(tx, name)
		if err != nil || !found {
			return either(err, missing("thing type", name))
		}
		at := r.nowMS()
		if undo {
			at = 0
		}
		_, err = tx.Exec(table.UpdateType, at, name)
		return err
	})
}

// DeleteType removes a deprecated type that no thing has.
func (r *Registry) DeleteType(ctx context.Context, name string) error {
	return r.write(ctx, Change{ThingChange, name}, "delete thing type", func(tx *store.Tx) error {
		t, found, err := typeOf(tx, name)
		if err != nil || !found {
			return either(err, missing("thing type", name))
		}
		if t.DeprecatedMS == 0 {
			return iot.Errorf(iot.InvalidRequest, "thing type %q must be deprecated before it is deleted", name)
		}
		if n, err := row.Number(tx, table.CountThingsOfType, name); err != nil || n > 0 {
			return either(err, iot.Errorf(iot.InvalidRequest, "thing type %q cannot be deleted: %d things have it", name, n))
		}
		_, err = tx.Exec(table.DeleteType, name)
		return err
	})
}

// either gives err, or what it means that there is none.
func either(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
