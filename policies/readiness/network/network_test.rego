package gate.readiness.network_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("network", "network", changes)

open := {"protocol": "tcp", "address": "0.0.0.0", "port": 18080, "role": "instance", "process": "instance 3"}

test_nothing_exposed_passes if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "0 of 3 listeners of 9 processes exposed beside 127.0.0.1:8443"
	with_payload([["exposures", null]]).verdict == "pass"
}

test_an_exposed_listener_fails_and_is_named if {
	c := with_payload([["exposed", 1], ["exposures", [open]]])
	c.verdict == "fail"
	contains(c.why, "1 listeners can be reached from outside, at most 0 may: instance 3 on tcp 0.0.0.0 port 18080")
}

test_exposed_listeners_at_a_raised_limit_pass if {
	given := json.patch(
		fixtures.spoiled("network", "network", [{"op": "add", "path": "/payload/exposed", "value": 1}, {"op": "add", "path": "/payload/exposures", "value": [open]}]),
		[{"op": "add", "path": "/thresholds/network/max_exposed", "value": 1}],
	)
	fixtures.judged(given, "network").verdict == "pass"
}

test_a_count_that_its_list_contradicts_is_never_a_pass if {
	with_payload([["exposures", [open]]]).verdict == "error"
	with_payload([["exposed", 1]]).verdict == "fail"
}

test_exactly_enough_passes if with_payload([["listeners", [open]], ["instances", 1], ["looks", 2]]).verdict == "pass"

test_too_little_seen_is_inconclusive if {
	every change in [["balancer", false], ["listeners", []], ["instances", 0], ["looks", 1]] {
		c := with_payload([change])
		c.verdict == "inconclusive"
		c.next == "gate verify staging --check network"
	}
}

test_absent_facts_are_errors if {
	every path in ["declared", "balancer", "looks", "processes", "instances", "listeners", "exposed"] {
		fixtures.without("network", "network", sprintf("/payload/%s", [path])).verdict == "error"
	}
}

test_mistyped_facts_are_errors if {
	with_payload([["exposed", "0"]]).verdict == "error"
	with_payload([["exposed", -1]]).verdict == "error"
	with_payload([["balancer", "true"]]).verdict == "error"
	with_payload([["listeners", 4]]).verdict == "error"
	with_payload([["listeners", [null]]]).verdict == "error"
	with_payload([["listeners/0/port", "8443"]]).verdict == "error"
}
