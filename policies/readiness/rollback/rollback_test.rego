package gate.readiness.rollback_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("rollback", "rollback", changes)

limited(name, value, changes) := fixtures.judged(
	json.patch(
		fixtures.spoiled("rollback", "rollback", [{"op": "add", "path": sprintf("/payload/%s", [c[0]]), "value": c[1]} | some c in changes]),
		[{"op": "add", "path": sprintf("/thresholds/rollback/%s", [name]), "value": value}],
	),
	"rollback",
)

test_back_and_forth_with_nothing_failed_passes_and_says_what_was_rehearsed if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "0 of 1000 requests failed; back in 1.25 s, forth in 0.002 s"
	c.why == "the previous release on the schema of the release"
}

test_one_failed_request_fails_with_its_cause if {
	c := with_payload([["failed", 1], ["failed_there", 1], ["failures", {"status 500": 1}]])
	c.verdict == "fail"
	contains(c.why, "1 of 1000 requests failed, at most 0 may; 1 of them while the earlier release had the traffic (status 500: 1)")
	with_payload([["failed", 1]]).verdict == "fail"
}

test_a_failed_request_at_a_raised_limit_passes if limited("max_failed", 1, [["failed", 1]]).verdict == "pass"

test_an_earlier_release_that_does_not_come_up_fails if {
	c := with_payload([["reached", false], ["problem", "column x does not exist"]])
	c.verdict == "fail"
	contains(c.why, "the earlier release did not come up: column x does not exist")
	with_payload([["reached", false]]).verdict == "fail"
}

test_the_time_counts if {
	with_payload([["back_seconds", 60]]).verdict == "pass"
	with_payload([["back_seconds", 60.1]]).verdict == "fail"
	with_payload([["back_seconds", 0]]).verdict == "inconclusive"
}

test_exactly_enough_passes if with_payload([["requests", 300], ["by_previous", 10], ["by_release", 10]]).verdict == "pass"

test_too_little_is_inconclusive if {
	every change in [["requests", 299], ["by_previous", 9], ["by_release", 9], ["per_instance", {"1": 1000, "2": 0}], ["generator/dropped", 1]] {
		c := with_payload([change])
		c.verdict == "inconclusive"
		c.next == "gate verify staging --check rollback"
	}
}

test_missing_and_doubled_writes_fail if {
	with_payload([["writes/missing", 1], ["writes/found", 189]]).verdict == "fail"
	with_payload([["writes/doubled", 1]]).verdict == "fail"
	limited("max_missing", 1, [["writes/missing", 1], ["writes/found", 189]]).verdict == "pass"
	limited("max_doubled", 1, [["writes/doubled", 1]]).verdict == "pass"
}

test_writes_must_add_up if {
	every change in [["writes/found", 180], ["writes/found", 191], ["writes/missing", 1], ["writes/sent", 189]] {
		c := with_payload([change])
		c.verdict in {"error", "fail"}
		contains(c.why, "the writes do not add up")
	}
	with_payload([["writes/found", 189]]).verdict == "error"
	with_payload([["writes/sent", 190]]).verdict == "pass"
	limited("max_doubled", 1, [["writes/doubled", 1], ["writes/found", 189]]).verdict == "pass"
}

test_the_first_release_goes_to_itself if {
	with_payload([["first", true], ["from", fixtures.release]]).verdict == "pass"
	with_payload([["from", fixtures.release]]).verdict == "error"
	with_payload([["first", true]]).verdict == "error"
}

test_a_rollback_from_another_release_is_an_error if with_payload([["to", "sha256:dddd"]]).verdict == "error"

test_more_failures_than_requests_are_never_a_pass if {
	limited("max_failed", 2000, [["failed", 1001]]).verdict == "error"
	limited("max_failed", 2000, [["failed", 1000]]).verdict == "pass"
}

test_absent_figures_are_errors if {
	every path in ["from", "to", "first", "reached", "requests", "failed", "failed_there", "by_previous", "by_release", "back_seconds", "forth_seconds", "schema", "per_instance", "writes/declared", "writes/other", "writes/sent", "writes/acknowledged", "writes/found", "writes/missing", "writes/doubled", "generator", "generator/dropped", "quiet_p95", "p95"] {
		fixtures.without("rollback", "rollback", sprintf("/payload/%s", [path])).verdict == "error"
	}
}

test_mistyped_figures_are_errors if {
	with_payload([["reached", "true"]]).verdict == "error"
	with_payload([["back_seconds", "1"]]).verdict == "error"
	with_payload([["writes/found", []]]).verdict == "error"
	with_payload([["writes/declared", "true"]]).verdict == "error"
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
