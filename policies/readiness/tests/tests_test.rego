package gate.readiness.tests_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("tests", "tests", changes)

test_no_failure_passes_and_states_what_was_skipped if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "40 passed, 0 failed, 2 skipped"
	c.evidence == ["sha256:tests"]
	c.next == ""
}

test_one_failure_fails_and_names_the_first_places if {
	c := with_payload([["failed", 1], ["exit_code", 1], ["findings", [{"tool": "go test", "rule": "", "severity": "high", "file": "a_test.go", "line": 7, "message": "TestA"}]]])
	c.verdict == "fail"
	contains(c.why, "a_test.go:7 TestA")
	contains(c.next, "gate test")
}

test_failures_at_a_raised_limit_pass if {
	given := json.patch(fixtures.spoiled("tests", "tests", [{"op": "add", "path": "/payload/failed", "value": 2}, {"op": "add", "path": "/payload/exit_code", "value": 1}]), [{"op": "add", "path": "/thresholds/tests/max_failed", "value": 2}])
	fixtures.judged(given, "tests").verdict == "pass"
}

test_an_exit_code_without_a_failed_test_fails if {
	c := with_payload([["exit_code", 2]])
	c.verdict == "fail"
	contains(c.why, "exit code 2")
}

test_no_test_is_inconclusive if {
	c := with_payload([["passed", 0], ["skipped", 40]])
	c.verdict == "inconclusive"
	contains(c.got, "40 skipped")
	c.next == "gate verify staging --check tests"
}

test_exactly_the_least_number_of_tests_passes if with_payload([["passed", 1]]).verdict == "pass"

test_an_absent_figure_is_an_error if {
	every name in ["exit_code", "passed", "failed", "skipped"] {
		c := fixtures.without("tests", "tests", sprintf("/payload/%s", [name]))
		c.verdict == "error"
		contains(c.why, "is missing")
	}
}

test_a_mistyped_figure_is_an_error if {
	every value in ["0", null, -1, 0.5, [], {}, false, 1e300] {
		with_payload([["failed", value]]).verdict == "error"
	}
}

test_no_payload_is_an_error if {
	fixtures.without("tests", "tests", "/payload").verdict == "error"
	fixtures.with_evidence("tests", "tests", [["/payload", null]]).verdict == "error"
	fixtures.with_evidence("tests", "tests", [["/payload", {}]]).verdict == "error"
}

test_findings_that_are_none_are_an_error if with_payload([["findings", "none"]]).verdict == "error"
