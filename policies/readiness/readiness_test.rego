package gate.readiness_test

import data.gate.fixtures
import data.gate.readiness

stages := ["admission", "readiness", "promotion", "serving", "canary", "change"]

test_a_ready_release_passes_at_every_stage if {
	every stage in stages {
		d := readiness.decision with input as fixtures.ready(stage)
		d.verdict == "pass"
		[c.id | some c in d.criteria] == readiness.required[stage]
		every c in d.criteria { c.verdict == "pass" }
	}
}

test_no_evidence_is_inconclusive_at_every_stage if {
	every stage in stages {
		d := readiness.decision with input as object.union(fixtures.ready(stage), {"evidence": []})
		d.verdict == "inconclusive"
		every c in d.criteria { c.verdict == object.get({"source": "pass", "change": "pass"}, c.id, "inconclusive") }
	}
}

test_no_expectation_is_inconclusive_and_never_skipped if {
	every stage in stages {
		d := readiness.decision with input as json.patch(fixtures.ready(stage), [{"op": "add", "path": "/expected", "value": {}}])
		d.verdict == "inconclusive"
		[c.id | some c in d.criteria] == readiness.required[stage]
	}
}

test_one_failure_fails_the_decision if {
	d := readiness.decision with input as fixtures.spoiled("tests", "tests", [{"op": "add", "path": "/payload/failed", "value": 1}])
	d.verdict == "fail"
}

test_an_unknown_stage_is_an_error if {
	d := readiness.decision with input as fixtures.ready("someday")
	d == {"verdict": "error", "criteria": []}
}

test_an_empty_input_is_an_error if {
	d := readiness.decision with input as {}
	d.verdict == "error"
}

test_a_stage_that_requires_nothing_is_an_error if {
	d := readiness.decision with input as fixtures.ready("canary") with readiness.required as {"canary": []}
	d.verdict == "error"
}

test_a_required_criterion_that_does_not_exist_is_an_error if {
	d := readiness.decision with input as fixtures.ready("canary") with readiness.required as {"canary": ["canary", "wish"]}
	d.verdict == "error"
	d.criteria[1].id == "wish"
	d.criteria[1].verdict == "error"
}

test_a_criterion_of_the_wrong_shape_is_an_error if {
	d := readiness.decision with input as fixtures.ready("canary") with data.gate.readiness.canary.criterion as {"verdict": "pass"}
	d.verdict == "error"
}

test_a_criterion_with_an_unknown_verdict_is_an_error if {
	good := fixtures.judged(fixtures.ready("canary"), "canary")
	d := readiness.decision with input as fixtures.ready("canary") with data.gate.readiness.canary.criterion as object.union(good, {"verdict": "green"})
	d.verdict == "error"
}

test_a_missing_threshold_is_an_error_that_names_it if {
	c := fixtures.judged(json.patch(fixtures.ready("readiness"), [{"op": "remove", "path": "/thresholds/load/p95_seconds"}]), "load")
	c.verdict == "error"
	contains(c.why, "threshold load.p95_seconds is missing")
}

test_missing_thresholds_of_a_criterion_are_an_error if {
	c := fixtures.judged(json.patch(fixtures.ready("readiness"), [{"op": "remove", "path": "/thresholds/load"}]), "load")
	c.verdict == "error"
}

test_a_threshold_of_the_wrong_type_is_an_error if {
	c := fixtures.with_input("tests", [["/thresholds/tests/max_failed", "0"]])
	c.verdict == "error"
	contains(c.why, "of type string")
}

test_an_unknown_threshold_is_an_error if {
	c := fixtures.with_input("tests", [["/thresholds/tests/max_faild", 3]])
	c.verdict == "error"
	contains(c.why, "max_faild is unknown")
}

test_thresholds_that_are_no_object_are_an_error if {
	c := fixtures.with_input("tests", [["/thresholds/tests", 3]])
	c.verdict == "error"
}

test_a_criterion_without_declared_thresholds_has_no_faults if {
	c := fixtures.judged(fixtures.ready("readiness"), "source")
	c.verdict == "pass"
}

test_a_fault_of_the_input_is_named_before_any_judgement if {
	c := fixtures.judged(json.patch(fixtures.ready("readiness"), [{"op": "remove", "path": "/at"}]), "source")
	c.verdict == "error"
	contains(c.why, "input.at is missing")
}
