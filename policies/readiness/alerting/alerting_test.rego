package gate.readiness.alerting_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("alerting", "alerting", changes)

serving(changes) := fixtures.judged(
	object.union(fixtures.spoiled("alerting", "alerting", [{"op": "add", "path": sprintf("/payload/%s", [c[0]]), "value": c[1]} | some c in changes]), {"stage": "serving"}),
	"alerting",
)

test_told_in_time_passes if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "told 4.9 s after the fault by smtp (accepted), recovery 3.1 s after its end, warned 5 s before the folder was full"
	count(c.evidence) == 2
}

test_exactly_at_the_limits_passes if with_payload([["receipt", 300], ["routes/0/receipt", 300], ["routes/0/recovery", 300], ["lead", 1.6], ["beats", 1], ["queued", 0]]).verdict == "pass"

test_told_at_once_passes if {
	c := with_payload([["receipt", 0], ["routes/0/receipt", 0], ["routes/0/recovery", 0]])
	c.verdict == "pass"
}

test_a_message_that_arrived_at_the_drill_itself_passes if with_payload([["routes/0/proof", "arrived"]]).verdict == "pass"

test_over_the_limits_fails if {
	every changes in [
		[["receipt", 301], ["routes/0/receipt", 301]],
		[["routes/0/recovery", 301]],
		[["lead", 1.5]],
		[["beats", 0]],
		[["queued", 1]],
		[["restored", false]],
	] {
		with_payload(changes).verdict == "fail"
	}
}

test_a_route_that_swallows_mail_fails if {
	c := with_payload([["receipt", -1], ["routes/0/receipt", -1]])
	c.verdict == "fail"
	contains(c.why, "no receipt by smtp")
	contains(c.got, "told never")
}

test_a_receipt_without_words_or_of_an_unknown_kind_is_none if {
	with_payload([["routes/0/said", ""]]).verdict == "fail"
	with_payload([["routes/0/proof", "believed"]]).verdict == "fail"
}

test_one_silent_route_of_two_fails if {
	second := {"route": "webhook", "receipt": -1, "recovery": -1, "proof": "accepted", "said": ""}
	c := with_payload([["routes/-", second], ["receipt", -1]])
	c.verdict == "fail"
	contains(c.why, "no receipt by webhook")
	not contains(c.why, "slowest route")
}

test_a_receipt_where_one_route_of_two_is_silent_is_not_that_of_the_slowest if {
	second := {"route": "webhook", "receipt": -1, "recovery": -1, "proof": "accepted", "said": ""}
	contains(with_payload([["routes/-", second]]).why, "slowest route")
}

test_a_drill_quicker_than_its_routes_is_an_error if with_payload([["receipt", 1]]).verdict == "error"

test_no_recovery_notice_fails if with_payload([["routes/0/recovery", -1], ["recovery", -1]]).verdict == "fail"

test_no_warning_before_it_is_full_fails if {
	c := with_payload([["lead", -1]])
	c.verdict == "fail"
	contains(c.why, "the warning came nothing of 8 s before")
}

test_nothing_tried_is_inconclusive if {
	with_payload([["routes", []], ["receipt", -1]]).verdict == "inconclusive"
	with_payload([["ramp", 0], ["lead", 0]]).verdict == "inconclusive"
	with_payload([["fired", []]]).verdict == "inconclusive"
}

test_a_test_alarm_does_only_where_people_are if {
	test := [["mode", "test"], ["fired", ["test"]], ["ramp", 0], ["lead", 0]]
	with_payload(test).verdict == "inconclusive"
	c := serving(test)
	c.verdict == "pass"
	c.got == "told 4.9 s after the test by smtp (accepted), recovery 3.1 s after its end"
	serving([]).verdict == "pass"
	serving([["mode", "wish"]]).verdict == "inconclusive"
}

test_only_this_machine_warns if {
	c := with_payload([["local_only", true]])
	c.verdict == "warn"
	contains(c.why, "only this machine hears of it")
}

test_no_heartbeat_warns if with_payload([["heartbeat", false], ["beats", 0]]).verdict == "warn"

test_an_alert_without_a_runbook_fails if {
	c := fixtures.payload("alerting", "runbooks", [["missing", ["unavailable"]]])
	c.verdict == "fail"
	contains(c.why, "no runbook for unavailable, which fired")
	with_payload([["fired", ["unavailable", "unheard"]]]).verdict == "fail"
}

test_a_runbook_that_is_not_there_or_has_no_steps_is_none if {
	every change in [["runbooks", []], ["runbooks/0/steps", 0], ["runbooks/0/alert", "disk"], ["alerts", ["test"]]] {
		c := fixtures.payload("alerting", "runbooks", [change])
		c.verdict == "fail"
		contains(c.why, "no runbook for unavailable, which fired")
	}
	fixtures.payload("alerting", "runbooks", [["runbooks/0/steps", 1]]).verdict == "pass"
}

test_runbooks_that_cannot_be_read_are_an_error if {
	every steps in [-1, 0.5, 1e300, "1", null, true, [1]] {
		fixtures.payload("alerting", "runbooks", [["runbooks/0/steps", steps]]).verdict == "error"
	}
	fixtures.payload("alerting", "runbooks", [["runbooks", "all"]]).verdict == "error"
}

test_no_reading_of_the_runbooks_is_inconclusive if {
	c := fixtures.with_evidence("alerting", "runbooks", [["/status", "unavailable"]])
	c.verdict == "inconclusive"
}

test_absent_figures_are_errors if {
	every path in ["mode", "routes", "local_only", "receipt", "recovery", "lead", "ramp", "heartbeat", "beats", "fired", "restored", "queued", "routes/0/receipt", "routes/0/proof"] {
		fixtures.without("alerting", "alerting", sprintf("/payload/%s", [path])).verdict == "error"
	}
	fixtures.without("alerting", "runbooks", "/payload/missing").verdict == "error"
}

test_mistyped_figures_are_errors if {
	with_payload([["receipt", "4"]]).verdict == "error"
	with_payload([["routes", "smtp"]]).verdict == "error"
	with_payload([["fired", "unavailable"]]).verdict == "error"
	with_payload([["fired", {"0": "unheard"}]]).verdict == "error"
	with_payload([["routes", {"smtp": {}}]]).verdict == "error"
}
