package gate.readiness.change_test

import data.gate.fixtures

commit := "0123456789abcdef0123456789abcdef01234567"

judged(patches) := fixtures.judged(json.patch(fixtures.ready("change"), patches), "change")

owned := {"op": "add", "path": "/change/owned", "value": [{"path": "policies/thresholds.yaml", "kind": "thresholds"}]}

approval(by, of) := {"op": "add", "path": "/change/approvals", "value": [{"by": by, "commit": of}]}

test_a_change_of_nothing_owned_passes if {
	c := judged([])
	c.verdict == "pass"
	c.got == "3 files, 0 of them owned"
}

test_an_owned_file_needs_an_approval if {
	c := judged([owned])
	c.verdict == "inconclusive"
	contains(c.why, "thresholds (policies/thresholds.yaml)")
	contains(c.next, "trust.yaml")
}

test_an_approval_of_this_commit_is_enough if {
	c := judged([owned, approval("olga", commit)])
	c.verdict == "pass"
	contains(c.got, "approved by olga")
}

test_an_approval_of_another_commit_is_none if {
	judged([owned, approval("olga", "ffffffffffffffffffffffffffffffffffffffff")]).verdict == "inconclusive"
}

test_nobody_approves_what_is_their_own if {
	judged([owned, approval("Adam", commit)]).verdict == "inconclusive"
}

test_many_owned_files_are_counted if {
	c := judged([{"op": "add", "path": "/change/owned", "value": [{"path": sprintf("policies/%d", [i]), "kind": "policies"} | some i in numbers.range(1, 5)]}])
	contains(c.why, "and 2 more")
}

test_a_change_of_no_file_is_inconclusive if {
	judged([{"op": "add", "path": "/change/files", "value": 0}]).verdict == "inconclusive"
}

test_nothing_known_of_the_change_is_an_error if {
	judged([{"op": "remove", "path": "/change"}]).verdict == "error"
}

test_mistyped_knowledge_is_an_error if {
	every patch in [
		{"op": "add", "path": "/change/owned", "value": "none"},
		{"op": "add", "path": "/change/owned", "value": [{"path": "a"}]},
		{"op": "add", "path": "/change/approvals", "value": [{"by": "", "commit": commit}]},
		{"op": "add", "path": "/change/approvals", "value": [null]},
		{"op": "add", "path": "/change/files", "value": "3"},
		{"op": "add", "path": "/change", "value": []},
		{"op": "remove", "path": "/change/approvals"},
	] {
		judged([patch]).verdict == "error"
	}
}

test_evidence_by_code_of_the_change_counts_for_a_change_alone if {
	patch := [{"op": "add", "path": "/evidence", "value": [object.union(fixtures.record("tests"), {"trust": "change"})]}]
	fixtures.judged(json.patch(fixtures.ready("change"), patch), "tests").verdict == "pass"
	every stage in ["admission", "readiness", "promotion", "serving"] {
		fixtures.judged(json.patch(fixtures.ready(stage), patch), "tests").verdict == "inconclusive"
	}
}

test_each_field_that_is_missing_is_named if {
	every path in ["base", "author", "files", "owned", "approvals"] {
		c := judged([{"op": "remove", "path": sprintf("/change/%s", [path])}])
		c.verdict == "error"
		contains(c.why, sprintf("change.%s is missing", [path]))
	}
	every path in ["path", "kind"] {
		c := judged([owned, {"op": "remove", "path": sprintf("/change/owned/0/%s", [path])}])
		contains(c.why, sprintf("change.owned.%s is missing", [path]))
	}
	every path in ["by", "commit"] {
		c := judged([owned, approval("olga", commit), {"op": "remove", "path": sprintf("/change/approvals/0/%s", [path])}])
		contains(c.why, sprintf("change.approvals.%s is missing", [path]))
	}
}
