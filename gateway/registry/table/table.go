// Package table holds the registry's tables and the statements that read and
// change them: text alone. A table's name appears in this file and nowhere else.
package table

// The statements. Times are in milliseconds, `static` is set on what the configuration declares.
//
//	thing, thing_attribute   things; their attributes once more, for searching
//	thing_type, thing_group  with their properties; a group's parent may be ''
//	group_member             things in groups
//	certificate              certificates of devices; ca = '' means ours or none
//	ca_certificate           CAs of others
//	policy, policy_version   documents; version numbers are never used again
//	policy_target            policies on `cert/<id>` and `thinggroup/<name>`
//	principal_thing          certificates on things
//	template, claim          provisioning templates; ownership tokens by hash
//	tag                      by resource (`thing/x`)
//	setting                  single values, the registration code
const (
	CreateRecords = `
CREATE TABLE thing(
	name TEXT PRIMARY KEY, id TEXT NOT NULL, type TEXT NOT NULL, attributes TEXT NOT NULL,
	writable TEXT, policies TEXT NOT NULL, version INTEGER NOT NULL, static INTEGER NOT NULL, created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX thing_by_type ON thing(type, name);
CREATE TABLE thing_attribute(
	key TEXT NOT NULL, value TEXT NOT NULL, thing TEXT NOT NULL, PRIMARY KEY(key, value, thing)
) STRICT, WITHOUT ROWID;
CREATE INDEX thing_attribute_thing ON thing_attribute(thing);
CREATE TABLE thing_type(
	name TEXT PRIMARY KEY, id TEXT NOT NULL, description TEXT NOT NULL, searchable TEXT NOT NULL,
	deprecated_ms INTEGER NOT NULL, created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE thing_group(
	name TEXT PRIMARY KEY, id TEXT NOT NULL, parent TEXT NOT NULL, description TEXT NOT NULL, attributes TEXT NOT NULL,
	version INTEGER NOT NULL, static INTEGER NOT NULL, created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX thing_group_parent ON thing_group(parent, name);
CREATE TABLE group_member(
	grp TEXT NOT NULL, thing TEXT NOT NULL, static INTEGER NOT NULL, PRIMARY KEY(grp, thing)
) STRICT, WITHOUT ROWID;
CREATE INDEX group_member_thing ON group_member(thing, grp);
CREATE TABLE certificate(
	seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, ca TEXT NOT NULL, status TEXT NOT NULL, mode TEXT NOT NULL,
	pem TEXT NOT NULL, from_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL,
	version INTEGER NOT NULL, created_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX certificate_ca ON certificate(ca, seq);
CREATE TABLE ca_certificate(
	seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, status TEXT NOT NULL, mode TEXT NOT NULL, pem TEXT NOT NULL,
	subject TEXT NOT NULL, identity TEXT NOT NULL, auto INTEGER NOT NULL, template TEXT NOT NULL, body TEXT NOT NULL, role TEXT NOT NULL,
	version INTEGER NOT NULL, created_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX ca_certificate_subject ON ca_certificate(subject);
CREATE TABLE policy(
	seq INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, last INTEGER NOT NULL,
	static INTEGER NOT NULL, created_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE policy_version(
	policy TEXT NOT NULL, version INTEGER NOT NULL, document TEXT NOT NULL, created_ms INTEGER NOT NULL, PRIMARY KEY(policy, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE policy_target(
	policy TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY(policy, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX policy_target_target ON policy_target(target, policy);
CREATE TABLE principal_thing(
	principal TEXT NOT NULL, thing TEXT NOT NULL, exclusive INTEGER NOT NULL, PRIMARY KEY(principal, thing)
) STRICT, WITHOUT ROWID;
CREATE INDEX principal_thing_thing ON principal_thing(thing, principal);
CREATE TABLE template(
	name TEXT PRIMARY KEY, description TEXT NOT NULL, body TEXT NOT NULL, enabled INTEGER NOT NULL, role TEXT NOT NULL,
	hook TEXT NOT NULL, kind TEXT NOT NULL, used INTEGER NOT NULL, created_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE claim(
	token TEXT PRIMARY KEY, certificate TEXT NOT NULL, until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX claim_until ON claim(until_ms);
CREATE TABLE tag(
	resource TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY(resource, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE setting(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;`

	ThingColumns = `SELECT name, id, type, attributes, writable, policies, version, static FROM thing `
	SelectThing  = ThingColumns + `WHERE name = ?`
	SelectThings = ThingColumns + `WHERE name > ? AND (? = '' OR type = ?) ORDER BY name LIMIT ?`
	// The attribute narrows the things down first.
	SelectThingsByValue = ThingColumns + `WHERE name IN (SELECT thing FROM thing_attribute WHERE key = ? AND value = ?)
		AND name > ? AND (? = '' OR type = ?) ORDER BY name LIMIT ?`
	SelectThingsByPrefix = ThingColumns + `WHERE name IN (SELECT thing FROM thing_attribute WHERE key = ? AND substr(value, 1, length(?)) = ?)
		AND name > ? AND (? = '' OR type = ?) ORDER BY name LIMIT ?`
	UpsertThing = `INSERT INTO thing(name, id, type, attributes, writable, policies, version, static, created_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(name) DO UPDATE SET type = excluded.type, attributes = excluded.attributes, writable = excluded.writable,
		policies = excluded.policies, version = excluded.version, static = excluded.static`
	CountThings        = `SELECT count(*) FROM thing`
	CountThingsOfType  = `SELECT count(*) FROM thing WHERE type = ?`
	DeleteThing        = `DELETE FROM thing WHERE name = ?`
	DeleteAttributes   = `DELETE FROM thing_attribute WHERE thing = ?`
	InsertAttribute    = `INSERT INTO thing_attribute(key, value, thing) VALUES(?, ?, ?)`
	SelectStaticThings = `SELECT name FROM thing WHERE static = 1`

	TypeColumns = `SELECT name, id, description, searchable, deprecated_ms, created_ms FROM thing_type `
	SelectType  = TypeColumns + `WHERE name = ?`
	SelectTypes = TypeColumns + `WHERE name > ? ORDER BY name LIMIT ?`
	InsertType  = `INSERT INTO thing_type(name, id, description, searchable, deprecated_ms, created_ms) VALUES(?, ?, ?, ?, 0, ?)`
	UpdateType  = `UPDATE thing_type SET deprecated_ms = ? WHERE name = ?`
	DeleteType  = `DELETE FROM thing_type WHERE name = ?`
	CountTypes  = `SELECT count(*) FROM thing_type`

	GroupColumns = `SELECT name, id, parent, description, attributes, version, static, created_ms FROM thing_group `
	SelectGroup  = GroupColumns + `WHERE name = ?`
	SelectGroups = GroupColumns + `WHERE name > ? AND (? = '' OR parent = ?) AND (? = 0 OR parent = '') AND substr(name, 1, length(?)) = ? ORDER BY name LIMIT ?`
	// All groups below one, at any depth.
	SelectGroupsBelow = `WITH RECURSIVE below(name) AS (SELECT name FROM thing_group WHERE parent = ?
		UNION SELECT g.name FROM thing_group g JOIN below b ON g.parent = b.name) ` +
		GroupColumns + `WHERE name IN (SELECT name FROM below) AND name > ? AND substr(name, 1, length(?)) = ? ORDER BY name LIMIT ?`
	UpsertGroup = `INSERT INTO thing_group(name, id, parent, description, attributes, version, static, created_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(name) DO UPDATE SET description = excluded.description, attributes = excluded.attributes, version = excluded.version`
	DeleteGroup        = `DELETE FROM thing_group WHERE name = ?`
	CountGroups        = `SELECT count(*) FROM thing_group`
	CountChildren      = `SELECT count(*) FROM thing_group WHERE parent = ?`
	DeleteMembers      = `DELETE FROM group_member WHERE grp = ?`
	DeleteMemberships  = `DELETE FROM group_member WHERE thing = ?`
	DeleteStaticMember = `DELETE FROM group_member WHERE static = 1`
	InsertMember       = `INSERT INTO group_member(grp, thing, static) VALUES(?, ?, ?) ON CONFLICT DO NOTHING`
	DeleteMember       = `DELETE FROM group_member WHERE grp = ? AND thing = ?`
	SelectMember       = `SELECT static FROM group_member WHERE grp = ? AND thing = ?`
	CountMemberships   = `SELECT count(*) FROM group_member WHERE thing = ?`
	SelectMembers      = `SELECT thing FROM group_member WHERE grp = ? AND thing > ? ORDER BY thing LIMIT ?`
	SelectMembersBelow = `WITH RECURSIVE below(name) AS (SELECT ? UNION SELECT g.name FROM thing_group g JOIN below b ON g.parent = b.name)
		SELECT DISTINCT thing FROM group_member WHERE grp IN (SELECT name FROM below) AND thing > ? ORDER BY thing LIMIT ?`
	SelectGroupsOf = `SELECT grp FROM group_member WHERE thing = ? AND grp > ? ORDER BY grp LIMIT ?`

	CertificateColumns     = `SELECT seq, id, ca, status, mode, pem, from_ms, until_ms, version, created_ms, changed_ms FROM certificate `
	SelectCertificate      = CertificateColumns + `WHERE id = ?`
	SelectStatus           = `SELECT status FROM certificate WHERE id = ?`
	SelectCertificates     = CertificateColumns + `WHERE seq > ? AND (? = '' OR ca = ?) ORDER BY seq LIMIT ?`
	SelectCertificatesBack = CertificateColumns + `WHERE seq < ? AND (? = '' OR ca = ?) ORDER BY seq DESC LIMIT ?`
	InsertCertificate      = `INSERT INTO certificate(id, ca, status, mode, pem, from_ms, until_ms, version, created_ms, changed_ms) VALUES(?, ?, ?, ?, ?, ?, ?, 1, ?, ?)`
	UpdateCertificate      = `UPDATE certificate SET status = ?, version = version + 1, changed_ms = ? WHERE id = ?`
	DeleteCertificate      = `DELETE FROM certificate WHERE id = ?`
	CountCertificates      = `SELECT count(*) FROM certificate`

	CaColumns       = `SELECT seq, id, status, mode, pem, identity, auto, template, body, role, version, created_ms, changed_ms FROM ca_certificate `
	SelectCA        = CaColumns + `WHERE id = ?`
	SelectCAs       = CaColumns + `WHERE seq > ? AND (? = '' OR template = ?) ORDER BY seq LIMIT ?`
	SelectCAsBack   = CaColumns + `WHERE seq < ? AND (? = '' OR template = ?) ORDER BY seq DESC LIMIT ?`
	SelectCAsByName = CaColumns + `WHERE subject = ? ORDER BY seq`
	SelectTwinCA    = `SELECT id FROM ca_certificate WHERE identity = ? AND mode = 'DEFAULT'`
	InsertCA        = `INSERT INTO ca_certificate(id, status, mode, pem, subject, identity, auto, template, body, role, version, created_ms, changed_ms)
		VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)`
	UpdateCA = `UPDATE ca_certificate SET status = ?, auto = ?, template = ?, body = ?, role = ?, version = version + 1, changed_ms = ? WHERE id = ?`
	DeleteCA = `DELETE FROM ca_certificate WHERE id = ?`
	CountCAs = `SELECT count(*) FROM ca_certificate`

	PolicyColumns        = `SELECT seq, name, version, last, static, created_ms, changed_ms FROM policy `
	SelectPolicy         = PolicyColumns + `WHERE name = ?`
	SelectPolicies       = PolicyColumns + `WHERE seq > ? ORDER BY seq LIMIT ?`
	SelectPoliciesBack   = PolicyColumns + `WHERE seq < ? ORDER BY seq DESC LIMIT ?`
	SelectStaticPolicies = PolicyColumns + `WHERE static = 1`
	InsertPolicy         = `INSERT INTO policy(name, version, last, static, created_ms, changed_ms) VALUES(?, 1, 1, ?, ?, ?)`
	UpdatePolicy         = `UPDATE policy SET version = ?, last = ?, static = ?, changed_ms = ? WHERE name = ?`
	DeletePolicy         = `DELETE FROM policy WHERE name = ?`
	CountPolicies        = `SELECT count(*) FROM policy`
	VersionColumns       = `SELECT version, document, created_ms FROM policy_version `
	SelectVersion        = VersionColumns + `WHERE policy = ? AND version = ?`
	SelectVersions       = VersionColumns + `WHERE policy = ? ORDER BY version DESC`
	CountVersions        = `SELECT count(*) FROM policy_version WHERE policy = ?`
	InsertVersion        = `INSERT INTO policy_version(policy, version, document, created_ms) VALUES(?, ?, ?, ?)`
	DeleteVersion        = `DELETE FROM policy_version WHERE policy = ? AND version = ?`
	DeleteVersions       = `DELETE FROM policy_version WHERE policy = ?`
	SelectDefault        = `SELECT p.version, v.document FROM policy p JOIN policy_version v ON v.policy = p.name AND v.version = p.version WHERE p.name = ?`

	InsertTarget        = `INSERT INTO policy_target(policy, target) VALUES(?, ?) ON CONFLICT DO NOTHING`
	DeleteTarget        = `DELETE FROM policy_target WHERE policy = ? AND target = ?`
	DeleteTargets       = `DELETE FROM policy_target WHERE target = ?`
	CountTargets        = `SELECT count(*) FROM policy_target WHERE policy = ?`
	CountAttached       = `SELECT count(*) FROM policy_target WHERE target = ? AND policy <> ?`
	SelectAttachedTexts = `SELECT t.policy, COALESCE(p.version, 0), COALESCE(v.document, '') FROM policy_target t LEFT JOIN policy p ON p.name = t.policy LEFT JOIN policy_version v ON v.policy = p.name AND v.version = p.version WHERE t.target = ? ORDER BY t.policy`
	SelectAttached      = `SELECT policy FROM policy_target WHERE target = ? AND policy > ? ORDER BY policy LIMIT ?`
	SelectTargets       = `SELECT target FROM policy_target WHERE policy = ? AND target > ? ORDER BY target LIMIT ?`
	InsertPrincipal     = `INSERT INTO principal_thing(principal, thing, exclusive) VALUES(?, ?, ?) ON CONFLICT(principal, thing) DO UPDATE SET exclusive = excluded.exclusive`
	DeletePrincipal     = `DELETE FROM principal_thing WHERE principal = ? AND thing = ?`
	DeleteThingsOf      = `DELETE FROM principal_thing WHERE principal = ?`
	CountPrincipals     = `SELECT count(*) FROM principal_thing WHERE thing = ?`
	CountThingsOf       = `SELECT count(*) FROM principal_thing WHERE principal = ?`
	SelectPrincipals    = `SELECT principal, exclusive FROM principal_thing WHERE thing = ? AND principal > ? ORDER BY principal LIMIT ?`
	SelectThingsOf      = `SELECT thing, exclusive FROM principal_thing WHERE principal = ? AND thing > ? ORDER BY thing LIMIT ?`
	SelectOtherBindings = `SELECT count(*) FROM principal_thing WHERE (principal = ? AND thing <> ? OR principal <> ? AND thing = ?) AND (exclusive = 1 OR ? = 1)`

	TemplateColumns = `SELECT name, description, body, enabled, role, hook, kind, used, created_ms, changed_ms FROM template `
	SelectTemplate  = TemplateColumns + `WHERE name = ?`
	SelectTemplates = TemplateColumns + `WHERE name > ? ORDER BY name LIMIT ?`
	UpsertTemplate  = `INSERT INTO template(name, description, body, enabled, role, hook, kind, used, created_ms, changed_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(name) DO UPDATE SET description = excluded.description, body = excluded.body, enabled = excluded.enabled, role = excluded.role,
		hook = excluded.hook, changed_ms = excluded.changed_ms`
	UseTemplate    = `UPDATE template SET used = used + 1 WHERE name = ? AND used < ?`
	DeleteTemplate = `DELETE FROM template WHERE name = ?`
	CountTemplates = `SELECT count(*) FROM template`
	InsertClaim    = `INSERT INTO claim(token, certificate, until_ms) VALUES(?, ?, ?)`
	SelectClaim    = `SELECT certificate, until_ms FROM claim WHERE token = ?`
	DeleteClaim    = `DELETE FROM claim WHERE token = ?`
	DeleteClaimsOf = `DELETE FROM claim WHERE certificate = ?`
	SelectStale    = `SELECT token, certificate FROM claim WHERE until_ms < ? LIMIT 100`

	SelectTags  = `SELECT key, value FROM tag WHERE resource = ? ORDER BY key`
	UpsertTag   = `INSERT INTO tag(resource, key, value) VALUES(?, ?, ?) ON CONFLICT(resource, key) DO UPDATE SET value = excluded.value`
	DeleteTag   = `DELETE FROM tag WHERE resource = ? AND key = ?`
	DeleteTags  = `DELETE FROM tag WHERE resource = ?`
	CountTags   = `SELECT count(*) FROM tag WHERE resource = ?`
	ReadSetting = `SELECT value FROM setting WHERE name = ?`
	SaveSetting = `INSERT INTO setting(name, value) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value`
)
