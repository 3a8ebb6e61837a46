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
		"p95 < %v s, p99 < %v s, success ≥ %s with %d users, knee ≥ %v × what they ask for",
		[limits.p95_seconds, limits.p99_seconds, lib.percentage(limits.success), limits.min_users, limits.min_headroom],
	),
	"next": {"inconclusive": again, "error": again},
})

# METADATA
# title: Command that measures again
# description: runs of one key are pooled, so it adds samples
again := sprintf("%s (about three minutes)", [lib.measure("load")])

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
	"think_seconds": "number",
	"little_law": "number",
	"generator.dropped": "count",
	"closed.seconds": "number",
	"closed.rate": "number",
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
# title: Shape of the phase without think time
# description: the users ask again at once
zero_think_shape := {
	"zero_think.seconds": "number",
	"zero_think.endpoints": "array",
}

# METADATA
# title: Shape of the knee
# description: checks.LoadKnee
knee_shape := {
	"lower": "number",
	"upper": "number",
	"limit": "string",
	"steps": "array",
}

# METADATA
# title: Shape of a step towards the knee
# description: checks.KneeStep
step_shape := {
	"rate": "number",
	"requests": "count",
	"state": "text",
}

# METADATA
# title: Shape of the CHECKPOINT
# description: checks.LoadCheckpoint
checkpoint_shape := {
	"forced": "flag",
	"during.requests": "count",
	"during.p95": "number",
}

# METADATA
# title: Shape of the sequential tests
# description: checks.LoadEarly
early_shape := {
	"bad": "share",
	"risk": "share",
	"closed.verdict": "text",
	"closed.stopped": "flag",
	"closed.requests": "count",
	"closed.failed": "count",
	"open.verdict": "text",
	"open.stopped": "flag",
	"open.requests": "count",
	"open.failed": "count",
}

# METADATA
# title: Faults of the sequential tests
# description: without them nothing stopped early
early_faults(p) := {fault |
	lib.at(p, "early") != null
	some fault in lib.faults(p.early, early_shape, "early")
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
} else := ({fault |
	some phase in phases
	some i, f in p[phase].endpoints
	some fault in lib.faults(f, figure_shape, sprintf("%s.endpoints[%d]", [phase, i]))
} | {fault |
	some phase in phases
	some fault in lib.faults(object.union(p[phase].all, {"name": "all"}), figure_shape, sprintf("%s.all", [phase]))
}) | beyond_faults(p)

# METADATA
# title: Faults of what may be absent
# description: absent it is not known, which is judged; there and odd it is a fault
beyond_faults(p) := ((((({fault |
	lib.at(p, "zero_think") != null
	some fault in (lib.faults(p, zero_think_shape, "payload") | lib.faults(lib.at(p, "zero_think.all"), object.remove(figure_shape, ["name"]), "zero_think.all"))
} | {fault |
	some i, f in p.zero_think.endpoints
	some fault in lib.faults(f, figure_shape, sprintf("zero_think.endpoints[%d]", [i]))
}) | {fault |
	lib.at(p, "knee") != null
	some fault in lib.faults(p.knee, knee_shape, "knee")
}) | {fault |
	some i, s in p.knee.steps
	some fault in lib.faults(s, step_shape, sprintf("knee.steps[%d]", [i]))
}) | {fault |
	some path in ["restarts", "knee.restarts"]
	lib.at(p, path) != null
	some fault in lib.faults(p, {path: "count"}, "payload")
}) | early_faults(p)) | {fault |
	lib.at(p, "checkpoint") != null
	some fault in lib.faults(p.checkpoint, checkpoint_shape, "checkpoint")
}

# METADATA
# title: Result for one payload
# description: faults come first
judge(p) := lib.mistyped(faults(p)) if {
	count(faults(p)) > 0
} else := lib.ruled(array.concat(array.concat(meter_rows(p), beyond), all_rows), got(p), "") if {
	beyond := array.concat(array.concat(restart_rows(p), zero_think_rows(p)), array.concat(array.concat(knee_rows(p), checkpoint_rows(p)), early_rows(p)))

	# A figure without rows would be a figure without a judge.
	per_figure := [figure_rows(phase, f, stopped(p, phase)) | some phase in phases; some f in figures(p[phase])]
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
	lib.row(p.users >= limits.min_users, "inconclusive", sprintf("%d users, at least %d must", [p.users, limits.min_users])),
	lib.row(long_enough(p), "inconclusive", sprintf("closed model kept for %s s, at least %d", [lib.figure(p.closed.seconds, limits.min_seconds), limits.min_seconds])),
	lib.row(p.open.seconds > 0, "inconclusive", "the open model did not run"),
	lib.row(abs(p.little_law - 1) <= limits.max_little_law_error, "inconclusive", sprintf("the meter is not sound: Little's law gives %s, must be 1 ± %v", [lib.figure(p.little_law, 1), limits.max_little_law_error])),
	lib.row(p.generator.dropped <= limits.max_dropped, "inconclusive", sprintf("the generator dropped %d requests, at most %d", [p.generator.dropped, limits.max_dropped])),
	lib.row(count(p.closed.endpoints) > 0, "inconclusive", "no endpoint was asked"),
	lib.row(names(p.closed) == names(p.open), "error", "the two phases asked different endpoints"),
	lib.row(adds_up(p.closed), "error", "the closed phase does not add up: its endpoints repeat, or their requests are not those of all"),
	lib.row(adds_up(p.open), "error", "the open phase does not add up: its endpoints repeat, or their requests are not those of all"),
]

# METADATA
# title: Demands on restarts
# description: what nobody counted is not none
restart_rows(p) := [lib.row(p.restarts <= limits.max_restarts, "fail", sprintf("%d instances restarted under load, at most %d may", [p.restarts, limits.max_restarts]))] if {
	lib.at(p, "restarts") != null
} else := [lib.row(false, "inconclusive", "nobody counted whether instances restarted")]

# METADATA
# title: Demands on the users without think time
# description: 50 of them at once is the strictest sense of 50 concurrent users
zero_think_rows(p) := [lib.row(false, "inconclusive", "the users without think time were not measured")] if lib.at(p, "zero_think") == null

zero_think_rows(p) := array.concat(
	[
		lib.row(p.zero_think.seconds > 0, "inconclusive", "the users without think time were not measured"),
		lib.row(names(p.closed) == names(p.zero_think), "error", "the users without think time asked different endpoints"),
		lib.row(adds_up(p.zero_think), "error", "the phase without think time does not add up: its endpoints repeat, or their requests are not those of all"),
	],
	figure_rows("without think time", object.union(p.zero_think.all, {"name": "all"}), false),
)

# METADATA
# title: What the users ask for
# description: >-
#   Requests a second. A service that is slow is asked for less, which must not
#   lower what it has to do: users who think for a second ask once a second at most.
need(p) := max([p.closed.rate, p.users / p.think_seconds]) if {
	p.think_seconds > 0
} else := p.closed.rate

# METADATA
# title: Demands on the knee
# description: >-
#   A rate that was too much for the service fails at the limit. One that was too
#   much for the meter shows nothing but what it could sustain.
knee_rows(p) := [lib.row(false, "inconclusive", "the knee was not searched for")] if lib.at(p, "knee") == null

knee_rows(p) := [
	lib.row(is_knee(p.knee), "error", "the knee does not add up: its bounds are not those of its steps"),
	lib.row(reached(p.knee) > wanted, "fail", sprintf("the knee is below %s requests/s, must be ≥ %s (%v × what the users ask for): %s", [lib.figure(p.knee.upper, wanted), lib.figure(wanted, p.knee.upper), limits.min_headroom, because(p.knee)])),
	lib.row(p.knee.lower >= wanted, "inconclusive", sprintf("the knee is only sure to be ≥ %s requests/s, must be ≥ %s (%v × what the users ask for)%s", [lib.figure(p.knee.lower, wanted), lib.figure(wanted, p.knee.lower), limits.min_headroom, meanwhile(p.knee)])),
	lib.row(sustaining(p.knee) >= limits.min_requests, "inconclusive", sprintf("the knee's lower bound was seen with %d requests, at least %d", [sustaining(p.knee), limits.min_requests])),
	lib.row(p.knee.limit != "unknown", "warn", sprintf("what limits the service is not known: %s", [because(p.knee)])),
	lib.row(lib.at(p, "knee.restarts") != null, "inconclusive", "nobody counted whether instances restarted beyond the knee"),
	lib.row(object.get(p.knee, "restarts", 0) <= limits.max_knee_restarts, "warn", sprintf("%v instances restarted when there was more than they could do", [object.get(p.knee, "restarts", 0)])),
] if {
	wanted := limits.min_headroom * need(p)
}

# METADATA
# title: Rate that was too much
# description: greater than any where none was
reached(knee) := knee.upper if {
	knee.upper > 0
} else := lib.greatest_number

# METADATA
# title: Knee that adds up
# description: its lower bound is a step that was sustained, its upper one a step that was not
default is_knee(_) := false

is_knee(knee) if {
	knee.lower in ({0} | {s.rate | some s in knee.steps; s.state == "sustained"; s.requests > 0})
	knee.upper in ({0} | {s.rate | some s in knee.steps; s.state == "saturated"})
	knee.lower < reached(knee)
	knee.limit in limits_of[knee.upper > 0]
}

# METADATA
# title: Requests behind the lower bound
# description: of the steps at its rate that were sustained
sustaining(knee) := sum([s.requests | some s in knee.steps; s.state == "sustained"; s.rate == knee.lower])

# METADATA
# title: Words for what limits
# description: the service, where a rate was too much for it; else the meter, or nothing
limits_of := {
	true: {"cpu", "locks", "connections", "service", "unknown"},
	false: {"", "generator", "neighbours"},
}

# METADATA
# title: Limiting resource
# description: with what was seen of it
because(knee) := sprintf("limited by %s, %s", [knee.limit, knee.because]) if {
	is_string(object.get(knee, "because", null))
	knee.limit != ""
} else := "by nothing that was seen"

# METADATA
# title: What stood in the way
# description: where it was not the service
meanwhile(knee) := sprintf(": %s", [because(knee)]) if {
	knee.limit in {"generator", "neighbours"}
} else := ""

# METADATA
# title: Demands on the CHECKPOINT
# description: >-
#   A service that stalls at one does so every few minutes. Where none could be
#   forced (an external database's user may not) the figures hold all the same, but
#   for what a CHECKPOINT would have done to them: that is worth a warning.
checkpoint_rows(p) := [
	lib.row(p.checkpoint.during.requests > 0, "inconclusive", "no request was due while a CHECKPOINT was forced"),
	lib.row(p.checkpoint.during.p95 < limits.p95_seconds, "fail", sprintf("while a CHECKPOINT was forced p95 was %s s, must be below %v", [lib.figure(p.checkpoint.during.p95, limits.p95_seconds), limits.p95_seconds])),
] if {
	lib.at(p, "checkpoint.forced") == true
} else := [lib.row(false, "warn", sprintf("no CHECKPOINT was forced: %s", [unforced(p)]))] if {
	lib.at(p, "checkpoint.forced") == false
} else := [lib.row(false, "inconclusive", "nothing says whether a CHECKPOINT was forced")]

# METADATA
# title: Why no CHECKPOINT was forced
# description: as the evidence says
unforced(p) := p.checkpoint.reason if {
	is_string(lib.at(p, "checkpoint.reason"))
} else := "nothing that could do so was there"

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
#   that a hopeless run fails at once. Where a sequential test has ended the phase,
#   its verdict takes the place of what takes a full minute to show.
figure_rows(phase, f, ended) := [
	lib.row(f.succeeded <= f.requests, "error", sprintf("%s: more succeeded than were sent", [where])),
	lib.row(f.p95 <= f.p99, "error", sprintf("%s: p95 is above p99", [where])),
	lib.row(enough(f, ended), "inconclusive", sprintf("%s: %d requests, at least %d", [where, f.requests, limits.min_requests])),
	lib.row((most - failed) >= (limits.success * most), "fail", sprintf("%s: %d of %d requests failed, success must reach %s%s", [where, failed, f.requests, wanted, causes(f)])),
	lib.row(sure(f, ended), "inconclusive", sprintf("%s: success is only sure to be ≥ %s, must be ≥ %s: more requests are needed", [where, lib.percent(lowest(f), limits.success), wanted])),
	lib.row(f.p95 < limits.p95_seconds, "fail", sprintf("%s: p95 %s s, must be below %v", [where, lib.figure(f.p95, limits.p95_seconds), limits.p95_seconds])),
	lib.row(bounded(f, "p95", limits.p95_seconds, ended), "inconclusive", sprintf("%s: p95 is only sure to be ≤ %s s, must be below %v: more requests are needed", [where, lib.figure(upper(f, "p95"), limits.p95_seconds), limits.p95_seconds])),
	lib.row(f.p99 < limits.p99_seconds, "fail", sprintf("%s: p99 %s s, must be below %v", [where, lib.figure(f.p99, limits.p99_seconds), limits.p99_seconds])),
	lib.row(bounded(f, "p99", limits.p99_seconds, ended), "inconclusive", sprintf("%s: p99 is only sure to be ≤ %s s, must be below %v: more requests are needed", [where, lib.figure(upper(f, "p99"), limits.p99_seconds), limits.p99_seconds])),
] if {
	where := sprintf("%s %s", [phase, f.name])
	failed := f.requests - f.succeeded
	most := max([f.requests, limits.min_requests])
}

# METADATA
# title: Phase that a sequential test has ended
# description: only with the verdict that it is good
default stopped(_, _) := false

stopped(p, phase) if {
	p.early[phase].stopped == true
	p.early[phase].verdict == "good"
}

# METADATA
# title: Long enough
# description: the kept seconds, or as long as it took to be sure
default long_enough(_) := false

long_enough(p) if p.closed.seconds >= limits.min_seconds

long_enough(p) if stopped(p, "closed")

# METADATA
# title: Enough requests
# description: a sequential test has counted how many it needs
default enough(_, _) := false

enough(f, _) if f.requests >= limits.min_requests

enough(_, true)

# METADATA
# title: Success that is sure enough
# description: by its lower bound, or by the sequential test
default sure(_, _) := false

sure(f, _) if lowest(f) >= limits.success

sure(_, true)

# METADATA
# title: Quantile that is sure to be within its limit
# description: a short phase shows so of all requests together only
default bounded(_, _, _, _) := false

bounded(f, quantile, limit, _) if upper(f, quantile) < limit

bounded(f, _, _, true) if f.name != "all"

# METADATA
# title: Demands on a measurement that might stop early
# description: >-
#   It counts for a change alone. The test must be as strict as the threshold, and
#   a service that it calls bad has failed.
early_rows(p) := [] if lib.at(p, "early") == null

early_rows(p) := array.concat(
	[
		lib.row(input.stage == "change", "inconclusive", "the measurement might stop early, so it counts for a change alone"),
		lib.row((1 - p.early.bad) >= limits.success, "inconclusive", sprintf("the sequential test is about success of %s, must reach %s", [lib.percentage(1 - p.early.bad), wanted])),
		lib.row(p.early.risk <= limits.max_early_risk, "inconclusive", sprintf("the sequential test is wrong with probability %v, at most %v", [p.early.risk, limits.max_early_risk])),
	],
	[lib.row(p.early[phase].verdict in {"good", "open"}, "fail", sprintf("the sequential test of the %s model ended it: %v of %v requests failed", [phase, p.early[phase].failed, p.early[phase].requests])) |
		some phase in phases
	],
)

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
got(p) := sprintf("p95 %s s (≤ %s), p99 %s s (≤ %s), success ≥ %s of %d%s", [
	lib.figure(max([f.p95 | some f in all]), limits.p95_seconds),
	lib.figure(max([upper(f, "p95") | some f in all]), limits.p95_seconds),
	lib.figure(max([f.p99 | some f in all]), limits.p99_seconds),
	lib.figure(max([upper(f, "p99") | some f in all]), limits.p99_seconds),
	lib.percent(min([lowest(f) | some f in all]), limits.success),
	p.closed.all.requests + p.open.all.requests,
	knee_got(p),
]) if {
	all := [f | some phase in phases; some f in figures(p[phase])]
}

# METADATA
# title: Knee that was got
# description: its bounds, and what limits the service there
knee_got(p) := sprintf(", knee %s/s (%s)", [range(p.knee), limit_words(p.knee)]) if {
	lib.at(p, "knee") != null
} else := ""

# METADATA
# title: Bounds of the knee in words
# description: from below alone where nothing was too much for the service
range(knee) := sprintf("%v–%v", [round(knee.lower), round(knee.upper)]) if {
	knee.upper > 0
} else := sprintf("≥ %v", [round(knee.lower)])

# METADATA
# title: Limit in a word
# description: none where nothing was too much
limit_words(knee) := knee.limit if {
	knee.limit != ""
} else := "not reached"
