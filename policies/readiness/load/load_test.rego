package gate.readiness.load_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("load", "load", changes)

limited(name, value, changes) := fixtures.judged(
	json.patch(
		fixtures.spoiled("load", "load", [{"op": "add", "path": sprintf("/payload/%s", [c[0]]), "value": c[1]} | some c in changes]),
		[{"op": "add", "path": sprintf("/thresholds/load/%s", [name]), "value": value}],
	),
	"load",
)

test_fast_and_right_passes_with_its_figures if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "p95 0.31 s (≤ 0.35), p99 0.42 s (≤ 0.5), success ≥ 99.25% of 2700"
	c.want == "p95 < 2 s, p99 < 2 s, success ≥ 99% with 50 users"
}

test_a_quantile_at_its_limit_fails if {
	every name in ["p95", "p99"] {
		c := with_payload([[sprintf("open/endpoints/1/%s", [name]), 2], ["open/endpoints/1/p99", 2], ["open/endpoints/1/p99_upper", 2.1]])
		c.verdict == "fail"
		contains(c.why, "open add: ")
	}
}

test_a_quantile_just_below_its_limit_passes_and_looks_different if {
	c := with_payload([["closed/endpoints/0/p95", 1.9999], ["closed/endpoints/0/p95_upper", 1.99991], ["closed/endpoints/0/p99", 1.99995], ["closed/endpoints/0/p99_upper", 1.99995]])
	c.verdict == "pass"
	contains(c.got, "p95 1.9999 s (≤ 1.9999)")
}

test_a_bound_at_its_limit_is_inconclusive if {
	every name in ["p95_upper", "p99_upper"] {
		c := with_payload([[sprintf("closed/all/%s", [name]), 2]])
		c.verdict == "inconclusive"
		contains(c.why, "closed all: ")
		c.next == "gate verify staging --check load (about 100 s)"
	}
}

test_a_bound_below_its_point_does_not_count if {
	with_payload([["closed/all/p95", 2.5], ["closed/all/p99", 2.6], ["closed/all/p95_upper", 0.1], ["closed/all/p99_upper", 0.1]]).verdict == "fail"
}

test_success_exactly_at_its_limit_passes if {
	with_payload([["closed/all/success_lower", 0.99]]).verdict == "pass"
}

test_success_that_is_not_sure_is_inconclusive if {
	c := with_payload([["closed/all/success_lower", 0.98996]])
	c.verdict == "inconclusive"
	contains(c.why, "98.996%")
}

test_a_bound_of_success_above_the_share_does_not_count if {
	with_payload([["closed/endpoints/0/succeeded", 985], ["closed/all/succeeded", 1485], ["closed/endpoints/0/success_lower", 1]]).verdict == "fail"
}

test_failures_at_the_limit_need_more_samples_and_over_it_fail if {
	at_limit := with_payload([["closed/endpoints/0/succeeded", 990], ["closed/all/succeeded", 1490], ["closed/endpoints/0/success_lower", 0.985]])
	at_limit.verdict == "inconclusive"
	over := with_payload([["closed/endpoints/0/succeeded", 989], ["closed/all/succeeded", 1489], ["closed/endpoints/0/failures", {"status 500": 11}]])
	over.verdict == "fail"
	contains(over.why, "11 of 1000 requests failed, success must reach 99% (status 500: 11)")
}

test_hopeless_runs_fail_before_they_have_enough_samples if {
	c := with_payload([["closed/endpoints", [object.union(fixtures.figure("list", 10), {"succeeded": 0})]], ["closed/all/requests", 10], ["closed/all/succeeded", 0]])
	c.verdict == "fail"
}

test_the_least_number_of_requests_is_enough if {
	fixed := [["closed/endpoints", [fixtures.figure("list", 1000), fixtures.figure("add", 299)]], ["closed/all", fixtures.figure("all", 1299)]]
	with_payload(fixed).verdict == "pass"
}

test_one_request_less_is_inconclusive if {
	c := with_payload([["closed/endpoints", [fixtures.figure("list", 1000), fixtures.figure("add", 298)]], ["closed/all", fixtures.figure("all", 1298)]])
	c.verdict == "inconclusive"
	contains(c.why, "closed add: 298 requests, at least 299")
}

test_no_request_is_inconclusive if {
	with_payload([["open/endpoints", [fixtures.figure("list", 800), fixtures.figure("add", 0)]], ["open/all", fixtures.figure("all", 800)]]).verdict == "inconclusive"
}

test_no_endpoint_is_inconclusive if {
	c := with_payload([
		["closed/endpoints", []],
		["open/endpoints", []],
		["closed/all", fixtures.figure("all", 0)],
		["open/all", fixtures.figure("all", 0)],
	])
	c.verdict == "inconclusive"
	contains(c.why, "no endpoint was asked")
}

test_an_endpoint_that_one_phase_lacks_is_an_error if {
	c := with_payload([["open/endpoints", [fixtures.figure("list", 1200)]]])
	c.verdict == "error"
	contains(c.why, "different endpoints")
}

test_an_endpoint_that_is_there_twice_is_an_error if {
	with_payload([["open/endpoints/0/name", "add"], ["closed/endpoints/0/name", "add"]]).verdict == "error"
}

test_requests_beside_the_endpoints_are_an_error if {
	with_payload([["closed/all/requests", 1501]]).verdict == "error"
	with_payload([["open/all/succeeded", 1199]]).verdict == "error"
}

test_figures_that_contradict_each_other_are_an_error if {
	with_payload([["closed/endpoints/0/succeeded", 1001]]).verdict == "error"
	with_payload([["closed/endpoints/0/p95", 0.43]]).verdict == "error"
}

test_too_few_users_are_inconclusive if {
	with_payload([["users", 49]]).verdict == "inconclusive"
	with_payload([["users", 51]]).verdict == "pass"
}

test_too_short_a_run_is_inconclusive_and_says_by_how_little if {
	c := with_payload([["closed/seconds", 59.9999]])
	c.verdict == "inconclusive"
	contains(c.why, "59.9999 s")
	with_payload([["open/seconds", 0]]).verdict == "inconclusive"
}

test_a_restart_fails if with_payload([["restarts", 1]]).verdict == "fail"

test_restarts_at_a_raised_limit_pass if limited("max_restarts", 1, [["restarts", 1]]).verdict == "pass"

test_a_meter_that_is_not_sound_is_inconclusive if {
	with_payload([["little_law", 1.11]]).verdict == "inconclusive"
	with_payload([["little_law", 0.89]]).verdict == "inconclusive"
	with_payload([["generator/dropped", 1]]).verdict == "inconclusive"
}

test_a_meter_at_its_limit_passes if limited("max_little_law_error", 0.5, [["little_law", 1.5]]).verdict == "pass"

test_absent_figures_are_errors if {
	every path in [
		"users",
		"restarts",
		"little_law",
		"generator",
		"generator/dropped",
		"closed",
		"open",
		"closed/seconds",
		"closed/all",
		"closed/all/requests",
		"open/endpoints",
		"open/endpoints/1/p99_upper",
		"open/endpoints/1/name",
		"open/endpoints/1/success_lower",
	] {
		c := fixtures.without("load", "load", sprintf("/payload/%s", [path]))
		c.verdict == "error"
	}
}

test_mistyped_figures_are_errors if {
	every value in ["0.3", null, -1, [], {}, true, 1e300] {
		with_payload([["closed/endpoints/0/p95_upper", value]]).verdict == "error"
		with_payload([["open/all/success_lower", value]]).verdict == "error"
	}
}

test_an_endpoint_that_is_no_object_is_an_error if with_payload([["open/endpoints/1", "add"]]).verdict == "error"

test_more_successes_than_requests_are_an_error if {
	c := with_payload([["open/endpoints/0/succeeded", 801], ["open/all/succeeded", 1201]])
	c.verdict == "error"
	contains(c.why, "open list: more succeeded than were sent")
}

test_quantiles_may_be_the_same if with_payload([["open/endpoints/0/p95", 0.42]]).verdict == "pass"

test_a_p95_at_its_limit_fails_whatever_p99_may_be if {
	c := limited("p99_seconds", 3, [["open/endpoints/1/p95", 2], ["open/endpoints/1/p99", 2.5], ["open/endpoints/1/p99_upper", 2.6]])
	c.verdict == "fail"
	contains(c.why, "open add: p95 2 s, must be below 2")
}

test_a_meter_just_within_its_tolerance_is_believed if {
	with_payload([["little_law", 1.095]]).verdict == "pass"
	with_payload([["little_law", 0.905]]).verdict == "pass"
	with_payload([["little_law", 1.105]]).verdict == "inconclusive"
}

test_what_is_missing_is_named if {
	contains(fixtures.without("load", "load", "/payload/closed/all").why, "payload.closed.all is missing")
	contains(fixtures.without("load", "load", "/payload/open/endpoints/0/p99").why, "open.endpoints[0].p99 is missing")
}
