# METADATA
# title: Backup
# description: automated and tested backups
# schemas:
#   - input: schema.input
package gate.readiness.backup

import data.gate.lib

# METADATA
# title: Backup that was restored
# description: automated and tested backups
# custom:
#   remediation: "gate status says how the backups stand; mend what is named, or declare backup.dir on another disk or backup.s3, and try again"
criterion := lib.conclude({
	"id": "backup",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf("every row restored and served from; RPO ≤ %v s, RTO ≤ %v s, base backup ≤ %v h old", [limits.rpo_seconds, limits.rto_seconds, limits.max_base_age_seconds / 3600]),
	"next": {"inconclusive": lib.measure("backup"), "error": lib.measure("backup")},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.backup

# METADATA
# title: Evidence
# description: of check backup
evidence := lib.weighed("backup", "backup")

# METADATA
# title: Shape of the payload
# description: checks.BackupPayload
shape := {
	"base_time": "time",
	"base_age_seconds": "number",
	"same_disk": "flag",
	"streaming": "flag",
	"restored": "flag",
	"verified": "flag",
	"amcheck": "flag",
	"point": "flag",
	"tables": "count",
	"equal": "count",
	"rows": "count",
	"rpo_seconds": "number",
	"rto_seconds": "number",
	"answered": "count",
	"asked": "count",
	"requests": "count",
	"failed": "count",
	"quiet_p95": "number",
	"p95": "number",
	"remote": "array",
	"faults": "array",
}

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(lib.faults(p, shape, "payload")) if {
	count(lib.faults(p, shape, "payload")) > 0
} else := lib.ruled(array.concat(rows(p), lib.calm(p, limits)), got(p), "")

# METADATA
# title: Demands on a backup
# description: each of its own, so that every problem is named at once
rows(p) := [
	lib.row(count(p.faults) == 0, "fail", sprintf("%d faults%s", [count(p.faults), named(p)])),
	lib.row(p.restored, "fail", "it could not be restored and compared"),
	lib.row(p.verified, "fail", "pg_verifybackup did not pass"),
	lib.row(p.amcheck, "fail", "pg_amcheck did not pass on the copy"),
	lib.row(p.point, "fail", "the copy was not of the moment asked for"),
	lib.row(p.streaming, "fail", "what is written is not being archived"),
	lib.row(p.equal == p.tables, "fail", sprintf("%d of %d tables are equal", [p.equal, p.tables])),
	lib.row(p.answered == p.asked, "fail", sprintf("the app answered %d of %d requests rightly from the copy", [p.answered, p.asked])),
	lib.row(p.rpo_seconds <= limits.rpo_seconds, "fail", sprintf("RPO %s s, at most %v", [lib.figure(p.rpo_seconds, limits.rpo_seconds), limits.rpo_seconds])),
	lib.row(p.rto_seconds <= limits.rto_seconds, "fail", sprintf("RTO %s s, at most %v", [lib.figure(p.rto_seconds, limits.rto_seconds), limits.rto_seconds])),
	lib.row(age(p) <= limits.max_base_age_seconds, "fail", sprintf("the base backup is %s h old, at most %v", [lib.figure(age(p) / 3600, limits.max_base_age_seconds / 3600), limits.max_base_age_seconds / 3600])),
	lib.row(since(p) >= (0 - lib.tolerance_seconds), "error", "the base backup is of the future"),
	lib.row(every_remote(p), "fail", "the copy in the object store could not be restored, or is another"),
	lib.row(p.tables >= limits.min_tables, "inconclusive", sprintf("%d tables compared, at least %d", [p.tables, limits.min_tables])),
	lib.row(p.rows >= limits.min_rows, scarce(p), sprintf("%d rows compared, at least %d", [p.rows, limits.min_rows])),
	lib.row(p.asked >= 1, "inconclusive", "the app was not asked anything on the copy: app.yaml declares no safe request, or the copy was no good"),
	lib.row(p.rpo_seconds > 0, "inconclusive", "how long a row takes into the archive was not measured"),
	lib.row(p.rto_seconds > 0, "inconclusive", "how long it takes to serve from a copy was not measured"),
	lib.row(p.failed == 0, "warn", sprintf("%d of %d requests to the service failed during the drill", [p.failed, p.requests])),
	lib.row(is_elsewhere(p), "warn", "the backup is on the disk of the data alone: one disk takes both"),
]

# METADATA
# title: Too few rows
# description: where a release proves itself they show nothing; a service that people have not used yet has none
default scarce(_) := "inconclusive"

scarce(p) := "warn" if {
	p.rows == 0
	input.stage == "serving"
}

# METADATA
# title: Age of the base backup
# description: in seconds, at the decision and as it was measured, whichever is more
age(p) := max([p.base_age_seconds, since(p)])

# METADATA
# title: Time since the base backup
# description: in seconds, by the decision's clock
since(p) := (time.parse_rfc3339_ns(input.at) - time.parse_rfc3339_ns(p.base_time)) / 1000000000

# METADATA
# title: Copies in object stores are good
# description: each was restored and is the source's
default every_remote(_) := false

every_remote(p) if {
	every r in p.remote {
		r.restored == true
		r.equal == true
	}
}

# METADATA
# title: The backup is on another disk
# description: or a copy of it in an object store was restored
default is_elsewhere(_) := false

is_elsewhere(p) if p.same_disk == false

is_elsewhere(p) if count(p.remote) > 0

# METADATA
# title: Faults by name
# description: the first few, as far as they can be read
named(p) := sprintf(": %s", [concat(", ", array.slice(texts, 0, 5))]) if {
	texts := [f.what | some f in p.faults; is_string(f.what)]
	count(texts) > 0
} else := ""

# METADATA
# title: What was got
# description: what was compared, and how long it took
got(p) := sprintf("%d of %d tables equal, %d rows; RPO %s s, RTO %s s, base backup %s h old", [
	p.equal, p.tables, p.rows,
	lib.figure(p.rpo_seconds, limits.rpo_seconds),
	lib.figure(p.rto_seconds, limits.rto_seconds),
	lib.figure(p.base_age_seconds / 3600, limits.max_base_age_seconds / 3600),
])
