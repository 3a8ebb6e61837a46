# METADATA
# title: Canary
# description: "deployments with rollback: the new release beside the old one, on real traffic"
# schemas:
#   - input: schema.input
package gate.readiness.canary

import data.gate.lib

# METADATA
# title: No worse than the stable release
# description: "deployments with rollback: the new release beside the old one, on real traffic"
# custom:
#   remediation: "all traffic goes back to the stable release; gate logs shows what the canary said"
criterion := lib.conclude({
	"id": "canary",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf("errors ≤ stable + %s, p95 ≤ stable × %v or + %v s, ≥ %d requests an arm", [
		lib.percentage(limits.max_error_increase),
		limits.max_p95_ratio,
		limits.slack_seconds,
		limits.min_samples,
	]),
	"next": {"inconclusive": waiting, "error": "gate status shows both arms; gate rollback returns to the stable release"},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.canary

# METADATA
# title: Evidence
# description: of check canary
evidence := lib.weighed("canary", "canary")

# METADATA
# title: Shape of the payload
# description: target.Arms
shape := {
	"stable.release": "digest",
	"stable.requests": "count",
	"stable.synthetic": "count",
	"stable.errors": "count",
	"stable.p95": "number",
	"canary.release": "digest",
	"canary.requests": "count",
	"canary.synthetic": "count",
	"canary.errors": "count",
	"canary.restarts": "count",
	"canary.p95": "number",
}

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(lib.faults(p, shape, "payload")) if {
	count(lib.faults(p, shape, "payload")) > 0
} else := lib.ruled(rows(p), got(p), synthetic(p))

# METADATA
# title: Demands on the comparison
# description: a canary that is broken fails at once, whatever the number of samples
rows(p) := [
	lib.row(input.bootstrap == false, "error", "a first release has nothing to be compared with"),
	lib.row(p.canary.release == input.release, "error", "the canary runs another release"),
	lib.row(adds_up(p.stable), "error", "the stable arm counts more errors or synthetic requests than requests"),
	lib.row(adds_up(p.canary), "error", "the canary counts more errors or synthetic requests than requests"),
	lib.row(p.canary.restarts <= limits.max_restarts, "fail", sprintf("the canary restarted %d times, at most %d", [p.canary.restarts, limits.max_restarts])),
	lib.row(p.stable.requests > 0, "inconclusive", "the stable release got no request: nothing to compare with"),
	lib.row(p.stable.requests >= limits.min_samples, "inconclusive", sprintf("%d requests to the stable release, at least %d", [p.stable.requests, limits.min_samples])),
	lib.row(p.canary.requests >= limits.min_samples, "inconclusive", sprintf("%d requests to the canary, at least %d", [p.canary.requests, limits.min_samples])),
	lib.row(increase(p) <= limits.max_error_increase, severity(p), sprintf("%d of %d requests to the canary failed, %d of %d to the stable release: %s more, at most %s%s", [
		p.canary.errors,
		p.canary.requests,
		p.stable.errors,
		p.stable.requests,
		lib.percent(increase(p), limits.max_error_increase),
		lib.percentage(limits.max_error_increase),
		doubt(p),
	])),
	lib.row(p.canary.p95 <= slowest(p), latency_severity(p), sprintf("p95 of the canary %s s, at most %s beside %s of the stable release", [
		lib.figure(p.canary.p95, slowest(p)),
		lib.figure(slowest(p), p.canary.p95),
		lib.figure(p.stable.p95, p.canary.p95),
	])),
]

# METADATA
# title: Arm adds up
# description: parts are never more than the whole
default adds_up(_) := false

adds_up(arm) if {
	arm.errors <= arm.requests
	arm.synthetic <= arm.requests
}

# METADATA
# title: Error rate
# description: 0 of nothing; that there are requests is demanded elsewhere
rate(arm) := arm.errors / arm.requests if {
	arm.requests > 0
} else := 0

# METADATA
# title: Increase of the error rate
# description: absolute; negative where the canary is better
increase(p) := rate(p.canary) - rate(p.stable)

# METADATA
# title: Severity of more errors
# description: fail only where chance is no explanation
severity(p) := "fail" if {
	is_significant(p)
} else := "inconclusive"

# METADATA
# title: Difference is significant
# description: >-
#   One-sided two-proportion test with pooled variance, squared on both sides,
#   so that it needs no root. Its bound is far above that of one look, because
#   the comparison is looked at again and again.
is_significant(p) if {
	p.stable.requests > 0
	p.canary.requests > 0
	p.canary.errors >= limits.min_errors
	increase(p) > 0
	pooled := (p.canary.errors + p.stable.errors) / (p.canary.requests + p.stable.requests)
	variance := (pooled * (1 - pooled)) * ((1 / p.canary.requests) + (1 / p.stable.requests))
	increase(p) * increase(p) > (limits.significance_z * limits.significance_z) * variance
}

# METADATA
# title: Doubt about an increase
# description: said where chance may explain it
doubt(p) := "" if {
	is_significant(p)
} else := "; chance may explain it, more requests will tell"

# METADATA
# title: Slowest p95 that is tolerated
# description: the ratio, or the slack where requests are so fast that a ratio means nothing
slowest(p) := max([p.stable.p95 * limits.max_p95_ratio, p.stable.p95 + limits.slack_seconds])

# METADATA
# title: Severity of a slow canary
# description: with few samples a quantile is chance
latency_severity(p) := "fail" if {
	p.canary.requests >= limits.min_samples
	p.stable.requests >= limits.min_samples
} else := "inconclusive"

# METADATA
# title: Note on synthetic requests
# description: gate's own requests are not users
synthetic(p) := sprintf("synthetic: all requests of both arms were gate's own (%s of the canary's, %s of the stable release's)", [percent_of(p.canary), percent_of(p.stable)]) if {
	p.canary.requests > 0
	p.stable.requests > 0
	p.canary.synthetic == p.canary.requests
	p.stable.synthetic == p.stable.requests
} else := sprintf("synthetic: %s of the canary's requests and %s of the stable release's were gate's own", [percent_of(p.canary), percent_of(p.stable)]) if {
	p.canary.synthetic + p.stable.synthetic > 0
} else := ""

# METADATA
# title: Synthetic share of an arm
# description: in percent
percent_of(arm) := lib.percentage(arm.synthetic / arm.requests) if {
	arm.requests > 0
} else := "0%"

# METADATA
# title: What to wait for
# description: how many requests are missing on each arm
waiting := sprintf("wait: %s more requests", [concat(" and ", lacks)]) if {
	count(lacks) > 0
} else := "wait for more requests, or look: gate status --watch"

# METADATA
# title: Missing requests
# description: by arm, of well-formed payloads
lacks := [sprintf("%s needs %d", [name, lack]) |
	some r in evidence.admitted
	count(lib.faults(r.payload, shape, "payload")) == 0
	some arm, name in {"canary": "the canary", "stable": "the stable release"}
	lack := limits.min_samples - r.payload[arm].requests
	lack > 0
]

# METADATA
# title: What was got
# description: error rate and p95 of both arms with the requests behind them
got(p) := sprintf("canary %s errors of %d, p95 %s s; stable %s of %d, p95 %s s", [
	lib.percentage(rate(p.canary)),
	p.canary.requests,
	lib.figure(p.canary.p95, p.stable.p95),
	lib.percentage(rate(p.stable)),
	p.stable.requests,
	lib.figure(p.stable.p95, p.canary.p95),
])
