# METADATA
# title: Update
# description: zero-downtime updates proven in staging
# schemas:
#   - input: schema.input
package gate.readiness.update

import data.gate.lib

# METADATA
# title: Update without downtime
# description: zero-downtime updates proven in staging
# custom:
#   remediation: "a failed request means that an instance left before its connections did: look at readiness, drain and stop_timeout, mend and commit"
criterion := lib.conclude({
	"id": "update",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf("at most %d of at least %d requests failed, %d instances replaced", [limits.max_failed, limits.min_requests, limits.min_replaced]),
	"next": {"inconclusive": lib.measure("update"), "error": lib.measure("update")},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.update

# METADATA
# title: Evidence
# description: of check update
evidence := lib.weighed("update", "update")

# METADATA
# title: Shape of the payload
# description: checks.UpdatePayload
shape := {
	"to": "digest",
	"requests": "count",
	"failed": "count",
	"replaced": "count",
	"per_instance": "counts",
	"together": "count",
	"log.sent": "count",
	"log.logged": "count",
	"log.missing": "count",
	"log.doubled": "count",
	"generator.dropped": "count",
	"quiet_p95": "number",
	"p95": "number",
}

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(lib.faults(p, shape, "payload")) if {
	count(lib.faults(p, shape, "payload")) > 0
} else := lib.ruled(array.concat(rows(p), lib.calm(p, limits)), got(p), "")

# METADATA
# title: Demands on an update
# description: nothing may fail, and the load must have met what was replaced
rows(p) := [
	lib.row(p.to == input.release, "error", "the update was measured to another release"),
	lib.row(p.failed <= p.requests, "error", "more requests failed than were sent"),
	lib.row(p.failed <= limits.max_failed, "fail", sprintf("%d of %d requests failed, at most %d may%s", [p.failed, p.requests, limits.max_failed, causes(p)])),
	lib.row((p.log.logged + (p.log.missing + p.log.doubled)) == p.log.sent, "error", "the lines of the access log do not add up"),
	lib.row(p.log.sent <= p.requests, "error", "more requests were looked for in the access log than were sent"),
	lib.row(p.log.logged == p.log.sent, "fail", sprintf("of %d answered requests %d have one line in the access log: %d have none, %d several", [p.log.sent, p.log.logged, p.log.missing, p.log.doubled])),
	lib.row(p.log.sent >= (p.requests - p.failed), "inconclusive", sprintf("%d of %d answered requests were looked for in the access log", [p.log.sent, p.requests - p.failed])),
	lib.row(p.requests >= limits.min_requests, "inconclusive", sprintf("%d requests, at least %d", [p.requests, limits.min_requests])),
	lib.row(p.replaced >= limits.min_replaced, "inconclusive", sprintf("%d instances replaced, at least %d", [p.replaced, limits.min_replaced])),
	lib.row(p.together >= limits.min_instances_used, "fail", sprintf("while nothing was replaced, %d instances answered, at least %d must: the load is not spread", [p.together, limits.min_instances_used])),
	lib.row(used(p) >= limits.min_instances_used, "inconclusive", sprintf("%d instances answered, at least %d must", [used(p), limits.min_instances_used])),
	lib.row(p.generator.dropped <= limits.max_dropped, "inconclusive", sprintf("the generator dropped %d requests, at most %d", [p.generator.dropped, limits.max_dropped])),
]

# METADATA
# title: Instances that answered
# description: at least one request
used(p) := count([n | some n in p.per_instance; n > 0])

# METADATA
# title: Causes of failures
# description: why how many requests failed, if the evidence says so
causes(p) := sprintf(" (%s)", [concat(", ", [sprintf("%s: %v", [why, n]) | some why, n in p.failures])]) if {
	is_object(p.failures)
	count(p.failures) > 0
} else := ""

# METADATA
# title: What was got
# description: failures of requests, and what was replaced meanwhile
got(p) := sprintf("%d of %d requests failed while %d instances were replaced; %d answered", [p.failed, p.requests, p.replaced, used(p)])
