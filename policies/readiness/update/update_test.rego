package gate.readiness.update_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("update", "update", changes)

test_nothing_failed_passes if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "0 of 1000 requests failed while 4 instances were replaced; 2 answered"
}

test_one_failed_request_fails_with_its_cause if {
	c := with_payload([["failed", 1], ["failures", {"connection reset": 1}]])
	c.verdict == "fail"
	contains(c.why, "1 of 1000 requests failed, at most 0 may (connection reset: 1)")
	with_payload([["failed", 1]]).verdict == "fail"
}

test_a_failed_request_at_a_raised_limit_passes if {
	given := json.patch(fixtures.spoiled("update", "update", [{"op": "add", "path": "/payload/failed", "value": 1}]), [{"op": "add", "path": "/thresholds/update/max_failed", "value": 1}])
	fixtures.judged(given, "update").verdict == "pass"
}

test_exactly_enough_passes if with_payload([["requests", 300], ["log/sent", 300], ["log/logged", 300], ["replaced", 2]]).verdict == "pass"

test_too_little_is_inconclusive if {
	with_payload([["requests", 299], ["log/sent", 299], ["log/logged", 299]]).verdict == "inconclusive"
	every change in [["replaced", 1], ["per_instance", {"1": 1000, "2": 0}], ["per_instance", {}], ["generator/dropped", 1]] {
		c := with_payload([change])
		c.verdict == "inconclusive"
		c.next == "gate verify staging --check update"
	}
}

test_a_load_that_is_not_spread_fails if {
	c := with_payload([["together", 1]])
	c.verdict == "fail"
	contains(c.why, "while nothing was replaced, 1 instances answered, at least 2 must")
	given := json.patch(fixtures.spoiled("update", "update", [{"op": "add", "path": "/payload/together", "value": 1}]), [{"op": "add", "path": "/thresholds/update/min_instances_used", "value": 1}])
	fixtures.judged(given, "update").verdict == "pass"
}

test_an_update_to_another_release_is_an_error if with_payload([["to", "sha256:bbbb"]]).verdict == "error"

test_more_failures_than_requests_are_never_a_pass if with_payload([["failed", 1001]]).verdict == "fail"

test_every_answered_request_has_one_line if {
	c := with_payload([["log/logged", 998], ["log/missing", 1], ["log/doubled", 1]])
	c.verdict == "fail"
	contains(c.why, "of 1000 answered requests 998 have one line in the access log: 1 have none, 1 several")
	with_payload([["log/logged", 999]]).verdict == "fail"
	with_payload([["log/missing", 1]]).verdict == "error"
	with_payload([["log/doubled", 1]]).verdict == "error"
	with_payload([["log/sent", 999], ["log/logged", 999]]).verdict == "inconclusive"
	with_payload([["log/sent", 1001], ["log/logged", 1001]]).verdict == "error"
}

test_absent_figures_are_errors if {
	every path in ["to", "requests", "failed", "replaced", "per_instance", "together", "log", "log/sent", "log/logged", "log/missing", "log/doubled", "generator", "generator/dropped", "quiet_p95", "p95"] {
		fixtures.without("update", "update", sprintf("/payload/%s", [path])).verdict == "error"
	}
}

test_mistyped_counts_are_errors if {
	with_payload([["per_instance", {"1": "500", "2": 500}]]).verdict == "error"
	with_payload([["requests", "1000"]]).verdict == "error"
}

tolerant(changes) := fixtures.judged(
	json.patch(
		fixtures.spoiled("update", "update", [{"op": "add", "path": sprintf("/payload/%s", [c[0]]), "value": c[1]} | some c in changes]),
		[{"op": "add", "path": "/thresholds/update/max_failed", "value": 5000}],
	),
	"update",
)

test_failures_are_never_more_than_requests_whatever_is_tolerated if {
	tolerant([["failed", 1000]]).verdict == "pass"
	c := tolerant([["failed", 1001]])
	c.verdict == "error"
	contains(c.why, "more requests failed than were sent")
}

test_a_drill_that_makes_the_service_slow_warns if {
	with_payload([["quiet_p95", 1], ["p95", 1.2]]).verdict == "pass"
	c := with_payload([["quiet_p95", 1], ["p95", 1.21]])
	c.verdict == "warn"
	contains(c.why, "p95 was 1.21 s during the drill and 1 s before it, at most 1.2 times that or 0.02 s more")
}

test_small_latencies_may_differ if {
	with_payload([["quiet_p95", 0.01], ["p95", 0.0295]]).verdict == "pass"
	with_payload([["quiet_p95", 0.01], ["p95", 0.031]]).verdict == "warn"
}

test_latencies_that_were_not_measured_are_inconclusive if {
	every name in ["quiet_p95", "p95"] {
		c := with_payload([[name, 0]])
		c.verdict == "inconclusive"
		contains(c.why, "no latency was measured")
	}
}
