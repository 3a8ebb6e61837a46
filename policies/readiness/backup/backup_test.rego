package gate.readiness.backup_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("backup", "backup", changes)

limited(name, limit, changes) := fixtures.judged(
	json.patch(
		fixtures.spoiled("backup", "backup", [{"op": "add", "path": sprintf("/payload/%s", [c[0]]), "value": c[1]} | some c in changes]),
		[{"op": "add", "path": sprintf("/thresholds/backup/%s", [name]), "value": limit}],
	),
	"backup",
)

test_a_restored_backup_passes if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "3 of 3 tables equal, 1000 rows; RPO 0.1 s, RTO 8 s, base backup 1 h old"
}

test_a_fault_fails_by_name if {
	c := with_payload([["faults", [{"kind": "wal_missing", "what": "segment 3 is missing"}]]])
	c.verdict == "fail"
	contains(c.why, "1 faults: segment 3 is missing")
	with_payload([["faults", [1]]]).verdict == "fail"
}

test_whatever_was_not_shown_fails if {
	every flag in ["restored", "verified", "amcheck", "point", "streaming"] {
		with_payload([[flag, false]]).verdict == "fail"
	}
}

test_a_table_that_is_not_equal_fails if {
	c := with_payload([["equal", 2]])
	c.verdict == "fail"
	contains(c.why, "2 of 3 tables are equal")
	with_payload([["equal", 4]]).verdict == "fail"
}

test_nothing_compared_is_inconclusive if {
	with_payload([["tables", 0], ["equal", 0]]).verdict == "inconclusive"
	with_payload([["rows", 0]]).verdict == "inconclusive"
	with_payload([["asked", 0], ["answered", 0]]).verdict == "inconclusive"
	with_payload([["rpo_seconds", 0]]).verdict == "inconclusive"
	with_payload([["rto_seconds", 0]]).verdict == "inconclusive"
	with_payload([["tables", 1], ["equal", 1], ["rows", 1], ["asked", 1], ["answered", 1]]).verdict == "pass"
}

test_a_wrong_answer_from_the_copy_fails if with_payload([["answered", 1]]).verdict == "fail"

test_a_drill_that_is_felt_warns if {
	with_payload([["quiet_p95", 1], ["p95", 1.2]]).verdict == "pass"
	c := with_payload([["quiet_p95", 1], ["p95", 1.21]])
	c.verdict == "warn"
	contains(c.why, "p95 was 1.21 s during the drill and 1 s before it")
	with_payload([["quiet_p95", 0.01], ["p95", 0.0295]]).verdict == "pass"
	with_payload([["quiet_p95", 0.01], ["p95", 0.031]]).verdict == "warn"
	limited("slack_seconds", 0.1, [["quiet_p95", 0.01], ["p95", 0.1]]).verdict == "pass"
	limited("max_p95_ratio", 2, [["quiet_p95", 1], ["p95", 1.9]]).verdict == "pass"
	f := with_payload([["failed", 1]])
	f.verdict == "warn"
	contains(f.why, "1 of 400 requests to the service failed during the drill")
}

test_a_drill_that_nobody_watched_is_inconclusive if {
	with_payload([["quiet_p95", 0]]).verdict == "inconclusive"
	with_payload([["p95", 0]]).verdict == "inconclusive"
}

test_times_at_their_limits_pass_and_over_them_fail if {
	with_payload([["rpo_seconds", 60]]).verdict == "pass"
	with_payload([["rpo_seconds", 60.01]]).verdict == "fail"
	with_payload([["rto_seconds", 900]]).verdict == "pass"
	with_payload([["rto_seconds", 900.01]]).verdict == "fail"
	limited("rto_seconds", 5, []).verdict == "fail"
	limited("rpo_seconds", 0.05, []).verdict == "fail"
}

test_an_old_base_backup_fails if {
	with_payload([["base_age_seconds", 172800]]).verdict == "pass"
	with_payload([["base_age_seconds", 172801]]).verdict == "fail"
	with_payload([["base_time", "2026-01-06T00:00:00Z"]]).verdict == "pass"
	with_payload([["base_time", "2026-01-05T23:59:59Z"]]).verdict == "fail"
	with_payload([["base_time", "1970-01-01T00:00:00Z"]]).verdict == "fail"
	with_payload([["base_time", "0001-01-01T00:00:00Z"]]).verdict == "error"
}

test_a_base_backup_of_the_future_is_an_error if {
	with_payload([["base_age_seconds", 0], ["base_time", "2026-01-08T00:00:00Z"]]).verdict == "pass"
	with_payload([["base_age_seconds", 0], ["base_time", "2026-01-08T00:00:05Z"]]).verdict == "pass"
	with_payload([["base_age_seconds", 0], ["base_time", "2026-01-08T00:00:06Z"]]).verdict == "error"
}

test_the_same_disk_warns_unless_a_copy_elsewhere_was_restored if {
	c := with_payload([["same_disk", true]])
	c.verdict == "warn"
	contains(c.why, "one disk takes both")
	with_payload([["same_disk", true], ["remote", [{"restored": true, "equal": true}]]]).verdict == "pass"
}

test_a_bad_copy_elsewhere_fails if {
	with_payload([["remote", [{"restored": false, "equal": true}]]]).verdict == "fail"
	with_payload([["remote", [{"restored": true, "equal": false}]]]).verdict == "fail"
	with_payload([["remote", [{"restored": true, "equal": true}, {}]]]).verdict == "fail"
}

test_absent_figures_are_errors if {
	every path in [
		"base_time", "base_age_seconds", "same_disk", "streaming", "restored", "verified", "amcheck", "point",
		"tables", "equal", "rows", "rpo_seconds", "rto_seconds", "answered", "asked", "requests", "failed", "quiet_p95", "p95", "remote", "faults",
	] {
		fixtures.without("backup", "backup", sprintf("/payload/%s", [path])).verdict == "error"
	}
}

test_mistyped_figures_are_errors if {
	with_payload([["restored", "true"]]).verdict == "error"
	with_payload([["rto_seconds", "8"]]).verdict == "error"
	with_payload([["faults", null]]).verdict == "error"
	with_payload([["remote", {}]]).verdict == "error"
}

serving(changes) := fixtures.judged(json.patch(fixtures.spoiled("backup", "backup", changes), [{"op": "add", "path": "/stage", "value": "serving"}]), "backup")

test_a_database_that_nobody_has_used_yet_warns_where_it_serves if {
	rows := [{"op": "add", "path": "/payload/rows", "value": 0}]
	serving(rows).verdict == "warn"
	fixtures.judged(fixtures.spoiled("backup", "backup", rows), "backup").verdict == "inconclusive"
}

test_some_rows_but_too_few_are_inconclusive_wherever if {
	few := json.patch(fixtures.spoiled("backup", "backup", [{"op": "add", "path": "/payload/rows", "value": 1}]), [
		{"op": "add", "path": "/stage", "value": "serving"},
		{"op": "add", "path": "/thresholds/backup/min_rows", "value": 2},
	])
	fixtures.judged(few, "backup").verdict == "inconclusive"
}
