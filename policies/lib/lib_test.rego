package gate.lib_test

import data.gate.fixtures
import data.gate.lib

spoilt(changes) := fixtures.with_evidence("tests", "tests", changes)

several(records) := fixtures.judged(object.union(fixtures.ready("readiness"), {"evidence": records}), "tests")

varied(changes) := json.patch(fixtures.record("tests"), [{"op": "add", "path": c[0], "value": c[1]} | some c in changes])

broken_run := varied([["/status", "error"], ["/payload", null], ["/reason", "the disk is full"], ["/digests", ["sha256:broken"]]])

test_evidence_of_another_key_subject_or_check_is_none if {
	every change in [["/key", "sha256:other"], ["/subject", "sha256:other"], ["/check", "other"], ["/key", null], ["/check", 3]] {
		c := spoilt([change])
		c.verdict == "inconclusive"
		contains(c.why, "no evidence of check tests")
		c.evidence == []
	}
}

test_evidence_of_another_version_scope_or_environment_is_none_and_is_said if {
	every change in [["/version", 2], ["/scope", "service"], ["/environment", "production"], ["/version", "1"]] {
		c := spoilt([change])
		c.verdict == "inconclusive"
		contains(c.why, "1 of another version, scope or environment")
	}
}

test_evidence_that_is_no_object_is_none if {
	several([null, 3, "tests"]).verdict == "inconclusive"
}

test_untrusted_evidence_is_inconclusive if {
	c := spoilt([["/trusted", false]])
	c.verdict == "inconclusive"
	contains(c.why, "not signed by a key")
	c.evidence == ["sha256:tests"]
}

test_evidence_by_code_of_the_change_is_inconclusive if {
	contains(spoilt([["/trust", "change"]]).why, "code of the change")
	spoilt([["/trust", "other"]]).verdict == "inconclusive"
}

test_a_check_that_broke_is_an_error_with_its_reason if {
	c := several([broken_run])
	c.verdict == "error"
	contains(c.why, "the disk is full")
	c.next == "gate verify staging --check tests"
}

test_a_check_that_could_not_measure_is_inconclusive if {
	every status in ["unavailable", "invalid", "not_applicable"] {
		c := spoilt([["/status", status], ["/payload", null]])
		c.verdict == "inconclusive"
		contains(c.why, "no reason given")
	}
}

test_an_unknown_status_is_an_error if {
	every status in ["passed", "Completed", "", null, 1] {
		spoilt([["/status", status]]).verdict == "error"
	}
}

test_evidence_at_its_greatest_age_passes_and_older_is_stale if {
	spoilt([["/age_seconds", 604800]]).verdict == "pass"
	c := spoilt([["/age_seconds", 604801]])
	c.verdict == "inconclusive"
	contains(c.why, "stale")
}

test_the_clock_is_believed_before_the_age_that_is_given if {
	spoilt([["/finished", "2026-01-01T00:00:00Z"]]).verdict == "pass"
	spoilt([["/finished", "2025-12-31T23:59:59Z"]]).verdict == "inconclusive"
}

test_evidence_of_the_future_is_inconclusive_beyond_the_tolerance if {
	spoilt([["/finished", "2026-01-08T00:00:05Z"], ["/age_seconds", -5]]).verdict == "pass"
	spoilt([["/finished", "2026-01-08T00:00:06Z"]]).verdict == "inconclusive"
	spoilt([["/age_seconds", -6]]).verdict == "inconclusive"
}

test_a_run_that_broke_does_not_count_once_one_completed if {
	several([broken_run, fixtures.record("tests")]).verdict == "pass"
}

test_runs_that_nobody_trusts_do_not_count_once_a_trusted_one_completed if {
	several([fixtures.record("tests"), varied([["/trusted", false], ["/payload/failed", 9]])]).verdict == "pass"
	several([fixtures.record("tests"), varied([["/trust", "change"]])]).verdict == "pass"
}

test_of_two_completed_runs_the_worse_counts if {
	c := several([fixtures.record("tests"), varied([["/payload/failed", 1], ["/digests", ["sha256:second"]]])])
	c.verdict == "fail"
	c.evidence == ["sha256:second", "sha256:tests"]
	several([fixtures.record("tests"), varied([["/age_seconds", 700000]])]).verdict == "inconclusive"
}

test_an_unreadable_run_counts_beside_a_completed_one if {
	several([fixtures.record("tests"), varied([["/status", "green"]])]).verdict == "error"
	several([fixtures.record("tests"), varied([["/trusted", "yes"]])]).verdict == "error"
}

test_a_record_without_one_of_its_fields_is_an_error if {
	every path in ["/digests", "/status", "/reason", "/trust", "/trusted", "/runs", "/finished", "/age_seconds"] {
		fixtures.without("tests", "tests", path).verdict == "error"
	}
}

test_a_record_with_a_mistyped_field_is_an_error if {
	every change in [["/digests", []], ["/digests", "sha256:a"], ["/digests", [1]], ["/digests", ["a"]], ["/digests", ["sha256:"]], ["/runs", 0], ["/finished", "now"], ["/finished", "0001-01-01T00:00:00Z"], ["/age_seconds", "3"], ["/age_seconds", 1e300]] {
		spoilt([change]).verdict == "error"
	}
}

test_an_expectation_that_is_none_is_an_error if {
	every change in [["/expected/tests", null], ["/expected/tests", {}], ["/expected/tests/key", ""], ["/expected/tests/subject", ""], ["/expected/tests/version", 0], ["/expected/tests/scope", "all"]] {
		fixtures.with_input("tests", [change]).verdict == "error"
	}
}

test_an_expectation_of_another_release_is_an_error if {
	c := fixtures.with_input("tests", [["/expected/tests/subject", "sha256:other"]])
	c.verdict == "error"
	contains(c.why, "another release")
}

test_input_that_lacks_or_mistypes_a_field_is_an_error if {
	every path in ["at", "environment", "release", "bootstrap", "dirty", "expected", "thresholds", "evidence"] {
		every value in [null, 3, ""] {
			fixtures.with_input("tests", [[sprintf("/%s", [path]), value]]).verdict == "error"
		}
	}
}

test_every_kind_refuses_what_it_is_not if {
	not lib.is_kind("nonsense", 1)
	not lib.is_kind("array", {})
	not lib.is_kind("positive", 0)
	not lib.is_kind("share", 1.1)
	not lib.is_kind("count", 9007199254740993)
	lib.is_kind("count", 9007199254740991)
	not lib.is_kind("findings", [{"tool": "t", "message": "m", "severity": "high", "line": -1}])
	not lib.is_kind("findings", [{"tool": "t", "message": "m", "severity": "high", "file": 1}])
	contains(concat("", lib.faults({"a": 1}, {"a": "nonsense"}, "x")), "must be nonsense")
}

test_the_worst_verdict_wins_and_none_is_an_error if {
	lib.worst(["pass", "warn"]) == "warn"
	lib.worst(["inconclusive", "warn"]) == "inconclusive"
	lib.worst(["inconclusive", "error"]) == "error"
	lib.worst(["fail", "error"]) == "fail"
	lib.worst([]) == "error"
	lib.worst(["pass", "green"]) == "error"
}

test_rows_that_demand_nothing_are_an_error if lib.ruled([], "got", "").verdict == "error"

test_a_row_that_is_not_true_never_passes if {
	lib.ruled([lib.row("true", "fail", "why")], "", "").verdict == "fail"
	lib.ruled([lib.row(null, "nonsense", "why")], "", "").verdict == "error"
}

test_a_record_without_a_judge_is_an_error if {
	meta := {"title": "t", "custom": {"remediation": "r"}}
	weighed := {"refused": [], "admitted": [{}], "digests": ["sha256:a"]}
	c := lib.conclude({"id": "x", "meta": meta, "weighed": [weighed], "judged": [], "want": "w", "next": {}})
	c.verdict == "error"
	c.why == "a record could not be judged"
	d := lib.conclude({"id": "x", "meta": meta, "weighed": [], "judged": [], "want": "w", "next": {}})
	d.verdict == "error"
}

test_a_record_that_cannot_be_weighed_is_an_error if {
	lib.verdict_on({"check": "tests"}, 1).error
	lib.verdict_on(fixtures.record("tests"), 1).error with input as {"at": "never"}
}

test_figures_look_different_from_the_limit_that_they_miss if {
	lib.figure(2.31, 2) == "2.31"
	lib.figure(1.9999999, 2) == "1.9999999"
	lib.figure(2, 2) == "2"
	lib.figure(0.0004, 2) == "0.0004"
	lib.figure(0, 2) == "0"
	lib.percentage(0.99) == "99%"
}

test_spans_use_a_readable_unit if {
	lib.span(90) == "90 s"
	lib.span(120) == "2 min"
	lib.span(7200) == "2 h"
	lib.span(604800) == "7 days"
}

test_findings_are_named_three_at_most if {
	found := [{"message": "a", "file": "x.go", "line": 1}, {"message": "b", "file": "y.go"}, {"message": "c"}, {"message": "d"}, {"message": "e"}]
	lib.first(found) == "x.go:1 a, y.go:0 b, c and 2 more"
	lib.with_findings("bad", []) == "bad"
}
