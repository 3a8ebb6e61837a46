# METADATA
# title: Load
# description: 50 concurrent users, <2 s, 99%+, known limits
# schemas:
#   - input: schema.input
package gate.readiness.load

import data.gate.lib

# METADATA
# title: Fast and right under load
# description: 50 concurrent users, <2 s, 99%+, known limits
# custom:
#   remediation: "the timeline in the evidence shows where it slows down (gate evidence show); mend it and commit"
criterion := lib.conclude({
	"id": "load",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf(
		"p95 < %v s, p99 < %v s, success ≥ %s with %d users",
		[limits.p95_seconds, limits.p99_seconds, lib.percentage(limits.success), limits.min_users],
	),
	"next": {"inconclusive": again, "error": again},
})

# METADATA
# title: Command that measures again
# description: runs of one key are pooled, so it adds samples
again := sprintf("%s (about 100 s)", [lib.measure("load")])

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.load

# METADATA
# title: Share of success that is wanted
# description: in percent
wanted := lib.percentage(limits.success)

# METADATA
# title: Evidence
# description: of check load
evidence := lib.weighed("load", "load")

# METADATA
# title: Shape of the payload
# description: checks.LoadPayload
shape := {
	"users": "count",
	"restarts": "count",
	"little_law": "number",
	"generator.dropped": "count",
	"closed.seconds": "number",
	"closed.endpoints": "array",
	"closed.all": "object",
	"open.seconds": "number",
	"open.endpoints": "array",
	"open.all": "object",
}

# METADATA
# title: Shape of one endpoint's figures
# description: checks.EndpointFigure
figure_shape := {
	"name": "text",
	"requests": "count",
	"succeeded": "count",
	"success_lower": "share",
	"p95": "number",
	"p99": "number",
	"p95_upper": "number",
	"p99_upper": "number",
}

# METADATA
# title: Both models of load
# description: the closed one hides stalls, the open one does not
phases := ["closed", "open"]

# METADATA
# title: Faults of a payload
# description: of its shape first, then of every figure in it
faults(p) := outer if {
	outer := lib.faults(p, shape, "payload")
	count(outer) > 0
} else := {fault |
	some phase in phases
	some i, f in p[phase].endpoints
	some fault in lib.faults(f, figure_shape, sprintf("%s.endpoints[%d]", [phase, i]))
} | {fault |
	some phase in phases
	some fault in lib.faults(object.union(p[phase].all, {"name": "all"}), figure_shape, sprintf("%s.all", [phase]))
}

# METADATA
# title: Result for one payload
# description: faults come first
judge(p) := lib.mistyped(faults(p)) if {
	count(faults(p)) > 0
} else := lib.ruled(array.concat(meter_rows(p), all_rows), got(p), "") if {
	# A figure without rows would be a figure without a judge.
	per_figure := [figure_rows(phase, f) | some phase in phases; some f in figures(p[phase])]
	count(per_figure) == (count(p.closed.endpoints) + count(p.open.endpoints)) + 2
	all_rows := [r | some rs in per_figure; some r in rs]
}

# METADATA
# title: Figures of a phase
# description: each endpoint's and, where there is more than one, that of all
figures(phase) := array.concat(phase.endpoints, [object.union(phase.all, {"name": "all"})])

# METADATA
# title: Demands on the meter and the scenario
# description: what was measured, how long, and whether the meter can be believed
meter_rows(p) := [
	lib.row(p.restarts <= limits.max_restarts, "fail", sprintf("%d instances restarted under load, at most %d may", [p.restarts, limits.max_restarts])),
	lib.row(p.users >= limits.min_users, "inconclusive", sprintf("%d users, at least %d must", [p.users, limits.min_users])),
	lib.row(p.closed.seconds >= limits.min_seconds, "inconclusive", sprintf("closed model kept for %s s, at least %d", [lib.figure(p.closed.seconds, limits.min_seconds), limits.min_seconds])),
	lib.row(p.open.seconds > 0, "inconclusive", "the open model did not run"),
	lib.row(abs(p.little_law - 1) <= limits.max_little_law_error, "inconclusive", sprintf("the meter is not sound: Little's law gives %s, must be 1 ± %v", [lib.figure(p.little_law, 1), limits.max_little_law_error])),
	lib.row(p.generator.dropped <= limits.max_dropped, "inconclusive", sprintf("the generator dropped %d requests, at most %d", [p.generator.dropped, limits.max_dropped])),
	lib.row(count(p.closed.endpoints) > 0, "inconclusive", "no endpoint was asked"),
	lib.row(names(p.closed) == names(p.open), "error", "the two phases asked different endpoints"),
	lib.row(adds_up(p.closed), "error", "the closed phase does not add up: its endpoints repeat, or their requests are not those of all"),
	lib.row(adds_up(p.open), "error", "the open phase does not add up: its endpoints repeat, or their requests are not those of all"),
]

# METADATA
# title: Names of a phase's endpoints
# description: an endpoint that is missing in one phase was not measured
names(phase) := {f.name | some f in phase.endpoints}

# METADATA
# title: Phase adds up
# description: each endpoint once, and no request beside them
default adds_up(_) := false

adds_up(phase) if {
	count(names(phase)) == count(phase.endpoints)
	sum([f.requests | some f in phase.endpoints]) == phase.all.requests
	sum([f.succeeded | some f in phase.endpoints]) == phase.all.succeeded
}

# METADATA
# title: Demands on one figure
# description: >-
#   A point beyond its limit fails. A point within, whose bound is beyond, needs
#   more samples. Requests short of the least count as if they had succeeded, so
#   that a hopeless run fails at once.
figure_rows(phase, f) := [
	lib.row(f.succeeded <= f.requests, "error", sprintf("%s: more succeeded than were sent", [where])),
	lib.row(f.p95 <= f.p99, "error", sprintf("%s: p95 is above p99", [where])),
	lib.row(f.requests >= limits.min_requests, "inconclusive", sprintf("%s: %d requests, at least %d", [where, f.requests, limits.min_requests])),
	lib.row((most - failed) >= (limits.success * most), "fail", sprintf("%s: %d of %d requests failed, success must reach %s%s", [where, failed, f.requests, wanted, causes(f)])),
	lib.row(lowest(f) >= limits.success, "inconclusive", sprintf("%s: success is only sure to be ≥ %s, must be ≥ %s: more requests are needed", [where, lib.percent(lowest(f), limits.success), wanted])),
	lib.row(f.p95 < limits.p95_seconds, "fail", sprintf("%s: p95 %s s, must be below %v", [where, lib.figure(f.p95, limits.p95_seconds), limits.p95_seconds])),
	lib.row(upper(f, "p95") < limits.p95_seconds, "inconclusive", sprintf("%s: p95 is only sure to be ≤ %s s, must be below %v: more requests are needed", [where, lib.figure(upper(f, "p95"), limits.p95_seconds), limits.p95_seconds])),
	lib.row(f.p99 < limits.p99_seconds, "fail", sprintf("%s: p99 %s s, must be below %v", [where, lib.figure(f.p99, limits.p99_seconds), limits.p99_seconds])),
	lib.row(upper(f, "p99") < limits.p99_seconds, "inconclusive", sprintf("%s: p99 is only sure to be ≤ %s s, must be below %v: more requests are needed", [where, lib.figure(upper(f, "p99"), limits.p99_seconds), limits.p99_seconds])),
] if {
	where := sprintf("%s %s", [phase, f.name])
	failed := f.requests - f.succeeded
	most := max([f.requests, limits.min_requests])
}

# METADATA
# title: Bound from above
# description: never below the point that it bounds
upper(f, "p95") := max([f.p95, f.p95_upper])

upper(f, "p99") := max([f.p99, f.p99_upper])

# METADATA
# title: Success that is sure
# description: the lower bound, never above the observed share
lowest(f) := min([f.success_lower, f.succeeded / f.requests]) if {
	f.requests > 0
} else := 0

# METADATA
# title: Causes of failures
# description: why how many requests failed, if the evidence says so
causes(f) := sprintf(" (%s)", [concat(", ", [sprintf("%s: %v", [why, n]) | some why, n in f.failures])]) if {
	is_object(f.failures)
	count(f.failures) > 0
} else := ""

# METADATA
# title: What was got
# description: the worst figures of both phases and the requests behind them
got(p) := sprintf("p95 %s s (≤ %s), p99 %s s (≤ %s), success ≥ %s of %d", [
	lib.figure(max([f.p95 | some f in all]), limits.p95_seconds),
	lib.figure(max([upper(f, "p95") | some f in all]), limits.p95_seconds),
	lib.figure(max([f.p99 | some f in all]), limits.p99_seconds),
	lib.figure(max([upper(f, "p99") | some f in all]), limits.p99_seconds),
	lib.percent(min([lowest(f) | some f in all]), limits.success),
	p.closed.all.requests + p.open.all.requests,
]) if {
	all := [f | some phase in phases; some f in figures(p[phase])]
}
