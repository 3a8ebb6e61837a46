package gate.readiness.source_test

import data.gate.fixtures

test_a_clean_commit_passes if {
	c := fixtures.judged(fixtures.ready("readiness"), "source")
	c.verdict == "pass"
	c.got == "commit 0123456789ab, clean"
}

test_a_dirty_tree_warns_before_a_promotion if {
	every stage in ["admission", "readiness"] {
		c := fixtures.judged(object.union(fixtures.ready(stage), {"dirty": true}), "source")
		c.verdict == "warn"
		c.next == "commit the changes, then: gate run"
	}
}

test_a_dirty_tree_fails_a_promotion if {
	c := fixtures.judged(object.union(fixtures.ready("promotion"), {"dirty": true}), "source")
	c.verdict == "fail"
	contains(c.got, "uncommitted")
}

test_no_commit_is_inconclusive if {
	c := fixtures.judged(object.remove(fixtures.ready("readiness"), ["commit"]), "source")
	c.verdict == "inconclusive"
	contains(c.got, "no commit")
}

test_a_short_or_mistyped_commit_is_inconclusive if {
	every commit in ["", "0123456", "HEAD", 7, null] {
		c := fixtures.with_input("source", [["/commit", commit]])
		c.verdict == "inconclusive"
	}
}

test_a_dirty_flag_that_is_none_is_an_error if {
	every dirty in [null, "false", 0] {
		c := fixtures.with_input("source", [["/dirty", dirty]])
		c.verdict == "error"
	}
}

test_a_commit_of_another_branch_fails_a_promotion if {
	every stage in ["promotion", "serving"] {
		c := fixtures.judged(object.union(fixtures.ready(stage), {"branch": {"name": "main", "contains": "no"}}), "source")
		c.verdict == "fail"
		contains(c.why, "protected branch main")
	}
}

test_a_commit_of_an_unknown_branch_is_inconclusive_for_a_promotion if {
	every contains_it in ["unknown", "", null, true] {
		c := fixtures.judged(object.union(fixtures.ready("promotion"), {"branch": {"name": "main", "contains": contains_it}}), "source")
		c.verdict == "inconclusive"
	}
}

test_the_branch_does_not_matter_before_a_promotion if {
	c := fixtures.judged(object.union(fixtures.ready("readiness"), {"branch": {"name": "main", "contains": "no"}}), "source")
	c.verdict == "pass"
}

test_a_commit_of_the_protected_branch_passes if {
	c := fixtures.judged(object.union(fixtures.ready("promotion"), {"branch": {"name": "main", "contains": "yes"}}), "source")
	c.verdict == "pass"
}

test_a_dirty_tree_fails_what_serves if {
	fixtures.judged(object.union(fixtures.ready("serving"), {"dirty": true}), "source").verdict == "fail"
}
