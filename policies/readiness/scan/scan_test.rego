package gate.readiness.scan_test

import data.gate.fixtures

code(changes) := fixtures.payload("scan", "scan", changes)

leaks(changes) := fixtures.payload("scan", "leaks", changes)

test_a_clean_scan_of_code_and_secrets_passes if {
	c := code([])
	c.verdict == "pass"
	c.evidence == ["sha256:leaks", "sha256:scan"]
	contains(c.got, "database of 2026-01-06")
	contains(c.got, "0 secrets in 80 files")
}

test_a_reachable_vulnerability_fails if {
	c := code([["reachable_vulns", 1], ["findings", [{"tool": "govulncheck", "rule": "GO-1", "severity": "high", "message": "m"}]]])
	c.verdict == "fail"
	contains(c.why, "1 reachable vulnerabilities")
}

test_a_high_finding_fails_and_is_named if {
	c := code([["high", 1], ["findings", [
		{"tool": "gosec", "rule": "G1", "severity": "low", "file": "b.go", "line": 1, "message": "small"},
		{"tool": "gosec", "rule": "G2", "severity": "high", "file": "a.go", "line": 3, "message": "weak"},
	]]])
	c.verdict == "fail"
	contains(c.why, "a.go:3 weak")
	not contains(c.why, "small")
}

test_a_secret_fails if leaks([["secrets", 1]]).verdict == "fail"

test_findings_at_raised_limits_pass if {
	given := json.patch(
		fixtures.spoiled("scan", "scan", [{"op": "add", "path": "/payload/high", "value": 1}, {"op": "add", "path": "/payload/reachable_vulns", "value": 1}]),
		[{"op": "add", "path": "/thresholds/scan/max_high", "value": 1}, {"op": "add", "path": "/thresholds/scan/max_reachable", "value": 1}],
	)
	fixtures.judged(given, "scan").verdict == "pass"
}

test_medium_findings_pass_and_are_stated if contains(code([["medium", 9]]).got, "9 medium")

test_a_scan_that_read_nothing_is_inconclusive if {
	code([["files", 0]]).verdict == "inconclusive"
	code([["modules", 0]]).verdict == "inconclusive"
	leaks([["files", 0]]).verdict == "inconclusive"
}

test_a_database_of_exactly_seven_days_passes if code([["database_date", "2026-01-01T00:00:00Z"]]).verdict == "pass"

test_a_database_older_than_seven_days_warns if {
	c := code([["database_date", "2025-12-31T23:59:59Z"]])
	c.verdict == "warn"
	c.next == "gate verify staging --check scan --check leaks"
}

test_a_database_older_than_180_days_is_inconclusive if {
	code([["database_date", "2025-07-12T00:00:00Z"]]).verdict == "warn"
	code([["database_date", "2025-07-11T23:59:59Z"]]).verdict == "inconclusive"
}

test_a_database_of_unknown_date_is_inconclusive if {
	every date in ["0001-01-01T00:00:00Z", "", "yesterday"] {
		c := code([["database_date", date]])
		c.verdict == "inconclusive"
		contains(c.got, "unknown date")
	}
}

test_a_database_of_the_future_is_inconclusive if code([["database_date", "2026-02-01T00:00:00Z"]]).verdict == "inconclusive"

test_a_scan_without_a_search_for_secrets_is_inconclusive if {
	given := object.union(fixtures.ready("readiness"), {"evidence": [fixtures.record("scan")]})
	c := fixtures.judged(given, "scan")
	c.verdict == "inconclusive"
	contains(c.why, "no evidence of check leaks")
}

test_a_search_for_secrets_without_a_scan_is_inconclusive if {
	given := object.union(fixtures.ready("readiness"), {"evidence": [fixtures.record("leaks")]})
	fixtures.judged(given, "scan").verdict == "inconclusive"
}

test_absent_figures_are_errors if {
	every name in ["database_date", "files", "modules", "high", "medium", "low", "reachable_vulns", "imported_vulns"] {
		fixtures.without("scan", "scan", sprintf("/payload/%s", [name])).verdict == "error"
	}
	every name in ["files", "secrets"] {
		fixtures.without("scan", "leaks", sprintf("/payload/%s", [name])).verdict == "error"
	}
}

test_findings_of_an_unknown_severity_are_an_error if {
	code([["findings", [{"tool": "x", "rule": "y", "severity": "awful", "message": "m"}]]]).verdict == "error"
	code([["findings", "none"]]).verdict == "error"
}

test_secrets_that_cannot_be_read_are_an_error if leaks([["findings", "none"]]).verdict == "error"

test_a_database_within_the_tolerance_of_clocks_passes if {
	code([["database_date", "2026-01-08T00:00:05Z"]]).verdict == "pass"
	code([["database_date", "2026-01-08T00:00:06Z"]]).verdict == "inconclusive"
}
