package gate.readiness.canary_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("canary", "canary", changes)

test_no_worse_than_stable_passes if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "canary 0.1% errors of 1000, p95 0.1 s; stable 0.1% of 3000, p95 0.1 s"
	c.why == ""
}

test_an_increase_at_the_limit_passes if {
	with_payload([["canary/errors", 20], ["stable/errors", 30]]).verdict == "pass"
}

test_an_increase_that_chance_does_not_explain_fails if {
	c := with_payload([["canary/errors", 30]])
	c.verdict == "fail"
	contains(c.why, "30 of 1000 requests to the canary failed, 3 of 3000 to the stable release: 2.9% more, at most 1%")
}

test_an_increase_that_chance_explains_is_inconclusive if {
	c := with_payload([["canary/requests", 300], ["canary/errors", 4]])
	c.verdict == "inconclusive"
	contains(c.why, "chance may explain it")
	c.next == "wait for more requests, or look: gate status --watch"
}

test_a_shared_incident_is_no_failure_of_the_canary if {
	with_payload([["canary/errors", 500], ["stable/errors", 1500]]).verdict == "pass"
	with_payload([["canary/errors", 520], ["stable/errors", 1500]]).verdict == "inconclusive"
}

test_a_broken_canary_fails_before_it_has_enough_samples if {
	c := with_payload([["canary/requests", 6], ["canary/errors", 6]])
	c.verdict == "fail"
}

test_a_canary_without_requests_is_inconclusive if {
	c := with_payload([["canary/requests", 0], ["canary/errors", 0]])
	c.verdict == "inconclusive"
	c.next == "wait: the canary needs 300 more requests"
}

test_exactly_enough_samples_pass if {
	with_payload([["canary/requests", 300], ["stable/requests", 300], ["canary/errors", 0], ["stable/errors", 0]]).verdict == "pass"
}

test_too_few_samples_are_inconclusive_and_say_how_many_are_missing if {
	c := with_payload([["canary/requests", 299], ["stable/requests", 100]])
	c.verdict == "inconclusive"
	c.next == "wait: the canary needs 1 and the stable release needs 200 more requests"
}

test_no_stable_request_is_inconclusive if {
	c := with_payload([["stable/requests", 0], ["stable/errors", 0], ["canary/errors", 1000]])
	c.verdict == "inconclusive"
	contains(c.why, "nothing to compare with")
}

test_a_p95_at_its_limit_passes if {
	with_payload([["canary/p95", 0.15]]).verdict == "pass"
	with_payload([["stable/p95", 0.01], ["canary/p95", 0.06]]).verdict == "pass"
	with_payload([["stable/p95", 1], ["canary/p95", 1.5]]).verdict == "pass"
}

test_a_p95_over_its_limit_fails_and_looks_different if {
	c := with_payload([["canary/p95", 0.15001]])
	c.verdict == "fail"
	contains(c.why, "p95 of the canary 0.15001 s, at most 0.15 beside")
}

test_a_slow_canary_with_few_samples_is_inconclusive if {
	with_payload([["canary/p95", 9], ["canary/requests", 299]]).verdict == "inconclusive"
	with_payload([["canary/p95", 9], ["stable/requests", 299]]).verdict == "inconclusive"
}

test_a_restart_of_the_canary_fails if with_payload([["canary/restarts", 1]]).verdict == "fail"

test_a_restart_at_a_raised_limit_passes if {
	given := json.patch(fixtures.spoiled("canary", "canary", [{"op": "add", "path": "/payload/canary/restarts", "value": 1}]), [{"op": "add", "path": "/thresholds/canary/max_restarts", "value": 1}])
	fixtures.judged(given, "canary").verdict == "pass"
}

test_synthetic_requests_are_said_aloud if {
	all := with_payload([["canary/synthetic", 1000], ["stable/synthetic", 3000]])
	all.verdict == "pass"
	startswith(all.why, "synthetic: all requests")
	some_ := with_payload([["canary/synthetic", 250]])
	some_.why == "synthetic: 25% of the canary's requests and 0% of the stable release's were gate's own"
}

test_synthetic_requests_are_said_aloud_without_any_request if {
	with_payload([["canary/requests", 0], ["canary/errors", 0], ["stable/synthetic", 3]]).verdict == "inconclusive"
}

test_another_release_in_the_canary_is_an_error if with_payload([["canary/release", "sha256:bbbb"]]).verdict == "error"

test_a_first_release_has_no_canary if fixtures.with_input("canary", [["/bootstrap", true]]).verdict == "error"

test_arms_that_do_not_add_up_are_errors if {
	with_payload([["stable/errors", 3001]]).verdict == "error"
	with_payload([["stable/synthetic", 3001]]).verdict == "error"
	with_payload([["canary/synthetic", 1001]]).verdict == "error"
}

test_absent_figures_are_errors if {
	every path in ["stable", "canary", "stable/requests", "stable/synthetic", "stable/errors", "stable/p95", "stable/release", "canary/release", "canary/requests", "canary/synthetic", "canary/errors", "canary/restarts", "canary/p95"] {
		fixtures.without("canary", "canary", sprintf("/payload/%s", [path])).verdict == "error"
	}
}

test_mistyped_figures_are_errors if {
	every value in ["1", null, -1, [], {}, false, 1e300] {
		with_payload([["canary/errors", value]]).verdict == "error"
		with_payload([["stable/p95", value]]).verdict == "error"
	}
}

test_old_figures_are_inconclusive if {
	fixtures.with_evidence("canary", "canary", [["/age_seconds", 301]]).verdict == "inconclusive"
}

test_too_few_requests_to_the_stable_release_are_inconclusive if {
	c := with_payload([["stable/requests", 299]])
	c.verdict == "inconclusive"
	contains(c.why, "299 requests to the stable release, at least 300")
}

test_five_errors_can_prove_something_and_four_cannot if {
	with_payload([["canary/requests", 300], ["canary/errors", 5], ["stable/errors", 0]]).verdict == "fail"
	with_payload([["canary/requests", 300], ["canary/errors", 4], ["stable/errors", 0]]).verdict == "inconclusive"
}

test_four_standard_errors_are_significant_and_less_is_not if {
	with_payload([["canary/errors", 16], ["stable/requests", 1000], ["stable/errors", 0]]).verdict == "fail"
	with_payload([["canary/errors", 15], ["stable/requests", 1000], ["stable/errors", 0]]).verdict == "inconclusive"
}

test_exactly_as_many_standard_errors_may_be_chance if {
	given := json.patch(
		fixtures.spoiled("canary", "canary", [
			{"op": "add", "path": "/payload/canary/requests", "value": 2},
			{"op": "add", "path": "/payload/canary/errors", "value": 2},
			{"op": "add", "path": "/payload/stable/requests", "value": 2},
			{"op": "add", "path": "/payload/stable/errors", "value": 0},
		]),
		[
			{"op": "add", "path": "/thresholds/canary/significance_z", "value": 2},
			{"op": "add", "path": "/thresholds/canary/min_errors", "value": 1},
			{"op": "add", "path": "/thresholds/canary/min_samples", "value": 1},
		],
	)
	fixtures.judged(given, "canary").verdict == "inconclusive"
}

test_a_slow_canary_fails_with_just_enough_samples if {
	with_payload([["canary/requests", 300], ["canary/errors", 0], ["stable/requests", 300], ["stable/errors", 0], ["canary/p95", 9]]).verdict == "fail"
	with_payload([["canary/requests", 299], ["canary/errors", 0], ["canary/p95", 9]]).verdict == "inconclusive"
}
