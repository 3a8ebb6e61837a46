package gate.readiness.canary_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("canary", "canary", changes)

with_figures(changes) := with_payload([[sprintf("figures/%s", [c[0]]), c[1]] | some c in changes])

# without single requests
with_arms(changes) := with_payload(array.concat([["figures", null]], changes))

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
	with_figures([["errors/worse/e", 400], ["pairs", 30]]).verdict == "fail"
	with_figures([["latency/worse/e", 400], ["pairs", 30]]).verdict == "fail"
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
	with_figures([["pairs", 300]]).verdict == "pass"
	c := with_figures([["pairs", 299]])
	c.verdict == "inconclusive"
	contains(c.why, "299 pairs of requests, at least 300")
	c.next == "wait: about 1 more requests to each arm at the present rate"
}

test_a_forecast_says_how_many_more if {
	c := with_figures([["latency/within/e", 2], ["needed", 700], ["pairs", 250]])
	c.verdict == "inconclusive"
	c.next == "wait: about 700 more requests to each arm at the present rate"
	d := with_figures([["latency/within/e", 2], ["needed", 7], ["pairs", 250]])
	d.next == "wait: about 50 more requests to each arm at the present rate"
}

test_no_end_in_sight_is_no_forecast if {
	every changes in [
		[["latency/within/e", 2], ["needed", 700], ["foreseen", false]],
		[["latency/within/e", 2], ["needed", 0]],
		[["needed", 700], ["sound", false]],
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
	with_figures([["canary/requests", 3000]]).verdict == "pass"
	with_figures([["canary/requests", 3001]]).verdict == "inconclusive"
	with_figures([["baseline/requests", 3015]]).verdict == "pass"
	c := with_figures([["baseline/requests", 3016]])
	c.verdict == "inconclusive"
	contains(c.why, "2010 requests to the canary and 3016 to the baseline")
}

test_figures_for_other_margins_are_errors if {
	every change in [["alpha", 0.02], ["block_pairs", 99], ["block_seconds", 1], ["errors/margin", 0.02], ["latency/margin", 0.2], ["latency/slack", 0.001]] {
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
	c := with_figures([["canary/synthetic", 201]])
	c.verdict == "pass"
	c.why == "synthetic: 10% of the canary's requests and 0% of the baseline's were gate's own"
	with_figures([["canary/synthetic", 201], ["baseline/synthetic", 100]]).why == "synthetic: 10% of the canary's requests and 5% of the baseline's were gate's own"
}

test_no_request_at_all_is_inconclusive if {
	nothing := [["pairs", 0], ["canary/requests", 0], ["canary/errors", 0], ["baseline/requests", 0], ["baseline/errors", 0], ["latency/high", 1000000000], ["latency/within/e", 1], ["errors/within/e", 1]]
	c := with_figures(nothing)
	c.verdict == "inconclusive"
	contains(c.got, "latency × 1.01 (0.925 to any)")
	with_figures([["pairs", 0], ["baseline/requests", 0], ["baseline/errors", 0], ["canary/synthetic", 9]]).verdict == "inconclusive"
}

test_another_release_in_the_canary_is_an_error if {
	with_payload([["canary/release", "sha256:bbbb"]]).verdict == "error"
	with_arms([["canary/release", "sha256:bbbb"]]).verdict == "error"
}

test_a_first_release_has_no_canary if fixtures.with_input("canary", [["/bootstrap", true]]).verdict == "error"

test_figures_that_do_not_add_up_are_errors if {
	every change in [["baseline/errors", 2001], ["baseline/synthetic", 2001], ["canary/errors", 2011], ["canary/synthetic", 2011], ["pairs", 2001]] {
		with_figures([change]).verdict == "error"
	}
	with_figures([["pairs", 2000]]).verdict == "pass"
	with_figures([["canary/requests", 1989]]).verdict == "error"
	with_figures([["canary/synthetic", 2010]]).verdict == "pass"
	with_figures([["pairs", 300], ["canary/requests", 1500], ["canary/errors", 1500]]).verdict == "pass"
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
	every path in ["baseline", "baseline/release", "baseline/requests", "baseline/errors", "baseline/synthetic"] {
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
