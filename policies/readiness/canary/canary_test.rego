package gate.readiness.canary_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("canary", "canary", changes)

with_figures(changes) := with_payload([[sprintf("figures/%s", [c[0]]), c[1]] | some c in changes])

# without single requests
with_arms(changes) := with_payload(array.concat([["figures", null]], changes))

# so many pairs, all requests paired
with_pairs(n, changes) := with_figures(array.concat(
	[
		["pairs", n],
		["canary/requests", n],
		["baseline/requests", n],
		["real/pairs", n],
		["real/canary/requests", n],
		["real/baseline/requests", n],
		["canary/errors", 0],
		["baseline/errors", 0],
		["real/canary/errors", 0],
		["real/baseline/errors", 0],
	],
	changes,
))

# failures of real requests, beside synthetic ones
with_real(canary, failed, baseline, others, changes) := with_figures(array.concat(
	[
		["canary/synthetic", 2010 - canary],
		["baseline/synthetic", 2000 - baseline],
		["canary/errors", failed],
		["baseline/errors", others],
		["real/canary", {"requests": canary, "errors": failed, "given_up": 0}],
		["real/baseline", {"requests": baseline, "errors": others, "given_up": 0}],
		["real/pairs", min([canary, baseline])],
	],
	changes,
))

test_no_worse_than_the_baseline_passes if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "canary 0.15% errors of 2010, baseline 0.1% of 2000: 0.05 points (-0.2 to 0.3); latency × 1.01 (0.925 to 1.1)"
	c.want == "errors below baseline + 1% and latency below baseline × 1.1, each proved at α = 0.01 in all, ≥ 300 pairs of requests"
	c.why == ""
}

test_more_errors_fail_once_proved if {
	c := with_figures([["errors/worse/e", 400]])
	c.verdict == "fail"
	contains(c.why, "more errors: 0.05 points (-0.2 to 0.3), e-value 400 of 400")
	with_figures([["errors/worse/e", 399.9]]).verdict == "pass"
}

test_slower_fails_once_proved if {
	c := with_figures([["latency/worse/e", 400]])
	c.verdict == "fail"
	contains(c.why, "slower by more than 10%: × 1.01 (0.925 to 1.1), e-value 400 of 400")
	with_figures([["latency/worse/e", 399.9]]).verdict == "pass"
}

test_a_proof_counts_whatever_the_number_of_pairs if {
	with_pairs(30, [["errors/worse/e", 400]]).verdict == "fail"
	with_pairs(30, [["latency/worse/e", 400]]).verdict == "fail"
}

test_what_is_not_excluded_is_inconclusive if {
	with_figures([["errors/within/e", 400]]).verdict == "pass"
	with_figures([["latency/within/e", 400]]).verdict == "pass"
	e := with_figures([["errors/within/e", 399.99]])
	e.verdict == "inconclusive"
	contains(e.why, "1% more errors are not excluded yet: e-value 399.99 of 400")
	l := with_figures([["latency/within/e", 399.99]])
	l.verdict == "inconclusive"
	contains(l.why, "10% more latency is not excluded yet: e-value 399.99 of 400")
}

test_another_alpha_asks_for_another_proof if {
	given := json.patch(
		fixtures.spoiled("canary", "canary", [{"op": "add", "path": "/payload/figures/alpha", "value": 0.001}]),
		[{"op": "add", "path": "/thresholds/canary/alpha", "value": 0.001}],
	)
	fixtures.judged(given, "canary").verdict == "inconclusive"
}

test_exactly_enough_pairs_pass if {
	with_pairs(300, []).verdict == "pass"
	c := with_pairs(299, [])
	c.verdict == "inconclusive"
	contains(c.why, "299 pairs of requests, at least 300")
	c.next == "wait: about 1 more requests to each arm at the present rate"
}

test_a_forecast_says_how_many_more if {
	c := with_pairs(250, [["latency/within/e", 2], ["needed", 700]])
	c.verdict == "inconclusive"
	c.next == "wait: about 700 more requests to each arm at the present rate"
	d := with_pairs(250, [["latency/within/e", 2], ["needed", 7]])
	d.next == "wait: about 50 more requests to each arm at the present rate"
}

test_a_forecast_is_about_requests_and_not_pairs if {
	every changes in [[["canary/requests", 350], ["real/canary/requests", 350]], [["baseline/requests", 350], ["real/baseline/requests", 350]]] {
		c := with_pairs(250, array.concat(changes, [["latency/within/e", 2], ["needed", 700]]))
		c.next == "wait: about 980 more requests to each arm at the present rate"
	}
	none := with_pairs(0, [["latency/within/e", 2], ["needed", 700], ["canary/requests", 1], ["real/canary/requests", 1]])
	none.next == "wait: about 700 more requests to each arm at the present rate"
}

test_no_end_in_sight_is_no_forecast if {
	every changes in [
		[["latency/within/e", 2], ["needed", 700], ["foreseen", false]],
		[["latency/within/e", 2], ["needed", 0]],
		[["needed", 700], ["sound", false]],
		[["needed", 700], ["canary/visits", 9]],
		[["needed", 700], ["baseline/visits", 9]],
	] {
		c := with_figures(changes)
		c.verdict == "inconclusive"
		c.next == "wait for more requests, or look: gate status --watch"
	}
}

test_an_unsound_comparison_is_inconclusive if {
	every change in [["sound", false], ["lost", 1], ["faults", ["a request of an unknown arm"]]] {
		c := with_figures([change, ["errors/worse/e", 4000], ["latency/worse/e", 4000]])
		c.verdict == "inconclusive"
		contains(c.why, "the comparison is not sound")
		with_figures([change]).verdict == "inconclusive"
	}
	contains(with_figures([["lost", 7]]).why, "7 requests lost")
	contains(with_figures([["faults", ["a request of an unknown arm"]]]).why, "a request of an unknown arm")
}

test_an_unsound_comparison_does_not_save_a_canary_that_restarts if {
	with_payload([["figures/lost", 1], ["canary/restarts", 1]]).verdict == "fail"
}

test_one_arm_that_swallows_requests_is_inconclusive if {
	more := [["real/canary/requests", 3000], ["canary/requests", 3000], ["real/baseline/requests", 2000], ["baseline/requests", 2000]]
	fewer := [["real/canary/requests", 2000], ["canary/requests", 2000], ["real/baseline/requests", 3000], ["baseline/requests", 3000]]
	with_open(more, 0, 0).verdict == "pass"
	with_open(fewer, 0, 0).verdict == "pass"
	c := with_open(more, 1, 0)
	c.verdict == "inconclusive"
	contains(c.why, "3001 requests to the canary and 2000 to the baseline")
	with_open(more, 2, 1).verdict == "inconclusive"
	with_open(more, 1, 1).verdict == "pass"
	d := with_open(fewer, 0, 1)
	d.verdict == "inconclusive"
	contains(d.why, "2000 requests to the canary and 3001 to the baseline")
}

# requests that have not ended
with_open(changes, canary, baseline) := with_payload(array.concat(
	[[sprintf("figures/%s", [c[0]]), c[1]] | some c in changes],
	[["canary/open", canary], ["baseline/open", baseline]],
))

test_a_canary_that_does_not_answer_is_inconclusive if {
	c := with_payload([["canary/oldest_open_seconds", 10.1], ["canary/open", 7]])
	c.verdict == "inconclusive"
	contains(c.why, "the oldest of 7 open requests to the canary has waited for 10.1 s, of 1 to the baseline for 0.1 s: at most 10 s, or both longer")
	with_payload([["canary/oldest_open_seconds", 10]]).verdict == "pass"
	with_payload([["baseline/oldest_open_seconds", 99]]).verdict == "pass"
	with_payload([["canary/oldest_open_seconds", 99], ["baseline/oldest_open_seconds", 10]]).verdict == "inconclusive"
	with_payload([["canary/oldest_open_seconds", 99], ["baseline/oldest_open_seconds", 10.1]]).verdict == "pass"
}

test_failures_without_a_partner_count if {
	# 40 of 2010 beside 2 of 2000: 1.9% more, 5.9 standard errors
	c := with_figures([["canary/errors", 40], ["overdispersion", 1.5]])
	c.verdict == "fail"
	contains(c.why, "clearly more requests failed: 40 of 2010 requests to the canary were not answered or with an error, 2 of 2000 to the baseline")
	d := with_figures([["canary/errors", 40], ["overdispersion", 2.2]])
	d.verdict == "inconclusive"
	contains(d.why, "more requests failed, by over 1%: 40 of 2010")
	with_figures([["canary/given_up", 37], ["overdispersion", 1.5]]).verdict == "fail"
	with_figures([["canary/given_up", 37], ["baseline/given_up", 37], ["overdispersion", 1.5]]).verdict == "pass"
	with_figures([["canary/errors", 22]]).verdict == "pass"
	with_pairs(1000, [["canary/errors", 10], ["real/canary/errors", 10]]).verdict == "pass"
	with_pairs(1000, [["canary/errors", 11], ["real/canary/errors", 10], ["overdispersion", 9]]).verdict == "inconclusive"
	with_figures([["canary/errors", 23], ["overdispersion", 9]]).verdict == "inconclusive"
	with_figures([["baseline/errors", 999]]).verdict == "pass"
}

test_synthetic_requests_do_not_hide_real_ones if {
	c := with_real(9, 9, 9, 0, [])
	c.verdict == "fail"
	contains(c.why, "clearly more real requests failed: 9 of 9 real requests to the canary were not answered or with an error, 0 of 9 to the baseline")
	contains(c.got, "; real requests: 9 of 9 to the canary failed, 0 of 9 to the baseline")
	not contains(c.why, "clearly more requests failed")
	with_real(9, 9, 9, 0, [["real/overdispersion", 2]]).verdict == "inconclusive"
	d := with_real(9, 1, 9, 0, [])
	d.verdict == "inconclusive"
	contains(d.why, "more real requests failed, by over 1%: 1 of 9")
	with_real(9, 1, 9, 1, []).verdict == "pass"
	with_real(0, 0, 0, 0, []).verdict == "pass"
	e := with_real(100, 20, 0, 0, [])
	e.verdict == "inconclusive"
	with_real(9, 0, 9, 0, [["real/canary/given_up", 9], ["canary/given_up", 9]]).verdict == "fail"
}

test_what_found_no_partner_is_not_compared if {
	c := with_figures([["pairs", 1004], ["real/pairs", 1004]])
	c.verdict == "inconclusive"
	contains(c.why, "1004 pairs of 2010 requests: 50%, or all but 20, should have found a partner; 1004 pairs of 2010 real requests")
	with_figures([["pairs", 1005], ["real/pairs", 1005]]).verdict == "pass"
	few := with_real(100, 0, 90, 0, [["real/pairs", 49]])
	few.verdict == "inconclusive"
	contains(few.why, "49 pairs of 100 real requests")
	with_real(100, 0, 90, 0, [["real/pairs", 50]]).verdict == "pass"
	with_real(20, 0, 21, 0, [["real/pairs", 1]]).verdict == "pass"
	with_real(20, 0, 21, 0, [["real/pairs", 0]]).verdict == "inconclusive"
	with_real(0, 0, 20, 0, []).verdict == "pass"
}

crowd := [["canary/visits", 1000], ["canary/visitors", 50], ["canary/greatest", 100], ["baseline/visits", 1000], ["baseline/visitors", 50], ["baseline/greatest", 100]]

test_chance_must_have_dealt_visitors_enough if {
	with_figures(crowd).verdict == "pass"
	every arm in ["canary", "baseline"] {
		few := with_figures(array.concat(crowd, [[sprintf("%s/visitors", [arm]), 49], ["errors/worse/e", 4000]]))
		few.verdict == "inconclusive"
		few.why == sprintf("49 visitors were dealt to the %s, the most frequent one has 100 of 1000 visits: at least 50, and at most 10%%", [arm])
		one := with_figures(array.concat(crowd, [[sprintf("%s/greatest", [arm]), 101], ["errors/worse/e", 4000]]))
		one.verdict == "inconclusive"
		contains(one.why, "has 101 of 1000 visits")
	}
	with_figures(array.concat(crowd, [["errors/worse/e", 4000]])).verdict == "fail"
	with_payload([["figures/canary/visits", 5], ["canary/restarts", 1]]).verdict == "fail"
}

test_a_baseline_that_restarts_makes_nobody_look_well if {
	c := with_payload([["baseline/restarts", 1]])
	c.verdict == "inconclusive"
	contains(c.why, "the baseline restarted 1 times")
	with_arms([["baseline/restarts", 1], ["whole", true]]).verdict == "warn"
}

test_figures_for_other_margins_are_errors if {
	every change in [["alpha", 0.02], ["block_pairs", 99], ["block_seconds", 1], ["group_seconds", 1], ["errors/margin", 0.02], ["latency/margin", 0.2], ["latency/slack", 0.001]] {
		c := with_figures([change])
		c.verdict == "error"
		contains(c.why, "the figures were made for")
	}
}

test_a_restart_of_the_canary_fails if {
	with_payload([["canary/restarts", 1]]).verdict == "fail"
	with_arms([["canary/restarts", 1]]).verdict == "fail"
}

test_a_restart_at_a_raised_limit_passes if {
	given := json.patch(fixtures.spoiled("canary", "canary", [{"op": "add", "path": "/payload/canary/restarts", "value": 1}]), [{"op": "add", "path": "/thresholds/canary/max_restarts", "value": 1}])
	fixtures.judged(given, "canary").verdict == "pass"
}

test_synthetic_requests_are_said_aloud if {
	c := with_figures([["canary/synthetic", 201], ["real/canary/requests", 1809], ["real/pairs", 1800]])
	c.verdict == "pass"
	c.why == "synthetic: 10% of the canary's requests and 0% of the baseline's were gate's own"
	contains(c.got, "; real requests: 3 of 1809 to the canary failed, 2 of 2000 to the baseline")
	d := with_figures([["baseline/synthetic", 100], ["real/baseline/requests", 1900], ["real/pairs", 1800]])
	d.why == "synthetic: 0% of the canary's requests and 5% of the baseline's were gate's own"
	contains(d.got, "; real requests: 3 of 2010 to the canary failed, 2 of 1900 to the baseline")
}

test_no_request_at_all_is_inconclusive if {
	c := with_pairs(0, [["latency/high", 1000000000], ["latency/within/e", 1], ["errors/within/e", 1]])
	c.verdict == "inconclusive"
	contains(c.got, "latency × 1.01 (0.925 to any)")
	with_pairs(0, [["canary/requests", 9], ["canary/synthetic", 9]]).verdict == "inconclusive"
}

test_another_release_in_the_canary_is_an_error if {
	with_payload([["canary/release", "sha256:bbbb"]]).verdict == "error"
	with_arms([["canary/release", "sha256:bbbb"]]).verdict == "error"
}

test_a_first_release_has_no_canary if fixtures.with_input("canary", [["/bootstrap", true]]).verdict == "error"

test_figures_that_do_not_add_up_are_errors if {
	n := 2000
	every changes in [
		[["baseline/errors", n], ["baseline/given_up", 1]],
		[["canary/synthetic", 1]],
		[["canary/visits", n + 1], ["canary/visitors", 50], ["canary/greatest", 99]],
		[["canary/visits", 60], ["canary/visitors", 61], ["canary/greatest", 1]],
		[["canary/visits", 60], ["canary/visitors", 60], ["canary/greatest", 61]],
		[["baseline/errors", n + 1]],
		[["baseline/synthetic", 1]],
		[["pairs", n + 1]],
		[["real/canary/requests", n - 1]],
		[["real/canary/errors", 1]],
		[["real/canary/given_up", 1]],
		[["real/baseline/requests", n - 1]],
		[["real/baseline/errors", 1]],
		[["real/pairs", n + 1]],
		[["pairs", n - 1]],
		[["canary/synthetic", n + 1], ["real/canary/requests", 0], ["real/pairs", 0]],
		[["baseline/synthetic", n - 5], ["real/baseline/requests", 5], ["real/baseline/errors", 6], ["baseline/errors", 6], ["real/pairs", 5]],
		[["canary/synthetic", n - 5], ["real/canary/requests", 5], ["real/pairs", 6]],
	] {
		with_pairs(n, changes).verdict == "error"
	}
	with_pairs(n, []).verdict == "pass"
	with_pairs(n, [["canary/synthetic", n], ["real/canary/requests", 0], ["real/baseline/requests", 0], ["baseline/synthetic", n], ["real/pairs", 0]]).verdict == "pass"
	with_pairs(n, [["baseline/errors", n], ["real/baseline/errors", n]]).verdict == "pass"
	with_pairs(n, [["baseline/errors", n - 1], ["baseline/given_up", 1], ["real/baseline/errors", n - 1], ["real/baseline/given_up", 1]]).verdict == "pass"
	with_pairs(n, array.concat(crowd, [["canary/visits", n], ["canary/visitors", n], ["baseline/visits", n]])).verdict == "pass"
	with_pairs(n, array.concat(crowd, [["canary/visits", 100], ["canary/visitors", 100], ["canary/greatest", 1]])).verdict == "pass"
}

test_absent_figures_are_errors if {
	every path in ["whole", "stable", "canary", "stable/requests", "stable/errors", "stable/synthetic", "stable/p95", "stable/release", "canary/release", "canary/requests", "canary/errors", "canary/synthetic", "canary/restarts", "canary/p95"] {
		fixtures.without("canary", "canary", sprintf("/payload/%s", [path])).verdict == "error"
	}
	every path in [
		"sound",
		"faults",
		"lost",
		"alpha",
		"block_pairs",
		"block_seconds",
		"group_seconds",
		"overdispersion",
		"real",
		"real/pairs",
		"real/overdispersion",
		"real/canary/requests",
		"real/canary/errors",
		"real/canary/given_up",
		"real/baseline/requests",
		"real/baseline/errors",
		"real/baseline/given_up",
		"canary/given_up",
		"canary/visits",
		"canary/visitors",
		"canary/greatest",
		"baseline/given_up",
		"baseline/visits",
		"baseline/visitors",
		"baseline/greatest",
		"pairs",
		"needed",
		"foreseen",
		"baseline",
		"canary/requests",
		"canary/synthetic",
		"canary/errors",
		"errors/worse",
		"errors/within/e",
		"errors/estimate",
		"errors/low",
		"errors/high",
		"latency/worse/e",
		"latency/within",
		"latency/estimate",
		"latency/low",
		"latency/high",
	] {
		fixtures.without("canary", "canary", sprintf("/payload/figures/%s", [path])).verdict == "error"
	}
}

test_mistyped_figures_are_errors if {
	every value in ["1", null, -1, [], {}, false, 1e300] {
		with_payload([["canary/errors", value]]).verdict == "error"
		with_payload([["stable/p95", value]]).verdict == "error"
		with_figures([["errors/worse/e", value]]).verdict == "error"
		with_figures([["latency/within/e", value]]).verdict == "error"
		with_figures([["lost", value]]).verdict == "error"
	}
	every value in ["1", -1, [], {}, false, 1] { with_payload([["figures", value]]).verdict == "error" }
}

test_old_figures_are_inconclusive if {
	fixtures.with_evidence("canary", "canary", [["/age_seconds", 301]]).verdict == "inconclusive"
}

test_arms_alone_never_pass if {
	c := with_arms([])
	c.verdict == "inconclusive"
	contains(c.why, "payload.figures is missing")
	c.got == "canary 0.1% errors of 1000, p95 0.1 s; stable 0.1% of 3000, p95 0.1 s"
	c.next == "wait for more requests, or look: gate status --watch"
	fixtures.without("canary", "canary", "/payload/figures").verdict == "inconclusive"
	with_arms([["canary/requests", 0], ["canary/errors", 0]]).verdict == "inconclusive"
	with_arms([["stable/requests", 0], ["stable/errors", 0], ["canary/errors", 1000]]).verdict == "inconclusive"
}

with_whole(changes) := with_arms(array.concat([["whole", true]], changes))

test_all_traffic_on_the_release_can_only_be_compared_with_before if {
	c := with_whole([])
	c.verdict == "warn"
	c.why == "all traffic is on the release: it is compared with what was before it, not with what is beside it"
	with_whole([["canary/requests", 299], ["canary/errors", 0]]).verdict == "inconclusive"
	with_whole([["canary/requests", 300], ["canary/errors", 0]]).verdict == "warn"
	with_whole([["stable/requests", 299], ["stable/errors", 0]]).verdict == "inconclusive"
	with_whole([["stable/requests", 300], ["stable/errors", 0]]).verdict == "warn"
	with_whole([["canary/errors", 20], ["stable/errors", 30]]).verdict == "warn"
	with_whole([["canary/errors", 21], ["stable/errors", 30]]).verdict == "inconclusive"
	with_whole([["canary/errors", 30]]).verdict == "fail"
	with_whole([["canary/p95", 9]]).verdict == "fail"
	with_whole([["canary/restarts", 1]]).verdict == "fail"
	with_whole([["stable/requests", 0], ["stable/errors", 0]]).verdict == "inconclusive"
}

test_a_baseline_of_another_release_is_an_error if {
	every changes in [[["baseline/release", "sha256:cccc"]], [["stable/release", "sha256:cccc"]]] {
		c := with_payload(changes)
		c.verdict == "error"
		contains(c.why, "the baseline runs another release than the stable one")
	}
	unsound := with_payload([["baseline/release", "sha256:cccc"], ["figures/sound", false]])
	unsound.verdict == "error"
}

test_a_baseline_that_is_not_told_is_an_error if {
	every path in ["baseline", "baseline/release", "baseline/requests", "baseline/errors", "baseline/synthetic", "baseline/restarts", "baseline/open", "baseline/oldest_open_seconds", "canary/open", "canary/oldest_open_seconds"] {
		fixtures.without("canary", "canary", sprintf("/payload/%s", [path])).verdict == "error"
	}
}

test_pairs_with_nothing_beside_are_an_error if with_payload([["whole", true]]).verdict == "error"

test_arms_alone_can_show_a_broken_canary if {
	c := with_arms([["canary/errors", 30]])
	c.verdict == "fail"
	contains(c.why, "30 of 1000 requests to the canary failed, 3 of 3000 to the stable release: 2.9% more, at most 1%")
	with_arms([["canary/requests", 6], ["canary/errors", 6]]).verdict == "fail"
	with_payload([["canary/errors", 30]]).verdict == "pass"
}

test_a_shared_incident_does_not_fail_the_arms if {
	with_arms([["canary/errors", 500], ["stable/errors", 1500]]).verdict == "inconclusive"
}

test_an_increase_at_the_margin_is_no_failure_of_the_arms if {
	with_arms([["canary/requests", 100000], ["canary/errors", 1000], ["stable/requests", 100000], ["stable/errors", 0]]).verdict == "inconclusive"
	with_arms([["canary/requests", 100000], ["canary/errors", 1001], ["stable/requests", 100000], ["stable/errors", 0]]).verdict == "fail"
	with_arms([["canary/requests", 100000], ["canary/errors", 1050], ["stable/requests", 100000], ["stable/errors", 0]]).verdict == "fail"
	with_arms([["canary/requests", 100000], ["canary/errors", 950], ["stable/requests", 100000], ["stable/errors", 0]]).verdict == "inconclusive"
}

test_five_errors_can_prove_something_and_four_cannot if {
	with_arms([["canary/requests", 100], ["canary/errors", 5], ["stable/requests", 3000], ["stable/errors", 0]]).verdict == "fail"
	with_arms([["canary/requests", 100], ["canary/errors", 4], ["stable/requests", 3000], ["stable/errors", 0]]).verdict == "inconclusive"
}

test_four_standard_errors_are_significant_and_less_is_not if {
	with_arms([["canary/errors", 16], ["stable/requests", 1000], ["stable/errors", 0]]).verdict == "fail"
	with_arms([["canary/errors", 15], ["stable/requests", 1000], ["stable/errors", 0]]).verdict == "inconclusive"
}

test_exactly_as_many_standard_errors_may_be_chance if {
	given := json.patch(
		fixtures.spoiled("canary", "canary", [
			{"op": "add", "path": "/payload/figures", "value": null},
			{"op": "add", "path": "/payload/canary/requests", "value": 2},
			{"op": "add", "path": "/payload/canary/errors", "value": 2},
			{"op": "add", "path": "/payload/stable/requests", "value": 2},
			{"op": "add", "path": "/payload/stable/errors", "value": 0},
		]),
		[
			{"op": "add", "path": "/thresholds/canary/significance_z", "value": 2},
			{"op": "add", "path": "/thresholds/canary/min_errors", "value": 1},
		],
	)
	fixtures.judged(given, "canary").verdict == "inconclusive"
}

test_arms_that_do_not_add_up_are_errors if {
	with_arms([["canary/errors", 3], ["canary/requests", 2]]).verdict == "error"
	with_arms([["stable/errors", 3001]]).verdict == "error"
	with_arms([["stable/errors", 3000]]).verdict == "inconclusive"
	with_arms([["canary/errors", 3], ["canary/requests", 3]]).verdict == "inconclusive"
}

test_a_p95_over_its_limit_fails_with_just_enough_samples if {
	few := [["canary/requests", 300], ["canary/errors", 0], ["stable/requests", 300], ["stable/errors", 0]]
	c := with_arms(array.concat(few, [["canary/p95", 0.15001]]))
	c.verdict == "fail"
	contains(c.why, "p95 of the canary 0.15001 s, at most 0.15 beside")
	with_arms(array.concat(few, [["canary/p95", 0.15]])).verdict == "inconclusive"
	with_arms(array.concat(few, [["canary/p95", 9], ["canary/requests", 299]])).verdict == "inconclusive"
	with_arms(array.concat(few, [["canary/p95", 9], ["stable/requests", 299]])).verdict == "inconclusive"
	with_arms([["stable/p95", 0.01], ["canary/p95", 0.06]]).verdict == "inconclusive"
	with_arms([["stable/p95", 0.01], ["canary/p95", 0.061]]).verdict == "fail"
	with_arms([["stable/p95", 1], ["canary/p95", 1.5]]).verdict == "inconclusive"
	with_arms([["stable/p95", 1], ["canary/p95", 1.51]]).verdict == "fail"
}
