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

test_each_field_of_the_input_that_is_missing_is_named if {
	every path in ["at", "stage", "environment", "release", "bootstrap", "dirty", "expected", "thresholds", "evidence"] {
		c := fixtures.judged(json.patch(fixtures.ready("readiness"), [{"op": "remove", "path": sprintf("/%s", [path])}]), "tests")
		c.verdict == "error"
		contains(c.why, sprintf("input.%s is missing", [path]))
	}
}

test_each_field_of_an_expectation_that_is_missing_is_named if {
	every path in ["version", "scope", "subject", "environment", "key"] {
		faulty := lib.expectation_faults("tests") with input as json.patch(fixtures.ready("readiness"), [{"op": "remove", "path": sprintf("/expected/tests/%s", [path])}])
		sprintf("expected.tests.%s is missing, must be %s", [path, lib.kind_words[{"version": "positive", "scope": "scope", "subject": "digest", "environment": "string", "key": "digest"}[path]]]) in faulty
	}
}

test_each_field_of_a_record_that_is_missing_is_named if {
	every path in ["digests", "status", "reason", "trust", "trusted", "runs", "finished", "age_seconds"] {
		c := fixtures.without("tests", "tests", sprintf("/%s", [path]))
		contains(c.why, sprintf("tests evidence.%s is missing", [path]))
	}
}

test_evidence_by_the_change_counts_at_its_own_stage_alone if {
	record := varied([["/trust", "change"]])
	lib.is_vouched(record) with input as {"stage": "change"}
	not lib.is_vouched(record) with input as {"stage": "readiness"}
	not lib.is_vouched(varied([["/trust", "other"]])) with input as {"stage": "change"}
}

test_digests_that_are_none_are_not_listed if {
	c := spoilt([["/digests", [1, "sha256:a"]]])
	c.verdict == "error"
	c.evidence == ["sha256:a"]
}

test_every_kind_refuses_each_thing_that_it_is_not if {
	no := {
		"array": [null, {}, "x"],
		"count": [-1, 0.5, 9007199254740992, "1", null, true, [1]],
		"counts": [[1], {"a": -1}, {"a": "1"}, null, 3],
		"digest": ["sha256:", "sha512:ab", 3, null, ["sha256:a"]],
		"digests": [[], {"a": "sha256:a"}, [3], "sha256:a"],
		"findings": [
			{}, {"a": {"tool": "t", "message": "m", "severity": "low"}}, [{"message": "m", "severity": "low"}], [{"tool": 1, "message": "m", "severity": "low"}],
			[{"tool": "t", "severity": "low"}], [{"tool": "t", "message": 1, "severity": "low"}], [{"tool": "t", "message": "m", "severity": "awful"}],
			[{"tool": "t", "message": "m"}], [3],
		],
		"flag": ["true", 1, null],
		"number": ["1", -1, 1000000000001, null, true],
		"object": [[], null, "x"],
		"positive": [0, 0.5, "1", null],
		"scope": ["", "all", null, 3],
		"share": [-0.1, 1.1, "1", null],
		"signed": ["1", null, true, 1000000000001, -1000000000001],
		"status": ["", "green", null],
		"string": [null, 3, []],
		"text": ["", null, 3, ["x"]],
		"texts": [[3], {"a": "x"}, null, "x"],
		"time": ["", "now", "2026-01-08", null, 3],
	}
	every kind, values in no {
		every value in values { not lib.is_kind(kind, value) }
	}
}

test_every_kind_takes_what_it_is if {
	yes := {
		"array": [[]],
		"count": [0, 3],
		"counts": [{}, {"a": 0}],
		"digest": ["sha256:a"],
		"digests": [["sha256:a"]],
		"findings": [null, [], [{"tool": "t", "message": "m", "severity": "low"}, {"tool": "t", "message": "m", "severity": "medium"}, {"tool": "t", "message": "m", "severity": "high", "file": "f", "line": 0}]],
		"flag": [true, false],
		"number": [0, 1000000000000],
		"object": [{}],
		"positive": [1],
		"scope": ["release", "environment", "service"],
		"share": [0, 1],
		"signed": [1000000000000, -1000000000000],
		"status": ["completed", "error", "unavailable", "invalid", "not_applicable"],
		"string": [""],
		"text": ["x"],
		"texts": [[], ["x"]],
		"time": ["2026-01-08T00:00:00Z"],
	}
	object.keys(yes) == object.keys(lib.kind_words)
	every kind, values in yes {
		every value in values { lib.is_kind(kind, value) }
	}
}

test_a_value_at_a_path_is_found_and_none_is_null if {
	lib.at({"a": {"b": 1}}, "a.b") == 1
	lib.at({"a": 1}, "a") == 1
	lib.at({"a": 1}, "b") == null
	lib.at({"a": 1}, "a.b") == null
}

test_a_criterion_lacks_nothing if {
	good := fixtures.judged(fixtures.ready("readiness"), "tests")
	lib.is_criterion(good)
	every field in ["id", "title", "verdict", "got", "want", "why", "next", "evidence"] {
		not lib.is_criterion(json.remove(good, [field]))
		not lib.is_criterion(object.union(good, {field: 3}))
	}
	not lib.is_criterion(object.union(good, {"verdict": "green"}))
	not lib.is_criterion(object.union(good, {"evidence": [3]}))
	not lib.is_criterion(3)
}

test_what_cannot_be_read_is_an_error_with_its_faults if lib.mistyped({"b", "a"}) == {"verdict": "error", "got": "", "why": "a; b"}

test_a_check_that_is_not_expected_or_not_applicable_is_said_so if {
	c := fixtures.judged(json.patch(fixtures.ready("readiness"), [{"op": "remove", "path": "/expected/tests"}]), "tests")
	contains(c.why, "no expectation")
	contains(spoilt([["/status", "not_applicable"], ["/payload", null]]).why, "may not be not applicable")
}

test_findings_are_a_list_or_none if {
	lib.findings({"findings": [1]}) == [1]
	lib.findings({"findings": null}) == []
	lib.findings({}) == []
}

test_no_rows_say_that_nothing_is_demanded if lib.ruled([], "got", "").why == "the criterion demands nothing"

test_a_row_that_holds_has_no_say if {
	lib.ruled([lib.row(true, "fail", "held"), lib.row(false, "warn", "broke")], "got", "") == {"verdict": "warn", "got": "got", "why": "broke"}
}

drilled(quiet, during) := {"quiet_p95": quiet, "p95": during}

bounds := {"max_p95_ratio": 1.5, "slack_seconds": 0.25}

test_latency_within_the_ratio_or_the_slack_is_calm if {
	every p in [drilled(1, 1.5), drilled(0.25, 0.5), drilled(2, 0.1)] { lib.is_calm(p, bounds) == true }
	every p in [drilled(1, 1.500001), drilled(0.25, 0.500001)] { lib.is_calm(p, bounds) == false }
}

felt(p) := lib.ruled(lib.calm(p, bounds), "", "")

test_a_drill_that_is_felt_warns_and_one_that_was_not_timed_shows_nothing if {
	felt(drilled(1, 1.5)).verdict == "pass"
	felt(drilled(1, 1.6)) == {"verdict": "warn", "got": "", "why": "p95 was 1.6 s during the drill and 1 s before it, at most 1.5 times that or 0.25 s more"}
	every p in [drilled(0, 0.1), drilled(0.1, 0), drilled(0, 0), drilled(0, 3)] { felt(p).verdict == "inconclusive" }
}
