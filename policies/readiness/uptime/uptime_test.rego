package gate.readiness.uptime_test

import data.gate.fixtures

with_payload(changes) := judged(fixtures.spoiled("uptime", "uptime", patches("/payload", changes)), [])

patches(at, changes) := [{"op": "add", "path": sprintf("%s/%s", [at, c[0]]), "value": c[1]} | some c in changes]

judged(given, limits) := fixtures.judged(json.patch(given, patches("/thresholds/uptime", limits)), "uptime")

# A record of so many seconds that ends with the fixture's.
lasting(seconds, failed, missed) := [
	["seconds", seconds],
	["ok", (seconds - failed) - missed],
	["failed", failed],
	["missed", missed],
	["from", time.format([time.parse_rfc3339_ns("2026-01-07T23:00:00Z") - (seconds * 1000000000), "UTC", "RFC3339"])],
]

test_thirty_days_pass if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "100% over 30 days on record, 0 s down (0 s of it not looked at), budget burnt 0 times as fast as it may"
	c.why == "100% of the budget left"
}

test_the_whole_budget_spent_warns_and_a_second_more_fails if {
	with_payload(lasting(2592000, 2592, 0)).verdict == "warn"
	c := with_payload(lasting(2592000, 2593, 0))
	c.verdict == "fail"
	contains(c.why, "which is more than the budget of 43.2 min")
}

test_what_nobody_saw_is_down if {
	c := with_payload(lasting(2592000, 0, 3600))
	c.verdict == "fail"
}

test_a_tenth_of_the_budget_left_passes_and_less_warns if {
	with_payload(lasting(2592000, 2332, 0)).verdict == "pass"
	with_payload(lasting(2592000, 2333, 0)).verdict == "warn"
}

test_exactly_the_share_of_the_budget_below_which_it_warns_passes if {
	half := [["slo", 0.5], ["warn_budget_left", 0.5]]
	at_limit := judged(fixtures.spoiled("uptime", "uptime", patches("/payload", lasting(2592000, 648000, 0))), half)
	at_limit.verdict == "pass"
	over := judged(fixtures.spoiled("uptime", "uptime", patches("/payload", lasting(2592000, 648001, 0))), half)
	over.verdict == "warn"
}

test_a_short_record_warns_with_its_bound if {
	c := with_payload(lasting(259200, 60, 0))
	c.verdict == "warn"
	contains(c.why, "only 3 days are on record: over 30 days it is between 10% and")
}

test_an_hour_less_than_the_window_passes if {
	with_payload(lasting(2588400, 0, 0)).verdict == "pass"
	with_payload(lasting(2588399, 0, 0)).verdict == "warn"
}

test_clock_steps_warn if with_payload([["steps", 1]]).verdict == "warn"

test_too_little_is_inconclusive if {
	with_payload(lasting(100, 0, 100)).verdict == "inconclusive"
	with_payload(lasting(0, 0, 0)).verdict == "inconclusive"
}

test_one_second_looked_at_is_enough_to_judge if with_payload(lasting(1, 0, 0)).verdict == "warn"

test_seconds_that_do_not_add_up_are_an_error if {
	with_payload([["ok", 2592001]]).verdict == "error"
	with_payload([["missed", 1]]).verdict == "error"
	with_payload([["from", "2026-01-01T00:00:00Z"]]).verdict == "error"
	with_payload([["window_seconds", 3600]]).verdict == "error"
	with_payload(lasting(2592001, 0, 0)).verdict == "error"
}

test_another_window_is_an_error if {
	c := with_payload([["window_seconds", 5184000]])
	c.verdict == "error"
	c.why == "it was added up over 60 days"
}

test_without_a_budget_nothing_may_be_down if {
	judged(fixtures.spoiled("uptime", "uptime", []), [["slo", 1]]).verdict == "pass"
	c := judged(fixtures.spoiled("uptime", "uptime", patches("/payload", lasting(2592000, 1, 0))), [["slo", 1]])
	c.verdict == "fail"
	contains(c.why, "0% of the budget is left")
}

test_absent_figures_are_errors if {
	every path in ["from", "to", "window_seconds", "seconds", "ok", "failed", "missed", "steps", "outside_hours"] {
		fixtures.without("uptime", "uptime", sprintf("/payload/%s", [path])).verdict == "error"
	}
	with_payload([["ok", "2592000"]]).verdict == "error"
}
