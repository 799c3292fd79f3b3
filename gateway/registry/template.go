package registry

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/registry/row"
	"github.com/tidehold/tidehold/gateway/registry/table"
	"github.com/tidehold/tidehold/gateway/store"
)

// Template is a provisioning template; its text is judged by gateway/provision.
type Template struct {
	Name, Description, Body string
	Enabled                 bool
	Role                    string
	// Hook names the pre-provisioning hook; empty means none.
	Hook string
	// Kind is FLEET_PROVISIONING or JITP.
	Kind string
	// Used is how many devices it has provisioned.
	Used             int64
	Created, Changed time.Time
}

// TemplateUsesMax is how many devices one template provisions (security.md 2.3).
const TemplateUsesMax = 1000

var templateForm = regexp.MustCompile(`^[0-9A-Za-z_-]{1,36}$`)

func scanTemplate(s store.Scan) (t Template, err error) {
	var enabled int
	var created, changed int64
	err = s(&t.Name, &t.Description, &t.Body, &enabled, &t.Role, &t.Hook, &t.Kind, &t.Used, &created, &changed)
	t.Enabled, t.Created, t.Changed = enabled == 1, ms(created), ms(changed)
	return t, err
}

func templateOf(tx *store.Tx, name string) (Template, error) {
	t, found, err := row.One(tx, table.SelectTemplate, scanTemplate, name)
	if err == nil && !found {
		err = missing("provisioning template", name)
	}
	return t, err
}

func saveTemplate(tx *store.Tx, t Template, nowMS int64) error {
	_, err := tx.Exec(table.UpsertTemplate, t.Name, t.Description, t.Body, flag(t.Enabled), t.Role, t.Hook, t.Kind, t.Used, nowMS, nowMS)
	return err
}

// CreateTemplate makes a template: AlreadyExists.
func (r *Registry) CreateTemplate(ctx context.Context, t Template) (Template, error) {
	if !templateForm.MatchString(t.Name) {
		return t, iot.Errorf(iot.InvalidRequest, "template name %.40q: want 1 to 36 characters of 0-9 A-Z a-z _ -", t.Name)
	}
	now := r.nowMS()
	t.Used, t.Created, t.Changed = 0, ms(now), ms(now)
	err := r.db.Write(ctx, "registry create template", func(tx *store.Tx) error {
		if _, err := templateOf(tx, t.Name); err == nil {
			return iot.Errorf(iot.AlreadyExists, "provisioning template %q already exists", t.Name)
		}
		if err := atMost(tx, TemplatesMax, "provisioning templates", table.CountTemplates); err != nil {
			return err
		}
		return saveTemplate(tx, t, now)
	})
	return t, err
}

// Template finds a template: NotFound.
func (r *Registry) Template(ctx context.Context, name string) (t Template, err error) {
	err = r.read(ctx, "find template", func(tx *store.Tx) error {
		t, err = templateOf(tx, name)
		return err
	})
	return t, err
}

// ListTemplates gives templates after a name, sorted.
func (r *Registry) ListTemplates(ctx context.Context, after string, limit int) (all []Template, err error) {
	err = r.read(ctx, "list templates", func(tx *store.Tx) error {
		all, err = row.All(tx, table.SelectTemplates, scanTemplate, after, limit)
		return err
	})
	return all, err
}

// UpdateTemplate changes a template by change: NotFound. The name stays.
func (r *Registry) UpdateTemplate(ctx context.Context, name string, change func(*Template)) error {
	return r.db.Write(ctx, "registry update template", func(tx *store.Tx) error {
		t, err := templateOf(tx, name)
		if err != nil {
			return err
		}
		change(&t)
		t.Name = name
		return saveTemplate(tx, t, r.nowMS())
	})
}

// DeleteTemplate removes a template: NotFound.
func (r *Registry) DeleteTemplate(ctx context.Context, name string) error {
	return r.db.Write(ctx, "registry delete template", func(tx *store.Tx) error {
		if _, err := templateOf(tx, name); err != nil {
			return err
		}
		if _, err := tx.Exec(table.DeleteTags, "provisioningtemplate/"+name); err != nil {
			return err
		}
		_, err := tx.Exec(table.DeleteTemplate, name)
		return err
	})
}

// Tag is a label of a resource.
type Tag struct{ Key, Value string }

// CheckTags refuses what no resource may have: InvalidRequest, LimitExceeded.
func CheckTags(tags []Tag) error {
	for _, t := range tags {
		if t.Key == "" || len(t.Key) > 128 || len(t.Value) > 256 {
			return iot.Errorf(iot.InvalidRequest, "tag %.140q: want a key of 1 to 128 and a value of at most 256 bytes", t.Key)
		}
	}
	if len(tags) > TagsMax {
		return iot.Errorf(iot.LimitExceeded, "%d tags; at most %d", len(tags), TagsMax)
	}
	return nil
}

// Tag sets labels of a resource (`thing/x`), at most TagsMax: LimitExceeded.
func (r *Registry) Tag(ctx context.Context, resource string, tags []Tag) error {
	if err := CheckTags(tags); err != nil {
		return err
	}
	return r.db.Write(ctx, "registry tag", func(tx *store.Tx) error {
		for _, t := range tags {
			if _, err := tx.Exec(table.UpsertTag, resource, t.Key, t.Value); err != nil {
				return err
			}
		}
		n, err := row.Number(tx, table.CountTags, resource)
		if err == nil && n > TagsMax {
			err = iot.Errorf(iot.LimitExceeded, "%d tags on %s; at most %d", n, resource, TagsMax)
		}
		return err
	})
}

// Untag removes labels of a resource.
func (r *Registry) Untag(ctx context.Context, resource string, keys []string) error {
	return r.db.Write(ctx, "registry untag", func(tx *store.Tx) error {
		for _, key := range keys {
			if _, err := tx.Exec(table.DeleteTag, resource, key); err != nil {
				return err
			}
		}
		return nil
	})
}

// Tags gives the labels of a resource, sorted.
func (r *Registry) Tags(ctx context.Context, resource string) (all []Tag, err error) {
	err = r.read(ctx, "list tags", func(tx *store.Tx) error {
		all, err = row.All(tx, table.SelectTags, func(s store.Scan) (t Tag, err error) { return t, s(&t.Key, &t.Value) }, resource)
		return err
	})
	return all, err
}

// sortedUnique sorts names, each once, and keeps the first limit of them.
func sortedUnique(all []string, limit int) []string {
	slices.Sort(all)
	all = slices.Compact(all)
	if limit >= 0 && len(all) > limit {
		all = all[:limit]
	}
	return all
}
