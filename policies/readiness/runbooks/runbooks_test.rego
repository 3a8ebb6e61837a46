package gate.readiness.runbooks_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("runbooks", "runbooks", changes)

test_complete_runbooks_pass if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "2 runbooks for 2 alerts, procedure for incidents there"
}

test_the_day_of_the_review_still_counts if {
	reviewed_by("2026-01-08", "2026-01-08T00:00:00Z").verdict == "pass"
	reviewed_by("2026-01-08", "2026-01-09T00:00:00Z").verdict == "pass"
	reviewed_by("2026-01-08", "2026-01-09T00:00:01Z").verdict == "fail"
}

reviewed_by(day, at) := fixtures.judged(
	json.patch(
		fixtures.spoiled("runbooks", "runbooks", [{"op": "add", "path": "/payload/runbooks/0/review", "value": day}]),
		[{"op": "add", "path": "/at", "value": at}],
	),
	"runbooks",
)

test_one_alert_with_its_runbook_passes if {
	one := [b | some b in fixtures.checks.runbooks.payload.runbooks; b.alert == "unavailable"]
	with_payload([["alerts", ["unavailable"]], ["runbooks", one]]).verdict == "pass"
}

test_a_review_date_that_has_passed_fails if {
	c := with_payload([["runbooks/0/review", "2026-01-06"]])
	c.verdict == "fail"
	contains(c.why, "the review date has passed in docs/runbooks/unavailable.md")
}

test_a_day_that_is_none_fails if {
	every day in ["", "soon", "2026-02-30"] {
		with_payload([["runbooks/0/review", day]]).verdict == "fail"
	}
}

test_an_alert_without_a_runbook_fails if {
	c := with_payload([["alerts", ["unavailable", "test", "disk"]]])
	c.verdict == "fail"
	contains(c.why, "no runbook for disk")
	with_payload([["missing", ["test"]]]).verdict == "fail"
	with_payload([["runbooks", []]]).verdict == "fail"
}

test_a_runbook_that_lacks_something_fails if {
	every change in [["runbooks/0/owner", ""], ["runbooks/0/severity", "loud"], ["runbooks/0/steps", 0]] {
		with_payload([change]).verdict == "fail"
	}
}

test_findings_are_named if {
	c := with_payload([["runbooks/0/owner", ""], ["findings", [{"tool": "runbooks", "message": "it has no owner", "severity": "high", "file": "docs/runbooks/unavailable.md", "line": 1}]]])
	contains(c.why, "docs/runbooks/unavailable.md:1 it has no owner")
}

test_no_procedure_fails if {
	with_payload([["incident/present", false]]).verdict == "fail"
	with_payload([["incident/missing", ["who"]]]).verdict == "fail"
	contains(with_payload([["incident/present", false]]).got, "missing")
}

test_no_template_warns if with_payload([["template", false]]).verdict == "warn"

test_no_alert_known_is_inconclusive if with_payload([["alerts", []], ["runbooks", []]]).verdict == "inconclusive"

test_absent_figures_are_errors if {
	every path in ["folder", "alerts", "runbooks", "missing", "incident", "template", "runbooks/0/owner"] {
		fixtures.without("runbooks", "runbooks", sprintf("/payload/%s", [path])).verdict == "error"
	}
}

test_mistyped_figures_are_errors if {
	every change in [["runbooks", "all"], ["runbooks", {"unavailable": {}}], ["findings", "none"]] {
		with_payload([change]).verdict == "error"
	}
}
