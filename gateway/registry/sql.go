package registry

// The registry's tables; their names appear in this file alone. Times are in
// milliseconds. `static` is set on what the configuration declares.
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
	createAccessKeys = `CREATE TABLE access_key (
		id         TEXT PRIMARY KEY,
		secret     TEXT NOT NULL,
		policy     TEXT NOT NULL,
		created_ms INTEGER NOT NULL
	) WITHOUT ROWID`
	countAccessKeys = `SELECT count(*) FROM access_key`
	insertAccessKey = `INSERT INTO access_key (id, secret, policy, created_ms) VALUES (?, ?, ?, ?)`
	selectAccessKey = `SELECT secret, policy FROM access_key WHERE id = ?`

	createRecords = `
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

	thingColumns = `SELECT name, id, type, attributes, writable, policies, version, static FROM thing `
	selectThing  = thingColumns + `WHERE name = ?`
	selectThings = thingColumns + `WHERE name > ? AND (? = '' OR type = ?) ORDER BY name LIMIT ?`
	// The attribute narrows the things down first.
	selectThingsByValue = thingColumns + `WHERE name IN (SELECT thing FROM thing_attribute WHERE key = ? AND value = ?)
		AND name > ? AND (? = '' OR type = ?) ORDER BY name LIMIT ?`
	selectThingsByPrefix = thingColumns + `WHERE name IN (SELECT thing FROM thing_attribute WHERE key = ? AND substr(value, 1, length(?)) = ?)
		AND name > ? AND (? = '' OR type = ?) ORDER BY name LIMIT ?`
	upsertThing = `INSERT INTO thing(name, id, type, attributes, writable, policies, version, static, created_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(name) DO UPDATE SET type = excluded.type, attributes = excluded.attributes, writable = excluded.writable,
		policies = excluded.policies, version = excluded.version, static = excluded.static`
	countThings        = `SELECT count(*) FROM thing`
	countThingsOfType  = `SELECT count(*) FROM thing WHERE type = ?`
	deleteThing        = `DELETE FROM thing WHERE name = ?`
	deleteAttributes   = `DELETE FROM thing_attribute WHERE thing = ?`
	insertAttribute    = `INSERT INTO thing_attribute(key, value, thing) VALUES(?, ?, ?)`
	selectStaticThings = `SELECT name FROM thing WHERE static = 1`

	typeColumns = `SELECT name, id, description, searchable, deprecated_ms, created_ms FROM thing_type `
	selectType  = typeColumns + `WHERE name = ?`
	selectTypes = typeColumns + `WHERE name > ? ORDER BY name LIMIT ?`
	insertType  = `INSERT INTO thing_type(name, id, description, searchable, deprecated_ms, created_ms) VALUES(?, ?, ?, ?, 0, ?)`
	updateType  = `UPDATE thing_type SET deprecated_ms = ? WHERE name = ?`
	deleteType  = `DELETE FROM thing_type WHERE name = ?`
	countTypes  = `SELECT count(*) FROM thing_type`

	groupColumns = `SELECT name, id, parent, description, attributes, version, static, created_ms FROM thing_group `
	selectGroup  = groupColumns + `WHERE name = ?`
	selectGroups = groupColumns + `WHERE name > ? AND (? = '' OR parent = ?) AND (? = 0 OR parent = '') AND substr(name, 1, length(?)) = ? ORDER BY name LIMIT ?`
	// All groups below one, at any depth.
	selectGroupsBelow = `WITH RECURSIVE below(name) AS (SELECT name FROM thing_group WHERE parent = ?
		UNION SELECT g.name FROM thing_group g JOIN below b ON g.parent = b.name) ` +
		groupColumns + `WHERE name IN (SELECT name FROM below) AND name > ? AND substr(name, 1, length(?)) = ? ORDER BY name LIMIT ?`
	upsertGroup = `INSERT INTO thing_group(name, id, parent, description, attributes, version, static, created_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(name) DO UPDATE SET description = excluded.description, attributes = excluded.attributes, version = excluded.version`
	deleteGroup        = `DELETE FROM thing_group WHERE name = ?`
	countGroups        = `SELECT count(*) FROM thing_group`
	countChildren      = `SELECT count(*) FROM thing_group WHERE parent = ?`
	deleteMembers      = `DELETE FROM group_member WHERE grp = ?`
	deleteMemberships  = `DELETE FROM group_member WHERE thing = ?`
	deleteStaticMember = `DELETE FROM group_member WHERE static = 1`
	insertMember       = `INSERT INTO group_member(grp, thing, static) VALUES(?, ?, ?) ON CONFLICT DO NOTHING`
	deleteMember       = `DELETE FROM group_member WHERE grp = ? AND thing = ?`
	selectMember       = `SELECT static FROM group_member WHERE grp = ? AND thing = ?`
	countMemberships   = `SELECT count(*) FROM group_member WHERE thing = ?`
	selectMembers      = `SELECT thing FROM group_member WHERE grp = ? AND thing > ? ORDER BY thing LIMIT ?`
	selectMembersBelow = `WITH RECURSIVE below(name) AS (SELECT ? UNION SELECT g.name FROM thing_group g JOIN below b ON g.parent = b.name)
		SELECT DISTINCT thing FROM group_member WHERE grp IN (SELECT name FROM below) AND thing > ? ORDER BY thing LIMIT ?`
	selectGroupsOf = `SELECT grp FROM group_member WHERE thing = ? AND grp > ? ORDER BY grp LIMIT ?`

	certificateColumns     = `SELECT seq, id, ca, status, mode, pem, from_ms, until_ms, version, created_ms, changed_ms FROM certificate `
	selectCertificate      = certificateColumns + `WHERE id = ?`
	selectStatus           = `SELECT status FROM certificate WHERE id = ?`
	selectCertificates     = certificateColumns + `WHERE seq > ? AND (? = '' OR ca = ?) ORDER BY seq LIMIT ?`
	selectCertificatesBack = certificateColumns + `WHERE seq < ? AND (? = '' OR ca = ?) ORDER BY seq DESC LIMIT ?`
	insertCertificate      = `INSERT INTO certificate(id, ca, status, mode, pem, from_ms, until_ms, version, created_ms, changed_ms) VALUES(?, ?, ?, ?, ?, ?, ?, 1, ?, ?)`
	updateCertificate      = `UPDATE certificate SET status = ?, version = version + 1, changed_ms = ? WHERE id = ?`
	deleteCertificate      = `DELETE FROM certificate WHERE id = ?`
	countCertificates      = `SELECT count(*) FROM certificate`

	caColumns       = `SELECT seq, id, status, mode, pem, identity, auto, template, body, role, version, created_ms, changed_ms FROM ca_certificate `
	selectCA        = caColumns + `WHERE id = ?`
	selectCAs       = caColumns + `WHERE seq > ? AND (? = '' OR template = ?) ORDER BY seq LIMIT ?`
	selectCAsBack   = caColumns + `WHERE seq < ? AND (? = '' OR template = ?) ORDER BY seq DESC LIMIT ?`
	selectCAsByName = caColumns + `WHERE subject = ? ORDER BY seq`
	selectTwinCA    = `SELECT id FROM ca_certificate WHERE identity = ? AND mode = 'DEFAULT'`
	insertCA        = `INSERT INTO ca_certificate(id, status, mode, pem, subject, identity, auto, template, body, role, version, created_ms, changed_ms)
		VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)`
	updateCA = `UPDATE ca_certificate SET status = ?, auto = ?, template = ?, body = ?, role = ?, version = version + 1, changed_ms = ? WHERE id = ?`
	deleteCA = `DELETE FROM ca_certificate WHERE id = ?`
	countCAs = `SELECT count(*) FROM ca_certificate`

	policyColumns        = `SELECT seq, name, version, last, static, created_ms, changed_ms FROM policy `
	selectPolicy         = policyColumns + `WHERE name = ?`
	selectPolicies       = policyColumns + `WHERE seq > ? ORDER BY seq LIMIT ?`
	selectPoliciesBack   = policyColumns + `WHERE seq < ? ORDER BY seq DESC LIMIT ?`
	selectStaticPolicies = policyColumns + `WHERE static = 1`
	insertPolicy         = `INSERT INTO policy(name, version, last, static, created_ms, changed_ms) VALUES(?, 1, 1, ?, ?, ?)`
	updatePolicy         = `UPDATE policy SET version = ?, last = ?, static = ?, changed_ms = ? WHERE name = ?`
	deletePolicy         = `DELETE FROM policy WHERE name = ?`
	countPolicies        = `SELECT count(*) FROM policy`
	versionColumns       = `SELECT version, document, created_ms FROM policy_version `
	selectVersion        = versionColumns + `WHERE policy = ? AND version = ?`
	selectVersions       = versionColumns + `WHERE policy = ? ORDER BY version DESC`
	countVersions        = `SELECT count(*) FROM policy_version WHERE policy = ?`
	insertVersion        = `INSERT INTO policy_version(policy, version, document, created_ms) VALUES(?, ?, ?, ?)`
	deleteVersion        = `DELETE FROM policy_version WHERE policy = ? AND version = ?`
	deleteVersions       = `DELETE FROM policy_version WHERE policy = ?`
	selectDefault        = `SELECT p.version, v.document FROM policy p JOIN policy_version v ON v.policy = p.name AND v.version = p.version WHERE p.name = ?`

	insertTarget        = `INSERT INTO policy_target(policy, target) VALUES(?, ?) ON CONFLICT DO NOTHING`
	deleteTarget        = `DELETE FROM policy_target WHERE policy = ? AND target = ?`
	deleteTargets       = `DELETE FROM policy_target WHERE target = ?`
	countTargets        = `SELECT count(*) FROM policy_target WHERE policy = ?`
	countAttached       = `SELECT count(*) FROM policy_target WHERE target = ? AND policy <> ?`
	selectAttached      = `SELECT policy FROM policy_target WHERE target = ? AND policy > ? ORDER BY policy LIMIT ?`
	selectTargets       = `SELECT target FROM policy_target WHERE policy = ? AND target > ? ORDER BY target LIMIT ?`
	insertPrincipal     = `INSERT INTO principal_thing(principal, thing, exclusive) VALUES(?, ?, ?) ON CONFLICT(principal, thing) DO UPDATE SET exclusive = excluded.exclusive`
	deletePrincipal     = `DELETE FROM principal_thing WHERE principal = ? AND thing = ?`
	countPrincipals     = `SELECT count(*) FROM principal_thing WHERE thing = ?`
	countThingsOf       = `SELECT count(*) FROM principal_thing WHERE principal = ?`
	selectPrincipals    = `SELECT principal, exclusive FROM principal_thing WHERE thing = ? AND principal > ? ORDER BY principal LIMIT ?`
	selectThingsOf      = `SELECT thing, exclusive FROM principal_thing WHERE principal = ? AND thing > ? ORDER BY thing LIMIT ?`
	selectOtherBindings = `SELECT count(*) FROM principal_thing WHERE (principal = ? AND thing <> ? OR principal <> ? AND thing = ?) AND (exclusive = 1 OR ? = 1)`

	templateColumns = `SELECT name, description, body, enabled, role, hook, kind, used, created_ms, changed_ms FROM template `
	selectTemplate  = templateColumns + `WHERE name = ?`
	selectTemplates = templateColumns + `WHERE name > ? ORDER BY name LIMIT ?`
	upsertTemplate  = `INSERT INTO template(name, description, body, enabled, role, hook, kind, used, created_ms, changed_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(name) DO UPDATE SET description = excluded.description, body = excluded.body, enabled = excluded.enabled, role = excluded.role,
		hook = excluded.hook, changed_ms = excluded.changed_ms`
	useTemplate    = `UPDATE template SET used = used + 1 WHERE name = ? AND used < ?`
	deleteTemplate = `DELETE FROM template WHERE name = ?`
	countTemplates = `SELECT count(*) FROM template`
	insertClaim    = `INSERT INTO claim(token, certificate, until_ms) VALUES(?, ?, ?)`
	selectClaim    = `SELECT certificate, until_ms FROM claim WHERE token = ?`
	deleteClaim    = `DELETE FROM claim WHERE token = ?`
	deleteClaimsOf = `DELETE FROM claim WHERE certificate = ?`
	selectStale    = `SELECT token, certificate FROM claim WHERE until_ms < ? LIMIT 100`

	selectTags  = `SELECT key, value FROM tag WHERE resource = ? ORDER BY key`
	upsertTag   = `INSERT INTO tag(resource, key, value) VALUES(?, ?, ?) ON CONFLICT(resource, key) DO UPDATE SET value = excluded.value`
	deleteTag   = `DELETE FROM tag WHERE resource = ? AND key = ?`
	deleteTags  = `DELETE FROM tag WHERE resource = ?`
	countTags   = `SELECT count(*) FROM tag WHERE resource = ?`
	readSetting = `SELECT value FROM setting WHERE name = ?`
	saveSetting = `INSERT INTO setting(name, value) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value`
)
