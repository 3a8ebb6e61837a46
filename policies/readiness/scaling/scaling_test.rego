package gate.readiness.scaling_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("scaling", "scaling", changes)

limited(name, value, changes) := fixtures.judged(
	json.patch(
		fixtures.spoiled("scaling", "scaling", [{"op": "add", "path": sprintf("/payload/%s", [c[0]]), "value": c[1]} | some c in changes]),
		[{"op": "add", "path": sprintf("/thresholds/scaling/%s", [name]), "value": value}],
	),
	"scaling",
)

test_up_and_down_with_nothing_failed_passes if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "2 to 4 instances in 2.5 s, back to 2 in 11 s; 0 of 1000 requests failed; 1.5 instance-hours saved so far"
}

test_one_failed_request_fails_with_its_cause if {
	c := with_payload([["failed", 1], ["failures", {"connection closed": 1}]])
	c.verdict == "fail"
	contains(c.why, "1 of 1000 requests failed, at most 0 may (connection closed: 1)")
	with_payload([["failed", 1]]).verdict == "fail"
	limited("max_failed", 1, [["failed", 1]]).verdict == "pass"
}

test_one_that_is_stuck_fails if {
	c := with_payload([["peak", 2], ["up_seconds", 0], ["new_answered", 0]])
	c.verdict == "fail"
	contains(c.why, "2 instances served all the time, though each had up to 18.5 of concurrency, target 8")
	not contains(c.why, "too little to call for more")
	with_payload([["peak", 2]]).verdict == "fail"
}

test_growth_before_the_target_passes if with_payload([["highest", 8]]).verdict == "pass"

test_processors_may_be_followed_too if with_payload([["metric", "cpu"]]).verdict == "pass"

test_one_that_is_blind_fails if {
	c := with_payload([["peak", 2], ["up_seconds", 0], ["highest", 0], ["known", false]])
	c.verdict == "fail"
	contains(c.why, "it had no figure to go by")
}

test_bounds_that_leave_no_room_fail if {
	c := with_payload([["max", 2], ["peak", 2], ["up_seconds", 0]])
	c.verdict == "fail"
	contains(c.why, "at least 2 and at most 2 instances are declared")
	with_payload([["max", 2]]).verdict == "fail"
	with_payload([["min", 11], ["after", 11]]).verdict == "fail"
	with_payload([["max", 3]]).verdict == "pass"
}

test_load_that_calls_for_nothing_is_inconclusive if {
	c := with_payload([["peak", 2], ["up_seconds", 0], ["highest", 8], ["new_answered", 0]])
	c.verdict == "inconclusive"
	contains(c.why, "raise drills.users")
	with_payload([["peak", 2], ["up_seconds", 0], ["highest", 8]]).verdict == "inconclusive"
}

test_ten_seconds_are_the_limit if {
	with_payload([["up_seconds", 10]]).verdict == "pass"
	with_payload([["up_seconds", 10.1]]).verdict == "fail"
	with_payload([["up_seconds", 0]]).verdict == "fail"
}

test_instances_that_stay_fail if {
	c := with_payload([["after", 3]])
	c.verdict == "fail"
	contains(c.why, "3 instances were left 11 s after the load, at most 2 may be")
}

test_exactly_enough_passes if with_payload([["requests", 300], ["new_answered", 1], ["peak", 3], ["per_instance", {"1": 100, "2": 100, "3": 100}]]).verdict == "pass"

test_too_little_is_inconclusive if {
	every change in [["requests", 299], ["new_answered", 0], ["per_instance", {"1": 500, "2": 500}], ["per_instance", {"1": 500, "2": 500, "3": 0}], ["generator/dropped", 1]] {
		with_payload([change]).verdict == "inconclusive"
	}
}

test_figures_that_make_no_sense_are_errors if {
	with_payload([["peak", 1]]).verdict == "fail"
	with_payload([["peak", 1], ["up_seconds", 0], ["highest", 8]]).verdict == "error"
	limited("max_failed", 2000, [["failed", 1001]]).verdict == "error"
	limited("max_failed", 2000, [["failed", 1000]]).verdict == "pass"
	with_payload([["metric", "luck"]]).verdict == "error"
}

test_absent_figures_are_errors if {
	every path in ["metric", "per_instance", "min", "max", "users", "before", "peak", "after", "new_answered", "highest", "target", "known", "up_seconds", "down_seconds", "requests", "failed", "generator", "saved_instance_hours"] {
		fixtures.without("scaling", "scaling", sprintf("/payload/%s", [path])).verdict == "error"
	}
}
