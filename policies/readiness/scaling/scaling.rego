# METADATA
# title: Scaling
# description: auto-scaling 2–10, scale down when idle
# schemas:
#   - input: schema.input
package gate.readiness.scaling

import data.gate.lib

# METADATA
# title: Scaling up and down
# description: auto-scaling 2–10, scale down when idle
# custom:
#   remediation: "gate status says what the scaling follows and why it holds still: look at scaling and instances in the environment's declaration, and at how long an instance takes to be ready"
criterion := lib.conclude({
	"id": "scaling",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf("an instance more within %v s, back to the fewest, at most %d of at least %d requests failed", [limits.max_up_seconds, limits.max_failed, limits.min_requests]),
	"next": {"inconclusive": lib.measure("scaling"), "error": lib.measure("scaling")},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.scaling

# METADATA
# title: Evidence
# description: of check scaling
evidence := lib.weighed("scaling", "scaling")

# METADATA
# title: Shape of the payload
# description: checks.ScalingPayload
shape := {
	"metric": "text",
	"per_instance": "counts",
	"min": "positive",
	"max": "positive",
	"users": "positive",
	"before": "positive",
	"peak": "positive",
	"after": "positive",
	"new_answered": "count",
	"highest": "number",
	"target": "number",
	"known": "flag",
	"up_seconds": "number",
	"down_seconds": "number",
	"requests": "count",
	"failed": "count",
	"generator.dropped": "count",
	"saved_instance_hours": "number",
}

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(lib.faults(p, shape, "payload")) if {
	count(lib.faults(p, shape, "payload")) > 0
} else := lib.ruled(rows(p), got(p), "")

# METADATA
# title: Demands on scaling
# description: up in time, down again, nothing lost; load that called for nothing shows nothing
rows(p) := [
	lib.row(p.metric in {"concurrency", "cpu"}, "error", "the metric is unknown"),
	lib.row(p.peak >= p.before, "error", "the most instances were fewer than those at the beginning"),
	lib.row(p.failed <= p.requests, "error", "more requests failed than were sent"),
	lib.row(p.failed <= limits.max_failed, "fail", sprintf("%d of %d requests failed, at most %d may%s", [p.failed, p.requests, limits.max_failed, causes(p)])),
	lib.row(p.min < p.max, "fail", sprintf("at least %d and at most %d instances are declared: nothing can scale", [p.min, p.max])),
	lib.row(is_free(p), "fail", sprintf("%d instances served all the time, though each had up to %s of %s, target %v%s", [p.peak, lib.figure(p.highest, p.target), p.metric, p.target, blind(p)])),
	lib.row(is_moved(p), "inconclusive", sprintf("%d users drove %s to %s for each instance, target %v: too little to call for more; raise drills.users", [p.users, p.metric, lib.figure(p.highest, p.target), p.target])),
	lib.row(p.up_seconds <= limits.max_up_seconds, "fail", sprintf("an instance more served after %s s, at most %v s", [lib.figure(p.up_seconds, limits.max_up_seconds), limits.max_up_seconds])),
	lib.row(p.after <= p.min, "fail", sprintf("%d instances were left %s after the load, at most %d may be", [p.after, lib.span(p.down_seconds), p.min])),
	lib.row(p.new_answered >= limits.min_new, "inconclusive", sprintf("%d of the instances that came answered, at least %d must", [p.new_answered, limits.min_new])),
	lib.row(used(p) >= (p.before + limits.min_new), "inconclusive", sprintf("%d instances answered, at least %d must", [used(p), p.before + limits.min_new])),
	lib.row(p.requests >= limits.min_requests, "inconclusive", sprintf("%d requests, at least %d", [p.requests, limits.min_requests])),
	lib.row(p.generator.dropped <= limits.max_dropped, "inconclusive", sprintf("the generator dropped %d requests, at most %d", [p.generator.dropped, limits.max_dropped])),
]

# METADATA
# title: It grew
# description: an instance more got traffic, and it is known when
default has_grown(_) := false

has_grown(p) if {
	p.peak > p.before
	p.up_seconds > 0
}

# METADATA
# title: It was called for
# description: the metric was above its target, or nobody knew it
default is_called(_) := false

is_called(p) if p.highest > p.target

is_called(p) if p.known == false

# METADATA
# title: Free to grow
# description: it grew, or nothing called for it
default is_free(_) := false

is_free(p) if has_grown(p)

is_free(p) if not is_called(p)

# METADATA
# title: Moved
# description: it grew, or is at fault for not having grown
default is_moved(_) := false

is_moved(p) if has_grown(p)

is_moved(p) if is_called(p)

# METADATA
# title: Instances that answered
# description: at least one request
used(p) := count([n | some n in p.per_instance; n > 0])

# METADATA
# title: Missing figures in words
# description: what the scaling can't see it can't follow
blind(p) := "" if {
	p.known == true
} else := "; it had no figure to go by"

# METADATA
# title: Causes of failures
# description: why how many requests failed, if the evidence says so
causes(p) := sprintf(" (%s)", [concat(", ", [sprintf("%s: %v", [why, n]) | some why, n in p.failures])]) if {
	is_object(p.failures)
	count(p.failures) > 0
} else := ""

# METADATA
# title: What was got
# description: instances, times, failures, and what idleness has saved
got(p) := sprintf("%d to %d instances in %s, back to %d in %s; %d of %d requests failed; %s instance-hours saved so far", [p.before, p.peak, lib.span(p.up_seconds), p.after, lib.span(p.down_seconds), p.failed, p.requests, lib.fixed(p.saved_instance_hours, 2)])
