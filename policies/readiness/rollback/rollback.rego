# METADATA
# title: Rollback
# description: deployments with rollback
# schemas:
#   - input: schema.input
package gate.readiness.rollback

import data.gate.lib

# METADATA
# title: Rollback that was rehearsed
# description: deployments with rollback
# custom:
#   remediation: "the previous release must serve on this release's schema and data: keep migrations compatible with it (add first, remove a release later), mend and commit"
criterion := lib.conclude({
	"id": "rollback",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf("at most %d of at least %d requests failed, back within %v s, both ways seen", [limits.max_failed, limits.min_requests, limits.max_seconds]),
	"next": {"inconclusive": lib.measure("rollback"), "error": lib.measure("rollback")},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.rollback

# METADATA
# title: Evidence
# description: of check rollback
evidence := lib.weighed("rollback", "rollback")

# METADATA
# title: Shape of the payload
# description: checks.RollbackPayload
shape := {
	"from": "digest",
	"to": "digest",
	"first": "flag",
	"reached": "flag",
	"requests": "count",
	"failed": "count",
	"failed_there": "count",
	"by_previous": "count",
	"by_release": "count",
	"back_seconds": "number",
	"forth_seconds": "number",
	"schema": "text",
	"per_instance": "counts",
	"writes.declared": "flag",
	"writes.other": "count",
	"writes.sent": "count",
	"writes.acknowledged": "count",
	"writes.found": "count",
	"writes.missing": "count",
	"writes.doubled": "count",
	"generator.dropped": "count",
	"quiet_p95": "number",
	"p95": "number",
}

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(lib.faults(p, shape, "payload")) if {
	count(lib.faults(p, shape, "payload")) > 0
} else := lib.ruled(array.concat(rows(p), lib.calm(p, limits)), got(p), note(p))

# METADATA
# title: Demands on a rollback
# description: the earlier release comes up and serves, and the release after it
rows(p) := [
	lib.row(p.to == input.release, "error", "the rollback was measured from another release"),
	lib.row(is_told(p), "error", "the evidence does not tell the first release from others"),
	lib.row(p.failed <= p.requests, "error", "more requests failed than were sent"),
	lib.row(is_counted(p.writes), "error", "the writes do not add up"),
	lib.row(p.reached, "fail", sprintf("the earlier release did not come up%s", [problem(p)])),
	lib.row(p.failed <= limits.max_failed, "fail", sprintf("%d of %d requests failed, at most %d may; %d of them while the earlier release had the traffic%s", [p.failed, p.requests, limits.max_failed, p.failed_there, causes(p)])),
	lib.row(p.back_seconds <= limits.max_seconds, "fail", sprintf("it took %s s, at most %v s", [lib.figure(p.back_seconds, limits.max_seconds), limits.max_seconds])),
	lib.row(p.writes.missing <= limits.max_missing, "fail", sprintf("%d acknowledged writes are missing, at most %d may be", [p.writes.missing, limits.max_missing])),
	lib.row(p.writes.doubled <= limits.max_doubled, "fail", sprintf("%d writes were stored more than once, at most %d may be", [p.writes.doubled, limits.max_doubled])),
	lib.row(used(p) >= 2, "inconclusive", sprintf("%d instances answered: those of both releases must", [used(p)])),
	lib.row(p.requests >= limits.min_requests, "inconclusive", sprintf("%d requests, at least %d", [p.requests, limits.min_requests])),
	lib.row(p.by_previous >= limits.min_answered, "inconclusive", sprintf("the earlier release answered %d requests, at least %d must", [p.by_previous, limits.min_answered])),
	lib.row(p.by_release >= limits.min_answered, "inconclusive", sprintf("the release answered %d requests after its return, at least %d must", [p.by_release, limits.min_answered])),
	lib.row(p.back_seconds > 0, "inconclusive", "no time is stated"),
	lib.row(p.generator.dropped <= limits.max_dropped, "inconclusive", sprintf("the generator dropped %d requests, at most %d", [p.generator.dropped, limits.max_dropped])),
]

# METADATA
# title: The first release is told from others
# description: it alone goes from itself to itself
default is_told(_) := false

is_told(p) if {
	p.first == true
	p.from == p.to
}

is_told(p) if {
	p.first == false
	p.from != p.to
}

# METADATA
# title: Writes that add up
# description: what was acknowledged was found, is missing or doubled
default is_counted(_) := false

is_counted(w) if {
	w.acknowledged <= w.sent
	w.found + w.missing <= w.acknowledged
	w.acknowledged <= w.found + (w.missing + w.doubled)
}

# METADATA
# title: Instances that answered
# description: at least one request
used(p) := count([n | some n in p.per_instance; n > 0])

# METADATA
# title: Problem in words
# description: why the earlier release did not come up, if the evidence says so
problem(p) := sprintf(": %s", [p.problem]) if {
	is_string(p.problem)
	p.problem != ""
} else := ""

# METADATA
# title: Causes of failures
# description: why how many requests failed, if the evidence says so
causes(p) := sprintf(" (%s)", [concat(", ", [sprintf("%s: %v", [why, n]) | some why, n in p.failures])]) if {
	is_object(p.failures)
	count(p.failures) > 0
} else := ""

# METADATA
# title: What the rehearsal was
# description: to what extent migrations were rehearsed
note(p) := p.schema

# METADATA
# title: What was got
# description: failures of requests, and the times of both ways
got(p) := sprintf("%d of %d requests failed; back in %s s, forth in %s s", [p.failed, p.requests, lib.fixed(p.back_seconds, 2), lib.fixed(p.forth_seconds, 3)])
