package gate.readiness.migration_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("migration", "migration", changes)

without(path) := fixtures.without("migration", "migration", sprintf("/payload/%s", [path]))

verdict_of(changes) := with_payload(changes).verdict

finding(severity, table, sized, bytes) := {"tool": "migration", "rule": "r", "severity": severity, "file": "2.sql", "line": 3, "message": "writers wait", "table": table, "sized": sized, "bytes": bytes}

limit(name, value, changes) := fixtures.judged(
	json.patch(
		fixtures.spoiled("migration", "migration", [{"op": "add", "path": sprintf("/payload/%s", [c[0]]), "value": c[1]} | some c in changes]),
		[{"op": "add", "path": sprintf("/thresholds/migration/%s", [name]), "value": value}],
	),
	"migration",
).verdict

test_a_good_migration_passes if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "1 new migrations, tables locked for 0.02 s; a rollback is possible up to every migration; 0 of 4900 acknowledged writes lost, 0 partial, by 50 writers"
}

test_nothing_new_passes if verdict_of([["pending", 0], ["statements", 0], ["rehearsal/changes", 0], ["copy/rows", 0]]) == "pass"

test_no_migrate_command_passes if {
	verdict_of([["declared", false], ["files", 0], ["pending", 0], ["statements", 0], ["rehearsal", null]]) == "pass"
}

test_an_unsafe_statement_on_a_big_table_fails_and_says_where if {
	c := with_payload([["findings", [finding("high", "notes", true, 16777216)]]])
	c.verdict == "fail"
	contains(c.why, "1 unsafe statements, at most 0 may be: 2.sql:3 writers wait")
}

test_an_unsafe_statement_on_a_small_table_warns if {
	c := with_payload([["findings", [finding("high", "notes", true, 16777215)]]])
	c.verdict == "warn"
	contains(c.why, "1 statements to look at: 2.sql:3 writers wait")
}

test_a_table_of_unknown_size_is_big if verdict_of([["findings", [finding("high", "notes", false, 0)]]]) == "fail"

test_what_no_size_excuses_fails if {
	verdict_of([["findings", [finding("high", "", false, 0)]]]) == "fail"
	verdict_of([["findings", [finding("high", "", true, 0)]]]) == "fail"
}

test_medium_findings_warn_and_low_ones_do_not if {
	verdict_of([["findings", [finding("medium", "notes", true, 99999999)]]]) == "warn"
	verdict_of([["findings", [finding("low", "notes", true, 99999999)]]]) == "pass"
	verdict_of([["findings", [finding("low", "notes", true, 1)]]]) == "pass"
}

test_a_raised_limit_of_unsafe_statements if limit("max_unsafe", 1, [["findings", [finding("high", "", false, 0)]]]) == "pass"

test_a_pattern_that_matches_nothing_is_inconclusive if {
	c := with_payload([["files", 0], ["pending", 0], ["rehearsal/changes", 0]])
	c.verdict == "inconclusive"
	contains(c.why, "look at migrate.files")
}

test_migrations_without_a_statement_are_inconclusive if {
	verdict_of([["statements", 0]]) == "inconclusive"
	verdict_of([["statements", 0], ["findings", [finding("high", "", false, 0)]]]) == "fail"
	verdict_of([["statements", 0], ["findings", [finding("medium", "", false, 0)]]]) == "warn"
}

test_more_new_migrations_than_there_are_is_an_error if verdict_of([["pending", 4]]) == "error"

test_another_release_is_an_error if verdict_of([["release", "sha256:bbbc"]]) == "error"

test_a_lock_at_the_limit_passes_and_over_it_fails if {
	verdict_of([["rehearsal/lock_seconds", 1], ["rehearsal/expected_lock_seconds", 1], ["rehearsal/wait_seconds", 2]]) == "pass"
	c := with_payload([["rehearsal/lock_seconds", 1.001], ["rehearsal/locks", [{"relation": "public.notes", "mode": "AccessExclusiveLock", "existing": true}]]])
	c.verdict == "fail"
	contains(c.why, "a table was locked for 1.001 s, at most 1 (public.notes, AccessExclusiveLock)")
	verdict_of([["rehearsal/lock_seconds", 1.001]]) == "fail"
	verdict_of([["rehearsal/wait_seconds", 2.001]]) == "fail"
	verdict_of([["rehearsal/expected_lock_seconds", 1.001]]) == "warn"
}

test_what_was_not_watched_is_inconclusive if {
	every change in [
		[["rehearsal/samples", 0]],
		[["rehearsal/interval", 0.501]],
		[["rehearsal/probes", 0], ["rehearsal/users/requests", 0]],
		[["rehearsal/users/ready", false]],
		[["rehearsal/changes", 0]],
		[["pending", 0]],
		[["rehearsal", null]],
		[["previous_on_new", null]],
		[["previous_on_new/requests", 19]],
	] {
		c := with_payload(change)
		c.verdict == "inconclusive"
		c.next == "gate verify staging --check migration"
	}
	verdict_of([["rehearsal/interval", 0.5], ["previous_on_new/requests", 20]]) == "pass"
}

test_a_migrate_command_that_fails_fails if {
	c := with_payload([["rehearsal/problem", "relation x does not exist"], ["rehearsal/changes", 0]])
	c.verdict == "fail"
	contains(c.why, "relation x does not exist")
}

test_whoever_is_hurt_meanwhile_fails_it if {
	verdict_of([["rehearsal/probes_failed", 1]]) == "fail"
	c := with_payload([["rehearsal/users/failed", 1], ["rehearsal/users/failures", {"list: status 500": 1}]])
	c.verdict == "fail"
	contains(c.why, "(list: status 500: 1)")
}

test_a_previous_release_that_breaks_fails_with_how_far_a_rollback_reaches if {
	c := with_payload([["previous_on_new/failed", 3], ["previous_on_new/failures", {"list: status 500": 3}], ["rollback_until", "2.sql"]])
	c.verdict == "fail"
	contains(c.why, "3 of 96 requests of the previous release fail on the new schema, at most 0 may (list: status 500: 3); a rollback is possible up to 2.sql")
	d := with_payload([["previous_on_new", {"ready": false, "requests": 0, "failed": 0, "problem": "not ready"}], ["rollback_until", ""]])
	d.verdict == "fail"
	contains(d.why, "does not come up on the new schema: not ready")
	limit("max_failed", 3, [["previous_on_new/failed", 3], ["rehearsal/users/failed", 3]]) == "pass"
}

test_an_empty_copy_warns if {
	c := with_payload([["copy/rows", 0]])
	c.verdict == "warn"
	contains(c.why, "holds no rows")
}

test_the_first_release_warns if {
	c := with_payload([["previous", fixtures.release], ["pending", 0], ["statements", 0], ["rehearsal", null], ["previous_on_new", null]])
	c.verdict == "warn"
	contains(c.why, "the first release")
	startswith(c.got, "nothing to rehearse; ")
}

test_a_lost_write_fails if {
	c := with_payload([["acid/lost", 1], ["acid/found", 3999]])
	c.verdict == "fail"
	contains(c.why, "1 of 4000 acknowledged writes are lost, at most 0 may be")
	verdict_of([["app/lost", 1], ["app/found", 899]]) == "fail"
	limit("max_lost", 1, [["acid/lost", 1], ["acid/found", 3999], ["app/lost", 1], ["app/found", 899]]) == "pass"
}

test_a_partial_or_wrong_write_fails if {
	every change in [["acid/partial", 1], ["acid/twice", 1], ["acid/miscounted", 1], ["app/partial", 1], ["app/twice", 1]] {
		verdict_of([change]) == "fail"
	}
	limit("max_partial", 1, [["acid/partial", 1], ["app/partial", 1]]) == "pass"
}

test_counts_that_do_not_add_up_are_errors if {
	verdict_of([["acid/found", 3999]]) == "error"
	verdict_of([["app/found", 899]]) == "error"
}

test_too_little_is_inconclusive if {
	every change in [
		[["acid/writers", 49]], [["acid/reads", 0]], [["app/reads", 0]], [["acid/kills", 0]], [["acid/crashes", 0]],
		[["acid/acknowledged", 99], ["acid/found", 99]],
		[["app/writers", 49]], [["app/kills", 0]], [["app/acknowledged", 49], ["app/found", 49]],
	] {
		verdict_of(change) == "inconclusive"
	}
	verdict_of([["acid/acknowledged", 100], ["acid/found", 100], ["acid/kills", 1], ["acid/crashes", 1], ["app/acknowledged", 50], ["app/found", 50], ["app/kills", 1]]) == "pass"
}

test_writes_that_were_not_tried_through_the_app_warn if {
	c := with_payload([["app", null]])
	c.verdict == "warn"
	contains(c.why, "drills.write")
	contains(c.got, "0 of 4000 acknowledged")
}

test_absent_figures_are_errors if {
	every path in [
		"release", "previous", "declared", "files", "pending", "statements", "copy", "acid", "acid/lost", "acid/found", "acid/kills",
		"rehearsal/lock_seconds", "rehearsal/users", "rehearsal/changes", "previous_on_new/failed", "app/lost",
	] {
		without(path).verdict == "error"
	}
}

test_mistyped_figures_are_errors if {
	every change in [
		["acid/lost", "0"], ["rehearsal/lock_seconds", -1], ["previous_on_new", []], ["app", "none"], ["rehearsal", 1],
		["findings", "none"], ["previous_on_new/failed", -1], ["app/partial", -1],
		["findings", [object.remove(finding("high", "notes", true, 1), ["severity"])]],
		["findings", [object.remove(finding("high", "notes", true, 1), ["sized"])]],
		["findings", [finding("high", "notes", true, -1)]],
		["findings", [finding("high", "notes", true, "1")]],
	] {
		verdict_of([change]) == "error"
	}
}

test_a_part_that_is_missing_excuses_no_mistyped_figure if verdict_of([["app", null], ["acid/partial", -1]]) == "error"
