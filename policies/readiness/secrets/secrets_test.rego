package gate.readiness.secrets_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("secrets", "secrets", changes)

finding := {"tool": "secrets", "rule": "known-value", "severity": "high", "file": "logs instance-3.log", "line": 7, "message": "the value of API_KEY stands here"}

lost := {"name": "API_KEY", "source": "env", "resolved": false, "problem": "the environment variable API_KEY is not set"}

test_nothing_found_passes if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "0 found of 4 values in 18 places; 1 of 1 declared secrets resolved; 0 in 80 files of the commit"
	c.evidence == ["sha256:leaks", "sha256:secrets"]
}

test_an_environment_that_declares_none_passes if with_payload([["secrets", []]]).verdict == "pass"

test_a_secret_in_plain_text_fails_with_its_place if {
	c := with_payload([["found", 1], ["findings", [finding]]])
	c.verdict == "fail"
	contains(c.why, "1 secrets in plain text, at most 0 may be: logs instance-3.log:7 the value of API_KEY stands here")
}

test_an_unresolved_secret_fails_with_its_reason if {
	c := with_payload([["unresolved", 1], ["secrets", [lost]]])
	c.verdict == "fail"
	contains(c.why, "1 declared secrets can't be read, at most 0 may: API_KEY (the environment variable API_KEY is not set)")
	contains(with_payload([["unresolved", 1], ["secrets", [object.remove(lost, ["problem"])]]]).why, "no reason given")
}

test_exactly_at_raised_limits_passes if {
	given := json.patch(
		fixtures.spoiled("secrets", "secrets", [
			{"op": "add", "path": "/payload/found", "value": 1},
			{"op": "add", "path": "/payload/findings", "value": [finding]},
			{"op": "add", "path": "/payload/unresolved", "value": 1},
			{"op": "add", "path": "/payload/secrets", "value": [lost]},
		]),
		[{"op": "add", "path": "/thresholds/secrets/max_found", "value": 1}, {"op": "add", "path": "/thresholds/secrets/max_unresolved", "value": 1}],
	)
	fixtures.judged(given, "secrets").verdict == "pass"
}

test_a_count_that_its_list_contradicts_is_never_a_pass if {
	with_payload([["findings", [finding]]]).verdict == "error"
	with_payload([["secrets", [lost]]]).verdict == "error"
	with_payload([["found", 1]]).verdict == "fail"
	with_payload([["unresolved", 1]]).verdict == "fail"
}

test_one_known_value_is_enough_and_none_is_not if {
	with_payload([["known", 1]]).verdict == "pass"
	c := with_payload([["known", 0]])
	c.verdict == "inconclusive"
	c.next == "gate verify staging --check secrets --check leaks"
}

test_a_kind_of_place_that_was_not_searched_is_inconclusive if {
	every i in numbers.range(0, 5) {
		fixtures.without("secrets", "secrets", sprintf("/payload/places/%d", [i])).verdict == "inconclusive"
		with_payload([[sprintf("places/%d/items", [i]), 0]]).verdict == "inconclusive"
		with_payload([[sprintf("places/%d/bytes", [i]), 0]]).verdict == "inconclusive"
	}
}

test_a_secret_in_the_commit_fails_and_a_search_of_nothing_is_inconclusive if {
	c := fixtures.payload("secrets", "leaks", [["secrets", 1]])
	c.verdict == "fail"
	contains(c.why, "1 secrets in the commit, at most 0 may be")
	fixtures.payload("secrets", "leaks", [["files", 0]]).verdict == "inconclusive"
}

test_absent_facts_are_errors if {
	every path in ["secrets", "unresolved", "known", "places", "found", "secrets/0/resolved", "places/0/items"] {
		fixtures.without("secrets", "secrets", sprintf("/payload/%s", [path])).verdict == "error"
	}
	fixtures.without("secrets", "leaks", "/payload/secrets").verdict == "error"
}

test_mistyped_facts_are_errors if {
	with_payload([["found", "0"]]).verdict == "error"
	with_payload([["secrets", [null]]]).verdict == "error"
	every list in ["all", null, 1, {"a": 1}] {
		with_payload([["places", list]]).verdict == "error"
		with_payload([["secrets", list]]).verdict == "error"
	}
	with_payload([["secrets/0/resolved", "true"]]).verdict == "error"
	every list in ["none", {}, [{}]] {
		with_payload([["findings", list]]).verdict == "error"
		fixtures.payload("secrets", "leaks", [["findings", list]]).verdict == "error"
	}
}
