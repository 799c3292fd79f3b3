package doc

import "strings"

// Stamp says when something last happened: seconds since 1970, and the version
// of the document that update made.
type Stamp struct{ Time, Version int64 }

// meta mirrors a value. For a scalar or an array Time is the time of the last
// update that named it and Version that of the last one that changed it. For
// an object both tell of the last removal of a member: all that is known of
// leaves that are no longer there.
type meta struct {
	Stamp
	parts []meta // of an object: one for each member, in the same order
}

// merge lays a patch over the section (shadow.md section 3).
func (s Section) merge(patch Value, at Stamp) Section {
	switch patch.kind {
	case Null:
		if s.state.kind == Absent {
			return s
		}
		return Section{meta: meta{Stamp: at}}
	case Object:
		if len(patch.parts) == 0 {
			return s
		}
		v, m := mergeObject(s.state.parts, s.meta, patch.parts, at)
		if len(v.parts) == 0 {
			return Section{meta: meta{Stamp: m.Stamp}}
		}
		return Section{state: v, meta: m}
	}
	return s
}

// merged collects the members of an object under construction.
type merged struct {
	parts []Member
	metas []meta
}

func (o *merged) add(key string, v Value, m meta) {
	o.parts = append(o.parts, Member{key, v})
	o.metas = append(o.metas, m)
}

// mergeObject walks both sorted lists of members side by side.
func mergeObject(old []Member, om meta, patch []Member, at Stamp) (Value, meta) {
	room := len(old) + len(patch)
	out := merged{make([]Member, 0, room), make([]meta, 0, room)}
	stamp, i := om.Stamp, 0
	for _, p := range patch {
		for i < len(old) && old[i].Key < p.Key {
			out.add(old[i].Key, old[i].Value, om.parts[i])
			i++
		}
		if i == len(old) || old[i].Key != p.Key {
			if v, m, ok := plant(p.Value, at, om.Stamp); ok {
				out.add(strings.Clone(p.Key), v, m)
			}
			continue
		}
		if v, m, ok := replace(old[i].Value, om.parts[i], p.Value, at); ok {
			out.add(old[i].Key, v, m)
		} else {
			stamp = at
		}
		i++
	}
	for ; i < len(old); i++ {
		out.add(old[i].Key, old[i].Value, om.parts[i])
	}
	return Value{kind: Object, parts: out.parts}, meta{stamp, out.metas}
}

// replace gives what stands where old stood; false when nothing does.
func replace(old Value, om meta, patch Value, at Stamp) (Value, meta, bool) {
	if old.kind == Object && patch.kind == Object {
		v, m := mergeObject(old.parts, om, patch.parts, at)
		return v, m, true
	}
	v, m, ok := plant(patch, at, at)
	if ok && v.kind != Object && v.Equal(old) {
		m.Version = om.Version // named again, not changed
	}
	return v, m, ok
}

// plant copies a patch to where no object stands, without its nulls; false
// when nothing is left of it. removed is what is known of leaves that are not
// in a new object: what its surroundings know.
func plant(patch Value, at, removed Stamp) (Value, meta, bool) {
	switch patch.kind {
	case Null, Absent:
		return Value{}, meta{}, false
	case Object:
		out := merged{make([]Member, 0, len(patch.parts)), make([]meta, 0, len(patch.parts))}
		for _, p := range patch.parts {
			if v, m, ok := plant(p.Value, at, removed); ok {
				out.add(strings.Clone(p.Key), v, m)
			}
		}
		kept := len(out.parts) > 0 || len(patch.parts) == 0
		return Value{kind: Object, parts: out.parts}, meta{removed, out.metas}, kept
	}
	return patch.clone(), meta{Stamp: at}, true
}

// clone copies v with its text, so that it holds no payload in memory.
func (v Value) clone() Value {
	switch v.kind {
	case Number, String:
		v.text = strings.Clone(v.text)
	case Array, Object:
		parts := make([]Member, len(v.parts))
		for i, p := range v.parts {
			parts[i] = Member{strings.Clone(p.Key), p.Value.clone()}
		}
		v.parts = parts
	}
	return v
}

// delta is what desired has and reported lacks or has otherwise (shadow.md
// section 5), with the metadata of exactly those leaves; false when nothing.
func delta(desired Value, dm meta, reported Value) (Value, meta, bool) {
	if reported.kind != Object {
		return desired, dm, len(desired.parts) > 0
	}
	var out merged
	i := 0
	for j, d := range desired.parts {
		for i < len(reported.parts) && reported.parts[i].Key < d.Key {
			i++
		}
		v, m := d.Value, dm.parts[j]
		if i < len(reported.parts) && reported.parts[i].Key == d.Key {
			r, differs := reported.parts[i].Value, false
			if v.kind == Object && r.kind == Object {
				v, m, differs = delta(v, m, r)
			} else {
				differs = !v.Equal(r)
			}
			if !differs {
				continue
			}
		}
		out.add(d.Key, v, m)
	}
	return Value{kind: Object, parts: out.parts}, meta{dm.Stamp, out.metas}, len(out.parts) > 0
}

// Delta is the difference of desired from reported, Absent when there is none.
func (s *Shadow) Delta() Value {
	if v, _, ok := delta(s.Desired.state, s.Desired.meta, s.Reported.state); ok {
		return v
	}
	return Value{}
}
