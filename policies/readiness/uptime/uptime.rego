# METADATA
# title: Uptime
# description: 99.9% over 30 days
# schemas:
#   - input: schema.input
package gate.readiness.uptime

import data.gate.lib

# METADATA
# title: Uptime over 30 days
# description: 99.9% over 30 days
# custom:
#   remediation: "gate evidence show of the evidence names the hours; until 30 days are on record only the service's further life can show more, and hours of gate watch on another machine, once imported, cover what this one misses"
criterion := lib.conclude({
	"id": "uptime",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf("at least %s of %s, which leaves %s", [lib.percentage(limits.slo), lib.span(limits.window_seconds), lib.span(budget)]),
	"next": {"inconclusive": lib.measure("uptime"), "error": lib.measure("uptime")},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.uptime

# METADATA
# title: Evidence
# description: of check uptime
evidence := lib.weighed("uptime", "uptime")

# METADATA
# title: Shape of the payload
# description: checks.UptimePayload
shape := {
	"from": "time",
	"to": "time",
	"window_seconds": "positive",
	"seconds": "count",
	"ok": "count",
	"failed": "count",
	"missed": "count",
	"steps": "count",
	"outside_hours": "count",
}

# METADATA
# title: Error budget
# description: seconds of the window that may be down
budget := (1 - limits.slo) * limits.window_seconds

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(lib.faults(p, shape, "payload")) if {
	count(lib.faults(p, shape, "payload")) > 0
} else := lib.ruled(rows(p), got(p), sprintf("%s of the budget left", [lib.percentage(left(p))]))

# METADATA
# title: Demands on uptime
# description: what nobody saw to be right is down
rows(p) := [
	lib.row(p.seconds == ((p.ok + p.failed) + p.missed), "error", "the seconds do not add up"),
	lib.row(span_of(p) == p.seconds, "error", "the seconds are not those between the first and the last one"),
	lib.row(p.window_seconds == limits.window_seconds, "error", sprintf("it was added up over %s", [lib.span(p.window_seconds)])),
	lib.row(p.seconds <= p.window_seconds, "error", "more seconds are on record than the window has"),
	lib.row((p.ok + p.failed) >= limits.min_seconds, "inconclusive", sprintf("%d seconds were looked at, at least %d", [p.ok + p.failed, limits.min_seconds])),
	lib.row(down(p) <= budget, "fail", sprintf("down for %s, which is more than the budget of %s", [lib.span(down(p)), lib.span(budget)])),
	lib.row(left(p) >= limits.warn_budget_left, "warn", sprintf("%s of the budget is left", [lib.percentage(left(p))])),
	lib.row(p.seconds >= (limits.window_seconds - 3600), "warn", sprintf("only %s are on record: over 30 days it is between %s and %s", [lib.span(p.seconds), lib.percent(least(p), limits.slo), lib.percent(most(p), limits.slo)])),
	lib.row(p.steps <= limits.max_steps, "warn", sprintf("the machine's clock was set %d times", [p.steps])),
]

# METADATA
# title: Seconds between the first and the last one
# description: by the times themselves
span_of(p) := floor((time.parse_rfc3339_ns(p.to) - time.parse_rfc3339_ns(p.from)) / 1000000000)

# METADATA
# title: Seconds down
# description: answered wrongly, or not seen by anybody
down(p) := p.failed + p.missed

# METADATA
# title: Share of the budget that is left
# description: 0 when it is spent; all of none while nothing was down
left(p) := max([0, 1 - (down(p) / budget)]) if {
	budget > 0
} else := 1 if {
	down(p) == 0
} else := 0

# METADATA
# title: Least uptime of the window
# description: if all that is not on record had been down
least(p) := p.ok / limits.window_seconds

# METADATA
# title: Greatest uptime of the window
# description: if all that is not on record had been right
most(p) := 1 - (down(p) / limits.window_seconds)

# METADATA
# title: Burn rate
# description: how many times as fast as it may the budget was spent over the record
burn(p) := (down(p) / p.seconds) / (1 - limits.slo) if {
	p.seconds > 0
	limits.slo < 1
} else := 0

# METADATA
# title: What was got
# description: the share of the record, and what of it was not looked at
got(p) := sprintf("%s over %s on record, %s down (%s of it not looked at), budget burnt %s times as fast as it may", [share(p), lib.span(p.seconds), lib.span(down(p)), lib.span(p.missed), lib.fixed(burn(p), 2)])

# METADATA
# title: Share of the record in percent
# description: beside the objective
share(p) := lib.percent(p.ok / p.seconds, limits.slo) if {
	p.seconds > 0
} else := "nothing"
