package gate.readiness.config_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("config", "config", changes)

finding(severity) := {"tool": "gate", "rule": "address", "severity": severity, "file": "staging.yaml", "line": 4, "message": "hardcoded address"}

test_no_finding_passes if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "0 high, 0 medium, 0 low findings in 9 values of 2 environments"
}

test_absent_findings_are_none if {
	fixtures.without("config", "config", "/payload/findings").verdict == "pass"
	with_payload([["findings", null]]).verdict == "pass"
}

test_a_high_finding_fails_with_its_place if {
	c := with_payload([["findings", [finding("high"), finding("medium")]]])
	c.verdict == "fail"
	startswith(c.why, "1 findings of high severity, at most 0 may be: staging.yaml:4 hardcoded address")
}

test_a_medium_finding_warns if with_payload([["findings", [finding("medium")]]]).verdict == "warn"

test_a_low_finding_passes if with_payload([["findings", [finding("low")]]]).verdict == "pass"

test_findings_at_raised_limits_pass if {
	given := json.patch(
		fixtures.spoiled("config", "config", [{"op": "add", "path": "/payload/findings", "value": [finding("high"), finding("medium")]}]),
		[{"op": "add", "path": "/thresholds/config/max_high", "value": 1}, {"op": "add", "path": "/thresholds/config/max_medium", "value": 1}],
	)
	fixtures.judged(given, "config").verdict == "pass"
}

test_an_environment_that_was_not_validated_is_inconclusive if {
	with_payload([["environments", ["production"]]]).verdict == "inconclusive"
	with_payload([["environments", []]]).verdict == "inconclusive"
}

test_no_value_is_inconclusive_and_one_is_enough if {
	with_payload([["values", 0]]).verdict == "inconclusive"
	with_payload([["values", 1]]).verdict == "pass"
}

test_absent_or_mistyped_facts_are_errors if {
	every path in ["environments", "values"] {
		fixtures.without("config", "config", sprintf("/payload/%s", [path])).verdict == "error"
	}
	with_payload([["environments", "staging"]]).verdict == "error"
	with_payload([["environments", [1]]]).verdict == "error"
	with_payload([["values", "9"]]).verdict == "error"
}

test_findings_that_are_none_are_an_error if with_payload([["findings", "none"]]).verdict == "error"
