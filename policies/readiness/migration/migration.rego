# METADATA
# title: Migration
# description: migration to PostgreSQL, ACID, concurrent writes
# schemas:
#   - input: schema.input
package gate.readiness.migration

import data.gate.lib

# METADATA
# title: Migrations that nobody notices, and writes that last
# description: migration to PostgreSQL, ACID, concurrent writes
# custom:
#   remediation: "write the migration as its findings say, in steps that the previous release can live with, and commit; gate plan shows them before anything runs"
criterion := lib.conclude({
	"id": "migration",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf(
		"at most %d unsafe statements, tables locked for at most %v s, %d requests of the previous release failed, %d acknowledged writes lost of at least %d, %d partial",
		[limits.max_unsafe, limits.max_lock_seconds, limits.max_failed, limits.max_lost, limits.min_acknowledged, limits.max_partial],
	),
	"next": {"inconclusive": lib.measure("migration"), "error": lib.measure("migration")},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.migration

# METADATA
# title: Evidence
# description: of check migration
evidence := lib.weighed("migration", "migration")

# METADATA
# title: Shape of the payload
# description: checks.MigrationPayload
shape := {
	"release": "digest",
	"previous": "digest",
	"declared": "flag",
	"files": "count",
	"pending": "count",
	"statements": "count",
	"findings": "findings",
	"copy.rows": "count",
	"acid.writers": "count",
	"acid.kills": "count",
	"acid.crashes": "count",
	"acid.acknowledged": "count",
	"acid.found": "count",
	"acid.lost": "count",
	"acid.partial": "count",
	"acid.twice": "count",
	"acid.miscounted": "count",
	"acid.reads": "count",
}

# METADATA
# title: Shape of a rehearsal
# description: checks.RehearsalFigures
rehearsal_shape := {
	"changes": "count",
	"samples": "count",
	"interval": "number",
	"lock_seconds": "number",
	"wait_seconds": "number",
	"probes": "count",
	"probes_failed": "count",
	"expected_lock_seconds": "number",
	"users.ready": "flag",
	"users.requests": "count",
	"users.failed": "count",
}

# METADATA
# title: Shape of a release on a schema
# description: checks.ReleaseRun
run_shape := {"ready": "flag", "requests": "count", "failed": "count"}

# METADATA
# title: Shape of writes through the app
# description: checks.ACIDFigures
app_shape := {"writers": "count", "kills": "count", "acknowledged": "count", "found": "count", "lost": "count", "partial": "count", "twice": "count", "reads": "count"}

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(faults(p)) if {
	count(faults(p)) > 0
} else := lib.ruled(array.concat(array.concat(read_rows(p), acid_rows(p)), array.concat(app_rows(p), replaced_rows(p))), got(p), "")

# METADATA
# title: Faults of the payload
# description: of what must be there, and of what may be where it is
faults(p) := ((lib.faults(p, shape, "payload") | within(p, "rehearsal", rehearsal_shape)) | (within(p, "previous_on_new", run_shape) | within(p, "app", app_shape))) | sizes(p)

# METADATA
# title: Faults of a part that may be missing
# description: none where it is
within(p, name, part) := lib.faults(part_of(p, name), part, sprintf("payload.%s", [name])) if {
	part_of(p, name) != null
} else := set()

# METADATA
# title: Part of the payload
# description: null where there is none
part_of(p, name) := object.get(p, name, null)

# METADATA
# title: Faults of the findings' sizes
# description: an unknown size is said to be so
sizes(p) := {fault |
	some f in lib.findings(p)
	some fault in lib.faults(f, {"sized": "flag"}, "payload.findings")
} | {fault |
	some f in lib.findings(p)
	not lib.is_kind("count", object.get(f, "bytes", 0))
	fault := "payload.findings.bytes must be a whole number, 0 or more"
}

# METADATA
# title: Release that replaces nothing
# description: the check was asked to compare it with itself
default is_first(_) := false

is_first(p) if p.previous == p.release

# METADATA
# title: Unsafe statements
# description: of high severity, on a big table or one of unknown size, or whatever the table's size
unsafe(p) := [f | some f in lib.findings(p); f.severity == "high"; is_big(f)]

# METADATA
# title: Statement on a big table
# description: false only where the table is known to be small
default is_big(_) := true

is_big(f) := false if {
	object.get(f, "table", "") != ""
	f.sized == true
	object.get(f, "bytes", 0) < limits.big_table_bytes
}

# METADATA
# title: Statements to look at
# description: of medium severity, or of high severity on a small table
doubtful(p) := array.concat([f | some f in lib.findings(p); f.severity == "medium"], small(p))

# METADATA
# title: Statements on small tables
# description: that would stop users of a big one
small(p) := [f | some f in lib.findings(p); f.severity == "high"; not is_big(f)]

# METADATA
# title: Demands on what was read
# description: a migrate command without files that were read proves nothing
read_rows(p) := [
	lib.row(p.release == input.release, "error", "another release was rehearsed"),
	lib.row(is_read(p), "inconclusive", "a migrate command is declared, and no migration was found: look at migrate.files in environments/app.yaml"),
	lib.row(p.pending <= p.files, "error", "more migrations are new than there are"),
	lib.row(is_spoken(p), "inconclusive", "migrations are new, and no statement of them was read"),
	lib.row(count(unsafe(p)) <= limits.max_unsafe, "fail", lib.with_findings(sprintf("%d unsafe statements, at most %d may be", [count(unsafe(p)), limits.max_unsafe]), unsafe(p))),
	lib.row(count(doubtful(p)) == 0, "warn", lib.with_findings(sprintf("%d statements to look at", [count(doubtful(p))]), doubtful(p))),
]

# METADATA
# title: Migrations were found
# description: where there is a command that carries them out
default is_read(_) := false

is_read(p) if p.declared == false

is_read(p) if p.files > 0

# METADATA
# title: Statements were read
# description: of migrations that are new
default is_spoken(_) := false

is_spoken(p) if p.pending == 0

is_spoken(p) if p.statements > 0

is_spoken(p) if count(lib.findings(p)) > 0

# METADATA
# title: Demands on writes that are cut off
# description: by statements of the check's own
acid_rows(p) := [
	lib.row((p.acid.found + p.acid.lost) == p.acid.acknowledged, "error", "found and lost writes are not those that were acknowledged"),
	lib.row(p.acid.lost <= limits.max_lost, "fail", sprintf("%d of %d acknowledged writes are lost, at most %d may be", [p.acid.lost, p.acid.acknowledged, limits.max_lost])),
	lib.row(p.acid.partial <= limits.max_partial, "fail", sprintf("%d transactions were seen in part, at most %d may be", [p.acid.partial, limits.max_partial])),
	lib.row((p.acid.twice + p.acid.miscounted) == 0, "fail", sprintf("concurrent writes were lost or made twice: counts are off by %d, %d rows are there twice", [p.acid.miscounted, p.acid.twice])),
	lib.row(p.acid.writers >= limits.min_writers, "inconclusive", sprintf("%d concurrent writers, at least %d", [p.acid.writers, limits.min_writers])),
	lib.row(p.acid.acknowledged >= limits.min_acknowledged, "inconclusive", sprintf("%d writes were acknowledged, at least %d", [p.acid.acknowledged, limits.min_acknowledged])),
	lib.row(p.acid.reads > 0, "inconclusive", "nobody looked for transactions that are there in part"),
	lib.row(p.acid.kills >= limits.min_kills, "inconclusive", sprintf("%d transactions were cut off, at least %d", [p.acid.kills, limits.min_kills])),
	lib.row(p.acid.crashes >= limits.min_crashes, "inconclusive", sprintf("the database's server was killed %d times, at least %d", [p.acid.crashes, limits.min_crashes])),
]

# METADATA
# title: Demands on writes through the app
# description: where app.yaml says how to write and read back; else that is said
app_rows(p) := [lib.row(false, "warn", "writes through the app were not tried: say in environments/app.yaml how to write and read back, drills.write")] if {
	part_of(p, "app") == null
} else := [
	lib.row((p.app.found + p.app.lost) == p.app.acknowledged, "error", "found and lost writes of the app are not those that it acknowledged"),
	lib.row(p.app.lost <= limits.max_lost, "fail", sprintf("%d of %d writes that the app acknowledged are lost, at most %d may be", [p.app.lost, p.app.acknowledged, limits.max_lost])),
	lib.row(p.app.partial <= limits.max_partial, "fail", sprintf("%d writes of the app are there in part, at most %d may be", [p.app.partial, limits.max_partial])),
	lib.row(p.app.twice == 0, "fail", sprintf("%d writes of the app are there twice", [p.app.twice])),
	lib.row(p.app.writers >= limits.min_writers, "inconclusive", sprintf("%d concurrent writers through the app, at least %d", [p.app.writers, limits.min_writers])),
	lib.row(p.app.acknowledged >= limits.min_app_acknowledged, "inconclusive", sprintf("the app acknowledged %d writes, at least %d", [p.app.acknowledged, limits.min_app_acknowledged])),
	lib.row(p.app.reads > 0, "inconclusive", "nothing was read back through the app"),
	lib.row(p.app.kills >= limits.min_kills, "inconclusive", sprintf("the app was killed %d times, at least %d", [p.app.kills, limits.min_kills])),
]

# METADATA
# title: Demands on a replacement
# description: the first release replaces nothing, which is said
replaced_rows(p) := [lib.row(false, "warn", "the first release: there was nothing to rehearse a migration on, nor a release to go back to")] if {
	is_first(p)
} else := array.concat(rehearsal_rows(p), previous_rows(p))

# METADATA
# title: Demands on a rehearsal
# description: of a release that has migrations
rehearsal_rows(p) := [] if {
	p.declared == false
} else := [lib.row(false, "inconclusive", "the migrations were not rehearsed")] if {
	part_of(p, "rehearsal") == null
} else := [
	lib.row(object.get(p.rehearsal, "problem", "") == "", "fail", sprintf("the migrate command failed on the copy: %s", [object.get(p.rehearsal, "problem", "")])),
	lib.row(is_consistent(p), "inconclusive", sprintf("%d migrations are new, and carrying them out made %d changes of the schema: they were not rehearsed on what they will meet", [p.pending, p.rehearsal.changes])),
	lib.row(p.rehearsal.samples > 0, "inconclusive", "nobody looked at the locks"),
	lib.row(p.rehearsal.interval <= limits.max_interval_seconds, "inconclusive", sprintf("locks were looked at %v s apart, at most %v", [lib.figure(p.rehearsal.interval, limits.max_interval_seconds), limits.max_interval_seconds])),
	lib.row(p.rehearsal.lock_seconds <= limits.max_lock_seconds, "fail", sprintf("a table was locked for %v s, at most %v%s", [lib.figure(p.rehearsal.lock_seconds, limits.max_lock_seconds), limits.max_lock_seconds, longest(p)])),
	lib.row(p.rehearsal.wait_seconds <= limits.max_wait_seconds, "fail", sprintf("users waited %v s for the migration, at most %v", [lib.figure(p.rehearsal.wait_seconds, limits.max_wait_seconds), limits.max_wait_seconds])),
	lib.row((p.rehearsal.probes + p.rehearsal.users.requests) > 0, "inconclusive", "nobody used the copy while it was migrated"),
	lib.row(p.rehearsal.probes_failed == 0, "fail", sprintf("%d reads and writes failed while the migration ran", [p.rehearsal.probes_failed])),
	lib.row(p.rehearsal.users.ready, "inconclusive", "the previous release did not come up on the copy as it was"),
	lib.row(p.rehearsal.users.failed <= limits.max_failed, "fail", sprintf("%d of %d requests of the previous release failed while the migration ran, at most %d may%s", [p.rehearsal.users.failed, p.rehearsal.users.requests, limits.max_failed, causes(p.rehearsal.users)])),
	lib.row(p.rehearsal.expected_lock_seconds <= limits.max_lock_seconds, "warn", sprintf("in proportion to the size of the database that the release goes to, a table would be locked for %v s, at most %v", [lib.figure(p.rehearsal.expected_lock_seconds, limits.max_lock_seconds), limits.max_lock_seconds])),
	lib.row(is_filled(p), "warn", "the copy holds no rows: how long its migration takes says little"),
]

# METADATA
# title: Rehearsal of what is new
# description: what is new changes something, and nothing else does
default is_consistent(_) := false

is_consistent(p) if {
	p.pending == 0
	p.rehearsal.changes == 0
}

is_consistent(p) if {
	p.pending > 0
	p.rehearsal.changes > 0
}

# METADATA
# title: Copy with rows
# description: where something is new
default is_filled(_) := false

is_filled(p) if p.pending == 0

is_filled(p) if p.copy.rows > 0

# METADATA
# title: Demands on the release that is replaced
# description: it goes on beside the new one, and is what a rollback goes back to
previous_rows(p) := [lib.row(false, "inconclusive", "the previous release was not tried on the new schema")] if {
	part_of(p, "previous_on_new") == null
} else := [
	lib.row(p.previous_on_new.ready, "fail", sprintf("the previous release does not come up on the new schema: %s%s", [object.get(p.previous_on_new, "problem", ""), until(p)])),
	lib.row(p.previous_on_new.failed <= limits.max_failed, "fail", sprintf("%d of %d requests of the previous release fail on the new schema, at most %d may%s%s", [p.previous_on_new.failed, p.previous_on_new.requests, limits.max_failed, causes(p.previous_on_new), until(p)])),
	lib.row(p.previous_on_new.requests >= limits.min_requests, "inconclusive", sprintf("the previous release answered %d requests on the new schema, at least %d", [p.previous_on_new.requests, limits.min_requests])),
]

# METADATA
# title: Causes of failures
# description: why how many requests failed, if the evidence says so
causes(run) := sprintf(" (%s)", [concat(", ", [sprintf("%s: %v", [why, n]) | some why, n in run.failures])]) if {
	is_object(run.failures)
	count(run.failures) > 0
} else := ""

# METADATA
# title: How far a rollback reaches
# description: if the evidence says so
until(p) := sprintf("; a rollback is possible up to %s", [p.rollback_until]) if {
	object.get(p, "rollback_until", "") != ""
} else := ""

# METADATA
# title: The lock that was held longest
# description: relation and mode, if the evidence says so
longest(p) := sprintf(" (%s, %s)", [p.rehearsal.locks[0].relation, p.rehearsal.locks[0].mode]) if {
	p.rehearsal.locks[0].existing == true
} else := ""

# METADATA
# title: What was got
# description: what is new, how long it locked, what became of writes
got(p) := sprintf("%s; %d of %d acknowledged writes lost, %d partial, by %d writers", [rehearsed(p), p.acid.lost + lost_by_app(p), p.acid.acknowledged + acknowledged_by_app(p), p.acid.partial, p.acid.writers])

# METADATA
# title: What was rehearsed
# description: pending 0 is said
rehearsed(p) := "nothing to rehearse" if {
	part_of(p, "rehearsal") == null
} else := sprintf("%d new migrations, tables locked for %v s%s", [p.pending, lib.fixed(p.rehearsal.lock_seconds, 3), until(p)])

# METADATA
# title: Writes that the app lost
# description: 0 where it was not tried
lost_by_app(p) := p.app.lost if {
	part_of(p, "app") != null
} else := 0

# METADATA
# title: Writes that the app acknowledged
# description: 0 where it was not tried
acknowledged_by_app(p) := p.app.acknowledged if {
	part_of(p, "app") != null
} else := 0
