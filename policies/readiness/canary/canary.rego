# METADATA
# title: Canary
# description: "deployments with rollback: the new release beside the old one, on real traffic"
# schemas:
#   - input: schema.input
package gate.readiness.canary

import data.gate.lib

# METADATA
# title: No worse than the release before it
# description: "deployments with rollback: the new release beside the old one, on real traffic"
# custom:
#   remediation: "all traffic goes back to the stable release; gate logs shows what the canary said"
criterion := lib.conclude({
	"id": "canary",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [published(r.payload, judge(r.payload)) | some r in evidence.admitted],
	"want": sprintf("errors below baseline + %s and latency below baseline × %v, each proved at α = %v in all, ≥ %d pairs of requests", [
		lib.percentage(limits.error_margin),
		1 + limits.latency_margin,
		limits.alpha,
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
# description: the target's arms
shape := {
	"whole": "flag",
	"stable.release": "digest",
	"stable.requests": "count",
	"stable.errors": "count",
	"stable.synthetic": "count",
	"stable.p95": "number",
	"canary.release": "digest",
	"canary.requests": "count",
	"canary.errors": "count",
	"canary.synthetic": "count",
	"canary.restarts": "count",
	"canary.p95": "number",
}

# METADATA
# title: Shape of a payload with figures
# description: what was beside the canary
paired_shape := {
	"baseline.release": "digest",
	"baseline.requests": "count",
	"baseline.errors": "count",
	"baseline.synthetic": "count",
	"baseline.restarts": "count",
	"baseline.open": "count",
	"baseline.oldest_open_seconds": "number",
	"canary.open": "count",
	"canary.oldest_open_seconds": "number",
}

# METADATA
# title: Shape of the figures
# description: of a comparison in pairs
figures_shape := {
	"sound": "flag",
	"faults": "texts",
	"lost": "count",
	"alpha": "share",
	"block_pairs": "positive",
	"block_seconds": "number",
	"group_seconds": "number",
	"overdispersion": "number",
	"pairs": "count",
	"needed": "count",
	"foreseen": "flag",
	"baseline.requests": "count",
	"baseline.synthetic": "count",
	"baseline.errors": "count",
	"baseline.given_up": "count",
	"baseline.visits": "count",
	"baseline.visitors": "count",
	"baseline.greatest": "count",
	"canary.requests": "count",
	"canary.synthetic": "count",
	"canary.errors": "count",
	"canary.given_up": "count",
	"canary.visits": "count",
	"canary.visitors": "count",
	"canary.greatest": "count",
	"real.overdispersion": "number",
	"real.pairs": "count",
	"real.baseline.requests": "count",
	"real.baseline.errors": "count",
	"real.baseline.given_up": "count",
	"real.canary.requests": "count",
	"real.canary.errors": "count",
	"real.canary.given_up": "count",
	"errors.margin": "share",
	"errors.worse.e": "number",
	"errors.within.e": "number",
	"errors.estimate": "signed",
	"errors.low": "signed",
	"errors.high": "signed",
	"latency.margin": "number",
	"latency.slack": "number",
	"latency.worse.e": "number",
	"latency.within.e": "number",
	"latency.estimate": "number",
	"latency.low": "number",
	"latency.high": "number",
}

# METADATA
# title: Figures of a payload
# description: null where no single requests were told
figures(p) := object.get(p, "figures", null)

# METADATA
# title: Faults of a payload
# description: of the arms, and of the figures where there are any
faults(p) := lib.faults(p, shape, "payload") | figures_faults(p)

# METADATA
# title: Faults of the figures
# description: none where there are no figures, which never pass
figures_faults(p) := set() if {
	is_null(figures(p))
} else := lib.faults(figures(p), figures_shape, "payload.figures") | lib.faults(p, paired_shape, "payload")

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(faults(p)) if {
	count(faults(p)) > 0
} else := lib.ruled(array.concat(always(p), array.concat(by_arms(p), ending(p))), got_of_arms(p), "") if {
	is_null(figures(p))
} else := lib.ruled(array.concat(beside(p), made_for(p.figures)), got(p.figures), "") if {
	not is_comparable(p.figures)
} else := lib.ruled(array.concat(beside(p), array.concat(made_for(p.figures), array.concat(compared(p), in_total(p.figures)))), got(p.figures), synthetic(p.figures))

# METADATA
# title: Demands whatever was compared
# description: a canary that breaks fails at once
always(p) := array.concat(by_inputs(p), [
	lib.row(is_either(p), "error", "figures of pairs, though nothing is beside the release"),
	lib.row(input.bootstrap == false, "error", "a first release has nothing to be compared with"),
	lib.row(p.canary.release == input.release, "error", "the canary runs another release"),
	lib.row(p.canary.restarts <= limits.max_restarts, "fail", sprintf("the canary restarted %d times, at most %d", [p.canary.restarts, limits.max_restarts])),
])

# METADATA
# title: Demands on what was beside the canary
# description: a baseline of what is stable; anything else would prove nothing
beside(p) := array.concat(always(p), [
	lib.row(p.baseline.release == p.stable.release, "error", "the baseline runs another release than the stable one"),
	lib.row(p.baseline.restarts == 0, "inconclusive", sprintf("the baseline restarted %d times: beside one that breaks, any canary looks well", [p.baseline.restarts])),
])

# METADATA
# title: Compared in one way
# description: where all traffic is on the release there is nothing to make pairs with
default is_either(_) := false

is_either(p) if p.whole == false

is_either(p) if is_null(figures(p))

# METADATA
# title: Demands on how it was compared
# description: by the margins that are declared here, of all requests, none counted twice
made_for(f) := [
	lib.row(is_sound(f), "inconclusive", sprintf("the comparison is not sound: %s", [concat(", ", unsound(f))])),
	lib.row(is_crowd(f.canary), "inconclusive", few(f.canary, "canary")),
	lib.row(is_crowd(f.baseline), "inconclusive", few(f.baseline, "baseline")),
	lib.row(options(f) == declared, "error", sprintf("the figures were made for %v, declared are %v", [options(f), declared])),
	lib.row(adds_up(f, f.baseline), "error", "the baseline counts more errors, pairs or visits than requests"),
	lib.row(adds_up(f, f.canary), "error", "the canary counts more errors, pairs or visits than requests"),
	lib.row(parts(f, f.baseline, f.real.baseline), "error", "the baseline's real requests are not those that are not synthetic"),
	lib.row(parts(f, f.canary, f.real.canary), "error", "the canary's real requests are not those that are not synthetic"),
]

# METADATA
# title: Demands on the comparison
# description: proved worse fails; proved not worse by the margin passes; both may still come
compared(p) := [
	lib.row(f.errors.worse.e < proof, "fail", sprintf("more errors: %s, e-value %s of %v", [errors(f), lib.fixed(f.errors.worse.e, 2), proof])),
	lib.row(f.latency.worse.e < proof, "fail", sprintf("slower by more than %s: %s, e-value %s of %v", [lib.percentage(limits.latency_margin), latency(f), lib.fixed(f.latency.worse.e, 2), proof])),
	lib.row(f.pairs >= limits.min_samples, "inconclusive", sprintf("%d pairs of requests, at least %d", [f.pairs, limits.min_samples])),
	lib.row(is_balanced(dealt(p, "canary"), dealt(p, "baseline")), "inconclusive", sprintf("%d requests to the canary and %d to the baseline: one of them should get at most %v times as many as the other", [dealt(p, "canary"), dealt(p, "baseline"), limits.max_imbalance])),
	lib.row(is_answering(p), "inconclusive", sprintf("the oldest of %d open requests to the canary has waited for %s s, of %d to the baseline for %s s: at most %v s, or both longer", [
		p.canary.open,
		lib.fixed(p.canary.oldest_open_seconds, 2),
		p.baseline.open,
		lib.fixed(p.baseline.oldest_open_seconds, 2),
		limits.max_open_seconds,
	])),
	lib.row(f.errors.within.e >= proof, "inconclusive", sprintf("%s more errors are not excluded yet: e-value %s of %v", [lib.percentage(limits.error_margin), lib.fixed(f.errors.within.e, 2), proof])),
	lib.row(f.latency.within.e >= proof, "inconclusive", sprintf("%s more latency is not excluded yet: e-value %s of %v", [lib.percentage(limits.latency_margin), lib.fixed(f.latency.within.e, 2), proof])),
] if {
	f := p.figures
}

# METADATA
# title: Demands on the totals
# description: >-
#   of all requests, and of people's by themselves: those without a partner count
#   too, and synthetic ones must not hide what people get
in_total(f) := array.concat(
	totals("requests", f.canary, f.baseline, f.pairs, f.overdispersion),
	totals("real requests", f.real.canary, f.real.baseline, f.real.pairs, f.real.overdispersion),
)

# METADATA
# title: Demands on totals of both arms
# description: clearly more failures fail; more than the margin, or few pairs, prove nothing
totals(what, canary, baseline, pairs, dispersion) := [
	lib.row(is_clear(canary, baseline, dispersion) == false, "fail", sprintf("clearly more %s failed: %s", [what, failures(what, canary, baseline)])),
	lib.row(increase(canary, baseline) <= limits.error_margin, "inconclusive", sprintf("more %s failed, by over %s: %s", [what, lib.percentage(limits.error_margin), failures(what, canary, baseline)])),
	lib.row(is_paired(pairs, max([canary.requests, baseline.requests])), "inconclusive", sprintf("%d pairs of %d %s: %s, or all but %d, should have found a partner", [
		pairs,
		max([canary.requests, baseline.requests]),
		what,
		lib.percentage(limits.min_paired),
		limits.max_unpaired,
	])),
]

# METADATA
# title: Failures in words
# description: of both arms
failures(what, canary, baseline) := sprintf("%d of %d %s to the canary were not answered or with an error, %d of %d to the baseline", [failed(canary), canary.requests, what, failed(baseline), baseline.requests])

# METADATA
# title: Paired well enough
# description: by share, or where few are left over
default is_paired(_, _) := false

is_paired(pairs, requests) if pairs >= requests * limits.min_paired

is_paired(pairs, requests) if requests - pairs <= limits.max_unpaired

# METADATA
# title: Requests that an arm was dealt
# description: those that have ended and those that have not
dealt(p, arm) := p.figures[arm].requests + p[arm].open

# METADATA
# title: Canary that answers
# description: nothing is open for too long there, unless it is at the baseline as well
default is_answering(_) := false

is_answering(p) if p.canary.oldest_open_seconds <= limits.max_open_seconds

is_answering(p) if p.baseline.oldest_open_seconds > limits.max_open_seconds

# METADATA
# title: Visitors enough
# description: where visitors were dealt out, and not requests, chance has to have had enough of them
default is_crowd(_) := false

is_crowd(arm) if arm.visits == 0

is_crowd(arm) if {
	arm.visitors >= limits.min_visitors
	arm.greatest <= arm.visits * limits.max_visitor_share
}

# METADATA
# title: Few visitors in words
# description: and what it takes
few(arm, name) := sprintf("%d visitors were dealt to the %s, the most frequent one has %d of %d visits: at least %d, and at most %s", [
	arm.visitors,
	name,
	arm.greatest,
	arm.visits,
	limits.min_visitors,
	lib.percentage(limits.max_visitor_share),
])

# METADATA
# title: E-value that proves
# description: α is shared by errors and latency, and by worse and not worse by the margin
proof := 4 / limits.alpha

# METADATA
# title: What the figures were made for
# description: as they say
options(f) := {
	"alpha": f.alpha,
	"block_pairs": f.block_pairs,
	"block_seconds": f.block_seconds,
	"group_seconds": f.group_seconds,
	"error_margin": f.errors.margin,
	"latency_margin": f.latency.margin,
	"latency_slack_seconds": f.latency.slack,
}

# METADATA
# title: What is declared
# description: the same thresholds of this environment
declared := {name: limits[name] | some name in ["alpha", "block_pairs", "block_seconds", "group_seconds", "error_margin", "latency_margin", "latency_slack_seconds"]}

# METADATA
# title: Sound comparison
# description: nothing was lost, nothing unbelievable was told
default is_sound(_) := false

is_sound(f) if {
	f.sound == true
	count(f.faults) == 0
	f.lost == 0
}

# METADATA
# title: Comparison that chance has made
# description: a sound one, of visitors enough
default is_comparable(_) := false

is_comparable(f) if {
	is_sound(f)
	is_crowd(f.canary)
	is_crowd(f.baseline)
}

# METADATA
# title: What makes a comparison unsound
# description: in words
unsound(f) := array.concat(f.faults, [sprintf("%d requests lost", [f.lost])])

# METADATA
# title: Arm adds up
# description: parts are never more than the whole
default adds_up(_, _) := false

adds_up(f, arm) if {
	failed(arm) <= arm.requests
	arm.visits <= arm.requests
	arm.visitors <= arm.visits
	arm.greatest <= arm.visits
	f.pairs <= arm.requests
}

# METADATA
# title: Real requests are a part
# description: those that were not gate's own
default parts(_, _, _) := false

parts(f, arm, real) if {
	real.requests == arm.requests - arm.synthetic
	real.errors <= arm.errors
	real.given_up <= arm.given_up
	failed(real) <= real.requests
	f.real.pairs <= f.pairs
	f.real.pairs <= real.requests
}

# METADATA
# title: Arms are balanced
# description: they get as many requests; one that ends far fewer swallows them
default is_balanced(_, _) := false

is_balanced(canary, baseline) if {
	canary <= baseline * limits.max_imbalance
	baseline <= canary * limits.max_imbalance
}

# METADATA
# title: Demands on the arms alone
# description: without single requests a canary can be broken, but never be proved good
by_arms(p) := [
	lib.row(p.stable.errors <= p.stable.requests, "error", "the stable arm counts more errors than requests"),
	lib.row(p.canary.errors <= p.canary.requests, "error", "the canary counts more errors than requests"),
	lib.row(is_clear(p.canary, p.stable, 1) == false, "fail", sprintf("%d of %d requests to the canary failed, %d of %d to the stable release: %s more, at most %s", [
		p.canary.errors,
		p.canary.requests,
		p.stable.errors,
		p.stable.requests,
		lib.percent(increase(p.canary, p.stable), limits.error_margin),
		lib.percentage(limits.error_margin),
	])),
	lib.row(is_slow(p) == false, "fail", sprintf("p95 of the canary %s s, at most %s beside %s of the stable release", [
		lib.figure(p.canary.p95, slowest(p)),
		lib.figure(slowest(p), p.canary.p95),
		lib.figure(p.stable.p95, p.canary.p95),
	])),
]

# METADATA
# title: What arms alone can come to
# description: >-
#   Where all traffic is on the release, it can only be compared with what was
#   before it, which is said. Beside another, only pairs prove that it is no worse.
ending(p) := [lib.row(false, "inconclusive", "payload.figures is missing: the target tells no single requests, so that nothing is compared in pairs")] if {
	p.whole == false
} else := [
	lib.row(p.stable.requests >= limits.min_samples, "inconclusive", sprintf("%d requests to the stable release, at least %d", [p.stable.requests, limits.min_samples])),
	lib.row(p.canary.requests >= limits.min_samples, "inconclusive", sprintf("%d requests to the new release, at least %d", [p.canary.requests, limits.min_samples])),
	lib.row(increase(p.canary, p.stable) <= limits.error_margin, "inconclusive", sprintf("%s more errors, at most %s; chance may explain it, more requests will tell", [
		lib.percent(increase(p.canary, p.stable), limits.error_margin),
		lib.percentage(limits.error_margin),
	])),
	lib.row(false, "warn", concat("; ", array.concat(["all traffic is on the release: it is compared with what was before it, not with what is beside it"], own(p)))),
]

# METADATA
# title: Error rate
# description: 0 of nothing
rate(arm) := arm.errors / arm.requests if {
	arm.requests > 0
} else := 0

# METADATA
# title: Requests that failed
# description: answered with an error or not at all, or given up after longer than is usual
failed(arm) := arm.errors + object.get(arm, "given_up", 0)

# METADATA
# title: Rate of failures
# description: 0 of nothing
failure(arm) := failed(arm) / arm.requests if {
	arm.requests > 0
} else := 0

# METADATA
# title: Increase of the rate of failures
# description: absolute; negative where the canary is better
increase(canary, other) := failure(canary) - failure(other)

# METADATA
# title: Increase beyond chance
# description: >-
#   One-sided two-proportion test with pooled variance, squared on both sides,
#   so that it needs no root. Its bound is far above that of one look, because
#   the comparison is looked at again and again. Where failures come in bunches,
#   they differ by so many times more.
default is_clear(_, _, _) := false

is_clear(canary, other, dispersion) if {
	other.requests > 0
	canary.requests > 0
	failed(canary) >= limits.min_errors
	increase(canary, other) > limits.error_margin
	pooled := (failed(canary) + failed(other)) / (canary.requests + other.requests)
	variance := ((pooled * (1 - pooled)) * ((1 / canary.requests) + (1 / other.requests))) * dispersion
	increase(canary, other) * increase(canary, other) > (limits.significance_z * limits.significance_z) * variance
}

# METADATA
# title: Slowest p95 that is tolerated
# description: the ratio, or the slack where requests are so fast that a ratio means nothing
slowest(p) := max([p.stable.p95 * limits.max_p95_ratio, p.stable.p95 + limits.slack_seconds])

# METADATA
# title: Slow canary
# description: with few samples a quantile is chance
default is_slow(_) := false

is_slow(p) if {
	p.canary.requests >= limits.min_samples
	p.stable.requests >= limits.min_samples
	p.canary.p95 > slowest(p)
}

# METADATA
# title: Note on synthetic requests
# description: gate's own requests are not users
synthetic(f) := sprintf("synthetic: %s of the canary's requests and %s of the baseline's were gate's own", [percent_of(f.canary), percent_of(f.baseline)]) if {
	f.canary.synthetic + f.baseline.synthetic > 0
} else := ""

# METADATA
# title: Note on synthetic requests of all traffic
# description: they count among min_samples, so that it is said how many they are
own(p) := [sprintf("synthetic: %s of the release's requests and %s of those before it were gate's own", [percent_of(p.canary), percent_of(p.stable)]) |
	p.canary.synthetic + p.stable.synthetic > 0
]

# METADATA
# title: Synthetic share of an arm
# description: in percent
percent_of(arm) := lib.percentage(arm.synthetic / arm.requests) if {
	arm.requests > 0
} else := "0%"

# METADATA
# title: What to wait for
# description: how many requests it takes at the present rate
waiting := sprintf("wait: about %d more requests to each arm at the present rate", [lacks[0]]) if {
	count(lacks) > 0
} else := "wait for more requests, or look: gate status --watch"

# METADATA
# title: Missing requests
# description: of comparisons with an end in sight; of as many as before a pair is made
lacks := [lack |
	some r in evidence.admitted
	count(faults(r.payload)) == 0
	f := figures(r.payload)
	not is_null(f)
	is_comparable(f)
	f.foreseen
	pairs := max([f.needed, limits.min_samples - f.pairs])
	pairs > 0
	lack := ceil((pairs * max([f.canary.requests, f.baseline.requests])) / max([f.pairs, 1]))
]

# METADATA
# title: What was got
# description: estimates with the bounds that hold at all times, and the requests behind them
got(f) := sprintf("canary %s errors of %d, baseline %s of %d: %s; latency %s%s", [
	lib.percentage(rate(f.canary)),
	f.canary.requests,
	lib.percentage(rate(f.baseline)),
	f.baseline.requests,
	errors(f),
	latency(f),
	people(f),
])

# METADATA
# title: What people got
# description: where most requests may have been gate's own
people(f) := sprintf("; real requests: %d of %d to the canary failed, %d of %d to the baseline", [failed(f.real.canary), f.real.canary.requests, failed(f.real.baseline), f.real.baseline.requests]) if {
	f.canary.synthetic + f.baseline.synthetic > 0
} else := ""

# METADATA
# title: Difference of errors
# description: in points, with its bounds
errors(f) := sprintf("%s points (%s to %s)", [lib.fixed(f.errors.estimate * 100, 2), lib.fixed(f.errors.low * 100, 2), lib.fixed(f.errors.high * 100, 2)])

# METADATA
# title: Ratio of latencies
# description: with its bounds, as far as there are any
latency(f) := sprintf("× %s (%s to %s)", [lib.fixed(f.latency.estimate, 3), lib.fixed(f.latency.low, 3), highest(f.latency.high)])

# METADATA
# title: Upper bound of the ratio
# description: 1e9 stands for none
highest(x) := lib.fixed(x, 3) if {
	x < 1000000000
} else := "any"

# METADATA
# title: What was got of the arms
# description: error rate and p95 of both arms with the requests behind them
got_of_arms(p) := sprintf("canary %s errors of %d, p95 %s s; stable %s of %d, p95 %s s", [
	lib.percentage(rate(p.canary)),
	p.canary.requests,
	lib.figure(p.canary.p95, p.stable.p95),
	lib.percentage(rate(p.stable)),
	p.stable.requests,
	lib.figure(p.stable.p95, p.canary.p95),
])
