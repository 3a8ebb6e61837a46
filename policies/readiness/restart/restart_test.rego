package gate.readiness.restart_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("restart", "restart", changes)

limited(name, value, changes) := fixtures.judged(
	json.patch(
		fixtures.spoiled("restart", "restart", [{"op": "add", "path": sprintf("/payload/%s", [c[0]]), "value": c[1]} | some c in changes]),
		[{"op": "add", "path": sprintf("/thresholds/restart/%s", [name]), "value": value}],
	),
	"restart",
)

test_all_back_in_time_with_nothing_missing_passes if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "instance back in 0.4 s (lost 2 of 3 in flight), daemon back in 1.5 s (lost 2 of 3 in flight), database back in 2.5 s (lost 2 of 3 in flight); 190 of 190 acknowledged writes found once"
}

test_a_part_that_was_not_killed_is_inconclusive if {
	every i in [0, 1, 2] {
		c := fixtures.without("restart", "restart", sprintf("/payload/faults/%d", [i]))
		c.verdict == "inconclusive"
		contains(c.why, "not killed: ")
	}
	with_payload([["faults", []]]).verdict == "inconclusive"
}

test_an_unknown_part_is_an_error if with_payload([["faults/-", json.patch(fixtures.killed("moon", 1, 0), [])]]).verdict == "error"

test_ten_seconds_are_the_limit if {
	with_payload([["faults/1/recover_seconds", 10]]).verdict == "pass"
	c := with_payload([["faults/1/recover_seconds", 10.1]])
	c.verdict == "fail"
	contains(c.why, "daemon took 10.1 s to recover, at most 10 s")
	with_payload([["faults/1/recover_seconds", 0]]).verdict == "inconclusive"
}

test_no_recovery_fails_with_its_causes if {
	c := with_payload([["faults/2/recovered", false]])
	c.verdict == "fail"
	contains(c.why, "database did not recover within 2.5 s (connection closed: 2, slow: 2)")
	fixtures.judged(fixtures.spoiled("restart", "restart", [{"op": "remove", "path": "/payload/faults/2/failures"}, {"op": "add", "path": "/payload/faults/2/recovered", "value": false}]), "restart").verdict == "fail"
}

test_no_more_is_lost_than_was_in_flight if {
	with_payload([["faults/0/lost", 3], ["faults/0/failed", 5]]).verdict == "pass"
	c := with_payload([["faults/0/lost", 4], ["faults/0/failed", 6]])
	c.verdict == "fail"
	contains(c.why, "instance: 4 requests were lost, and 3 were in flight")
}

test_nobody_is_refused if {
	c := with_payload([["faults/1/refused", 1], ["faults/1/slow", 1]])
	c.verdict == "fail"
	contains(c.why, "daemon: 1 requests found nobody who listened, at most 0 may (connection closed: 2, slow: 2)")
	limited("max_refused", 1, [["faults/1/refused", 1], ["faults/1/slow", 1]]).verdict == "pass"
}

test_failures_must_add_up if {
	with_payload([["faults/0/failed", 5]]).verdict == "error"
	with_payload([["faults/0/requests", 3]]).verdict == "error"
	with_payload([["faults/0/requests", 4]]).verdict == "inconclusive"
}

test_missing_and_doubled_writes_fail if {
	missing := with_payload([["writes/missing", 1], ["writes/found", 189]])
	missing.verdict == "fail"
	contains(missing.why, "1 of 190 acknowledged writes are missing")
	doubled := with_payload([["writes/doubled", 1]])
	doubled.verdict == "fail"
	contains(doubled.why, "1 of 200 writes were stored more than once")
	limited("max_missing", 1, [["writes/missing", 1], ["writes/found", 189]]).verdict == "pass"
	limited("max_doubled", 1, [["writes/doubled", 1]]).verdict == "pass"
}

test_writes_must_add_up if {
	with_payload([["writes/found", 180]]).verdict == "error"
	with_payload([["writes/found", 191]]).verdict == "error"
	with_payload([["writes/sent", 189]]).verdict == "error"
}

test_too_few_writes_are_inconclusive if {
	with_payload([["writes/acknowledged", 30], ["writes/found", 30]]).verdict == "pass"
	c := with_payload([["writes/acknowledged", 29], ["writes/found", 29]])
	c.verdict == "inconclusive"
	contains(c.why, "drills.write")
	with_payload([["writes/declared", false], ["writes/other", 0]]).verdict == "inconclusive"
}

test_where_nothing_writes_nothing_is_looked_for if {
	none := {"declared": false, "other": 0, "sent": 0, "acknowledged": 0, "found": 0, "missing": 0, "doubled": 0}
	with_payload([["writes", none]]).verdict == "pass"
	with_payload([["writes", object.union(none, {"other": 1})]]).verdict == "inconclusive"
	with_payload([["writes", object.union(none, {"declared": true})]]).verdict == "inconclusive"
	with_payload([["writes", object.union(none, {"sent": 1})]]).verdict == "inconclusive"
}

test_a_loop_of_restarts_fails if {
	with_payload([["faults/0/restarts", 3]]).verdict == "pass"
	c := with_payload([["faults/0/restarts", 4]])
	c.verdict == "fail"
	contains(c.why, "instances were restarted 4 times")
}

test_a_kill_that_nobody_noticed_is_inconclusive if with_payload([["faults/0/restarts", 0]]).verdict == "inconclusive"

test_fewer_instances_than_before_fail if with_payload([["faults/2/instances_after", 1]]).verdict == "fail"

test_too_few_requests_are_inconclusive if {
	with_payload([["faults/0/requests", 100]]).verdict == "pass"
	with_payload([["faults/0/requests", 99]]).verdict == "inconclusive"
	with_payload([["generator/dropped", 1]]).verdict == "inconclusive"
	with_payload([["per_instance", {"1": 1000}]]).verdict == "inconclusive"
	with_payload([["per_instance", {"1": 1000, "2": 0}]]).verdict == "inconclusive"
}

test_absent_figures_are_errors if {
	every path in ["faults", "requests", "failed", "per_instance", "writes", "writes/declared", "writes/other", "writes/sent", "writes/acknowledged", "writes/found", "writes/missing", "writes/doubled", "generator"] {
		fixtures.without("restart", "restart", sprintf("/payload/%s", [path])).verdict == "error"
	}
	every name in ["part", "what", "by", "recovered", "recover_seconds", "requests", "failed", "in_flight", "lost", "refused", "errors", "slow", "instances_before", "instances_after", "restarts"] {
		fixtures.without("restart", "restart", sprintf("/payload/faults/1/%s", [name])).verdict == "error"
	}
	with_payload([["faults/-", "x"]]).verdict == "error"
}
