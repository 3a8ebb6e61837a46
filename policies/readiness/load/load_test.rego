package gate.readiness.load_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("load", "load", changes)

limited(name, value, changes) := fixtures.judged(
	json.patch(
		fixtures.spoiled("load", "load", [{"op": "add", "path": sprintf("/payload/%s", [c[0]]), "value": c[1]} | some c in changes]),
		[{"op": "add", "path": sprintf("/thresholds/load/%s", [name]), "value": value}],
	),
	"load",
)

test_fast_and_right_passes_with_its_figures if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "p95 0.31 s (≤ 0.35), p99 0.42 s (≤ 0.5), success ≥ 99.25% of 2700, knee 400–500/s (cpu)"
	c.want == "p95 < 2 s, p99 < 2 s, success ≥ 99% with 50 users, knee ≥ 2 × what they ask for"
}

test_a_quantile_at_its_limit_fails if {
	every name in ["p95", "p99"] {
		c := with_payload([[sprintf("open/endpoints/1/%s", [name]), 2], ["open/endpoints/1/p99", 2], ["open/endpoints/1/p99_upper", 2.1]])
		c.verdict == "fail"
		contains(c.why, "open add: ")
	}
}

test_a_quantile_just_below_its_limit_passes_and_looks_different if {
	c := with_payload([["closed/endpoints/0/p95", 1.9999], ["closed/endpoints/0/p95_upper", 1.99991], ["closed/endpoints/0/p99", 1.99995], ["closed/endpoints/0/p99_upper", 1.99995]])
	c.verdict == "pass"
	contains(c.got, "p95 1.9999 s (≤ 1.9999)")
}

test_a_bound_at_its_limit_is_inconclusive if {
	every name in ["p95_upper", "p99_upper"] {
		c := with_payload([[sprintf("closed/all/%s", [name]), 2]])
		c.verdict == "inconclusive"
		contains(c.why, "closed all: ")
		c.next == "gate verify staging --check load (about three minutes)"
	}
}

test_a_bound_below_its_point_does_not_count if {
	with_payload([["closed/all/p95", 2.5], ["closed/all/p99", 2.6], ["closed/all/p95_upper", 0.1], ["closed/all/p99_upper", 0.1]]).verdict == "fail"
}

test_success_exactly_at_its_limit_passes if {
	with_payload([["closed/all/success_lower", 0.99]]).verdict == "pass"
}

test_success_that_is_not_sure_is_inconclusive if {
	c := with_payload([["closed/all/success_lower", 0.98996]])
	c.verdict == "inconclusive"
	contains(c.why, "98.996%")
}

test_a_bound_of_success_above_the_share_does_not_count if {
	with_payload([["closed/endpoints/0/succeeded", 985], ["closed/all/succeeded", 1485], ["closed/endpoints/0/success_lower", 1]]).verdict == "fail"
}

test_failures_at_the_limit_need_more_samples_and_over_it_fail if {
	at_limit := with_payload([["closed/endpoints/0/succeeded", 990], ["closed/all/succeeded", 1490], ["closed/endpoints/0/success_lower", 0.985]])
	at_limit.verdict == "inconclusive"
	over := with_payload([["closed/endpoints/0/succeeded", 989], ["closed/all/succeeded", 1489], ["closed/endpoints/0/failures", {"status 500": 11}]])
	over.verdict == "fail"
	contains(over.why, "11 of 1000 requests failed, success must reach 99% (status 500: 11)")
}

test_hopeless_runs_fail_before_they_have_enough_samples if {
	c := with_payload([["closed/endpoints", [object.union(fixtures.figure("list", 10), {"succeeded": 0})]], ["closed/all/requests", 10], ["closed/all/succeeded", 0]])
	c.verdict == "fail"
}

test_the_least_number_of_requests_is_enough if {
	fixed := [["closed/endpoints", [fixtures.figure("list", 1000), fixtures.figure("add", 299)]], ["closed/all", fixtures.figure("all", 1299)]]
	with_payload(fixed).verdict == "pass"
}

test_one_request_less_is_inconclusive if {
	c := with_payload([["closed/endpoints", [fixtures.figure("list", 1000), fixtures.figure("add", 298)]], ["closed/all", fixtures.figure("all", 1298)]])
	c.verdict == "inconclusive"
	contains(c.why, "closed add: 298 requests, at least 299")
}

test_no_request_is_inconclusive if {
	with_payload([["open/endpoints", [fixtures.figure("list", 800), fixtures.figure("add", 0)]], ["open/all", fixtures.figure("all", 800)]]).verdict == "inconclusive"
}

test_no_endpoint_is_inconclusive if {
	c := with_payload([
		["closed/endpoints", []],
		["open/endpoints", []],
		["closed/all", fixtures.figure("all", 0)],
		["open/all", fixtures.figure("all", 0)],
		["zero_think/endpoints", []],
		["zero_think/all", fixtures.figure("all", 0)],
	])
	c.verdict == "inconclusive"
	contains(c.why, "no endpoint was asked")
}

test_an_endpoint_that_one_phase_lacks_is_an_error if {
	c := with_payload([["open/endpoints", [fixtures.figure("list", 1200)]]])
	c.verdict == "error"
	contains(c.why, "different endpoints")
}

test_an_endpoint_that_is_there_twice_is_an_error if {
	c := with_payload([[sprintf("%s/endpoints/0/name", [phase]), "add"] | some phase in ["closed", "open", "zero_think"]])
	c.verdict == "error"
	contains(c.why, "its endpoints repeat")
}

test_requests_beside_the_endpoints_are_an_error if {
	with_payload([["closed/all/requests", 1501]]).verdict == "error"
	with_payload([["open/all/succeeded", 1199]]).verdict == "error"
}

test_figures_that_contradict_each_other_are_an_error if {
	with_payload([["closed/endpoints/0/succeeded", 1001]]).verdict == "error"
	with_payload([["closed/endpoints/0/p95", 0.43]]).verdict == "error"
}

test_too_few_users_are_inconclusive if {
	with_payload([["users", 49]]).verdict == "inconclusive"
	with_payload([["users", 51]]).verdict == "pass"
}

test_too_short_a_run_is_inconclusive_and_says_by_how_little if {
	c := with_payload([["closed/seconds", 59.9999]])
	c.verdict == "inconclusive"
	contains(c.why, "59.9999 s")
	with_payload([["open/seconds", 0]]).verdict == "inconclusive"
}

test_a_restart_fails if with_payload([["restarts", 1]]).verdict == "fail"

test_restarts_at_a_raised_limit_pass if limited("max_restarts", 1, [["restarts", 1]]).verdict == "pass"

test_a_meter_that_is_not_sound_is_inconclusive if {
	with_payload([["little_law", 1.11]]).verdict == "inconclusive"
	with_payload([["little_law", 0.89]]).verdict == "inconclusive"
	with_payload([["generator/dropped", 1]]).verdict == "inconclusive"
}

test_a_meter_at_its_limit_passes if limited("max_little_law_error", 0.5, [["little_law", 1.5]]).verdict == "pass"

test_absent_figures_are_errors if {
	every path in [
		"users",
		"think_seconds",
		"closed/rate",
		"little_law",
		"generator",
		"generator/dropped",
		"closed",
		"open",
		"closed/seconds",
		"closed/all",
		"closed/all/requests",
		"open/endpoints",
		"open/endpoints/1/p99_upper",
		"open/endpoints/1/name",
		"open/endpoints/1/success_lower",
	] {
		c := fixtures.without("load", "load", sprintf("/payload/%s", [path]))
		c.verdict == "error"
	}
}

test_mistyped_figures_are_errors if {
	every value in ["0.3", null, -1, [], {}, true, 1e300] {
		with_payload([["closed/endpoints/0/p95_upper", value]]).verdict == "error"
		with_payload([["open/all/success_lower", value]]).verdict == "error"
	}
}

test_an_endpoint_that_is_no_object_is_an_error if with_payload([["open/endpoints/1", "add"]]).verdict == "error"

test_more_successes_than_requests_are_an_error if {
	c := with_payload([["open/endpoints/0/succeeded", 801], ["open/all/succeeded", 1201]])
	c.verdict == "error"
	contains(c.why, "open list: more succeeded than were sent")
}

test_quantiles_may_be_the_same if with_payload([["open/endpoints/0/p95", 0.42]]).verdict == "pass"

test_a_p95_at_its_limit_fails_whatever_p99_may_be if {
	c := limited("p99_seconds", 3, [["open/endpoints/1/p95", 2], ["open/endpoints/1/p99", 2.5], ["open/endpoints/1/p99_upper", 2.6]])
	c.verdict == "fail"
	contains(c.why, "open add: p95 2 s, must be below 2")
}

test_a_meter_just_within_its_tolerance_is_believed if {
	with_payload([["little_law", 1.095]]).verdict == "pass"
	with_payload([["little_law", 0.905]]).verdict == "pass"
	with_payload([["little_law", 1.105]]).verdict == "inconclusive"
}

test_what_is_missing_is_named if {
	contains(fixtures.without("load", "load", "/payload/closed/all").why, "payload.closed.all is missing")
	contains(fixtures.without("load", "load", "/payload/open/endpoints/0/p99").why, "open.endpoints[0].p99 is missing")
}

knee(lower, upper, changes) := object.union(
	{
		"lower": lower,
		"upper": upper,
		"limit": "cpu",
		"because": "all were busy",
		"restarts": 0,
		"steps": [
			{"rate": lower, "requests": 600, "state": "sustained"},
			{"rate": upper, "requests": 700, "state": "saturated"},
		],
	},
	changes,
)

unreached(lower, limit) := knee(lower, 0, {"limit": limit, "steps": [{"rate": lower, "requests": 600, "state": "sustained"}]})

with_knee(k) := with_payload([["knee", k]])

test_a_knee_at_twice_the_need_passes if {
	c := with_knee(knee(100, 120, {}))
	c.verdict == "pass"
	endswith(c.got, ", knee 100–120/s (cpu)")
}

test_a_knee_that_is_only_sure_to_be_below_is_inconclusive if {
	c := with_knee(knee(99.9, 120, {}))
	c.verdict == "inconclusive"
	contains(c.why, "the knee is only sure to be ≥ 99.9 requests/s, must be ≥ 100 (2 × what the users ask for)")
}

test_a_rate_at_twice_the_need_that_was_too_much_fails_and_names_the_limit if {
	c := with_knee(knee(90, 100, {"limit": "locks", "because": "3 of 3 busy database connections waited for a lock"}))
	c.verdict == "fail"
	contains(c.why, "limited by locks, 3 of 3 busy")
}

test_a_slow_service_does_not_lower_the_need if {
	c := with_payload([["closed/rate", 10], ["knee", knee(90, 100, {})]])
	c.verdict == "fail"
}

test_a_greater_measured_rate_raises_the_need if {
	with_payload([["closed/rate", 51], ["knee", knee(101, 120, {})]]).verdict == "inconclusive"
	with_payload([["think_seconds", 0], ["closed/rate", 55], ["knee", knee(110, 120, {})]]).verdict == "pass"
}

test_a_raised_headroom_asks_for_more if {
	limited("min_headroom", 8.1, []).verdict == "inconclusive"
	limited("min_headroom", 10, []).verdict == "fail"
	limited("min_headroom", 8, []).verdict == "pass"
}

test_a_generator_that_is_the_limit_shows_only_what_was_sustained if {
	c := with_knee(unreached(90, "generator"))
	c.verdict == "inconclusive"
	contains(c.why, "must be ≥ 100 (2 × what the users ask for): limited by generator, all were busy")
	enough := with_knee(unreached(100, "neighbours"))
	enough.verdict == "pass"
	endswith(enough.got, ", knee ≥ 100/s (neighbours)")
}

test_a_knee_that_was_not_reached_passes_with_what_was_sustained if {
	c := with_knee(unreached(2000, ""))
	c.verdict == "pass"
	endswith(c.got, ", knee ≥ 2000/s (not reached)")
}

test_a_limit_that_nobody_could_name_warns if {
	c := with_knee(knee(400, 500, {"limit": "unknown"}))
	c.verdict == "warn"
	contains(c.why, "what limits the service is not known")
	with_knee(object.remove(knee(400, 500, {"limit": "unknown"}), ["because"])).verdict == "warn"
}

test_no_rate_sustained_is_no_pass if with_knee(knee(0, 60, {})).verdict == "fail"

test_a_lower_bound_of_too_few_requests_is_inconclusive if {
	few := knee(400, 500, {"steps": [{"rate": 400, "requests": 298, "state": "sustained"}, {"rate": 500, "requests": 900, "state": "saturated"}]})
	with_knee(few).verdict == "inconclusive"
	contains(with_knee(few).why, "the knee's lower bound was seen with 298 requests, at least 299")
	with_knee(json.patch(few, [{"op": "add", "path": "/steps/0/requests", "value": 299}])).verdict == "pass"
}

test_only_steps_at_the_lower_bound_that_were_sustained_count_for_it if {
	every other in [{"rate": 105, "requests": 900, "state": "sustained"}, {"rate": 400, "requests": 900, "state": "saturated"}] {
		c := with_knee(knee(400, 500, {"steps": [other, {"rate": 400, "requests": 298, "state": "sustained"}, {"rate": 500, "requests": 900, "state": "saturated"}]}))
		c.verdict == "inconclusive"
		contains(c.why, "the knee's lower bound was seen with 298 requests")
	}
}

test_no_step_at_all_is_inconclusive if with_knee({"lower": 0, "upper": 0, "limit": "", "restarts": 0, "steps": []}).verdict == "inconclusive"

test_a_knee_beside_its_steps_is_an_error if {
	with_knee(knee(400, 500, {"lower": 450})).verdict == "error"
	with_knee(knee(400, 500, {"upper": 450})).verdict == "error"
	with_knee(knee(400, 500, {"steps": []})).verdict == "error"
	with_knee(knee(500, 400, {})).verdict == "error"
	with_knee(knee(400, 400, {})).verdict == "error"
	with_knee(knee(400, 500, {"limit": ""})).verdict == "error"
	with_knee(knee(400, 500, {"limit": "generator"})).verdict == "error"
	with_knee(knee(400, 500, {"limit": "moon"})).verdict == "error"
	with_knee(unreached(400, "cpu")).verdict == "error"
	with_knee(knee(400, 500, {"steps": [{"rate": 400, "requests": 0, "state": "sustained"}, {"rate": 500, "requests": 9, "state": "saturated"}]})).verdict == "error"
}

test_a_bound_whose_step_shows_the_opposite_is_an_error if {
	every state in ["sustained", "saturated"] {
		c := with_knee(knee(400, 500, {"steps": [{"rate": 400, "requests": 600, "state": state}, {"rate": 500, "requests": 700, "state": state}]}))
		c.verdict == "error"
		contains(c.why, "its bounds are not those of its steps")
	}
}

test_every_limit_of_the_service_that_is_named_passes if {
	every limit in ["cpu", "locks", "connections", "service"] {
		with_knee(knee(400, 500, {"limit": limit})).verdict == "pass"
	}
}

test_restarts_beyond_the_knee_warn if {
	with_knee(knee(400, 500, {"restarts": 1})).verdict == "warn"
	limited("max_knee_restarts", 1, [["knee/restarts", 1]]).verdict == "pass"
	with_knee(object.remove(knee(400, 500, {}), ["restarts"])).verdict == "inconclusive"
}

test_absent_limits_are_inconclusive if {
	every path, why in {
		"knee": "the knee was not searched for",
		"zero_think": "the users without think time were not measured",
		"restarts": "nobody counted whether instances restarted",
		"checkpoint": "nothing says whether a CHECKPOINT was forced",
	} {
		every c in [fixtures.without("load", "load", sprintf("/payload/%s", [path])), with_payload([[path, null]])] {
			c.verdict == "inconclusive"
			contains(c.why, why)
		}
	}
}

test_absent_parts_of_them_are_errors if {
	every path in [
		"knee/lower",
		"knee/upper",
		"knee/limit",
		"knee/steps",
		"knee/steps/1/rate",
		"zero_think/seconds",
		"zero_think/endpoints",
		"zero_think/endpoints/0/name",
		"zero_think/all",
		"zero_think/all/p95_upper",
		"checkpoint/forced",
		"checkpoint/during/p95",
	] {
		c := fixtures.without("load", "load", sprintf("/payload/%s", [path]))
		c.verdict == "error"
		parts := split(path, "/")
		contains(c.why, sprintf("%s is missing", [parts[count(parts) - 1]]))
	}
	fixtures.without("load", "load", "/payload/checkpoint/during").verdict == "error"
	with_payload([["restarts", "0"]]).verdict == "error"
	with_payload([["knee/restarts", -1]]).verdict == "error"
}

test_users_without_think_time_are_judged_like_the_others if {
	with_payload([["zero_think/all/p95", 2], ["zero_think/all/p99", 2]]).verdict == "fail"
	with_payload([["zero_think/all/p95_upper", 2], ["zero_think/all/p99_upper", 2]]).verdict == "inconclusive"
	with_payload([["zero_think/all/succeeded", 3900], ["zero_think/endpoints/0/succeeded", 1900]]).verdict == "fail"
	with_payload([["zero_think/seconds", 0]]).verdict == "inconclusive"
	with_payload([["zero_think/all/requests", 4001]]).verdict == "error"
	with_payload([["zero_think/endpoints/0/name", "other"]]).verdict == "error"
}

test_users_without_think_time_never_stop_early if {
	c := with_payload([["zero_think/all/success_lower", 0.98]])
	c.verdict == "inconclusive"
	contains(c.why, "without think time all: success is only sure to be")
	proposed([["zero_think/all/success_lower", 0.98]]).verdict == "inconclusive"
}

test_a_stall_at_a_checkpoint_fails if {
	c := with_payload([["checkpoint/during/p95", 2]])
	c.verdict == "fail"
	contains(c.why, "while a CHECKPOINT was forced p95 was 2 s, must be below 2")
	with_payload([["checkpoint/during/p95", 1.9999]]).verdict == "pass"
	with_payload([["checkpoint/during/requests", 0]]).verdict == "inconclusive"
}

test_a_checkpoint_that_could_not_be_forced_warns_and_says_why if {
	c := with_payload([["checkpoint/forced", false], ["checkpoint/reason", "the user may not"]])
	c.verdict == "warn"
	contains(c.why, "no CHECKPOINT was forced: the user may not")
	with_payload([["checkpoint/forced", false]]).verdict == "warn"
}

ended := {"verdict": "good", "stopped": true, "requests": 571, "failed": 0, "slow": 0}

early := {"bad": 0.01, "risk": 0.01, "guarantee": "at most 1%", "closed": ended, "open": ended}

short(figures) := object.union({"seconds": 12, "rate": 50}, figures)

few := {"endpoints": [fixtures.figure("list", 400), fixtures.figure("add", 180)], "all": object.union(fixtures.figure("all", 580), {"success_lower": 0.985})}

proposed(changes) := fixtures.judged(
	object.union(
		fixtures.spoiled("load", "load", array.concat(
			[
				{"op": "add", "path": "/payload/early", "value": early},
				{"op": "add", "path": "/payload/closed", "value": short(few)},
				{"op": "add", "path": "/payload/open", "value": short(few)},
			],
			[{"op": "add", "path": sprintf("/payload/%s", [c[0]]), "value": c[1]} | some c in changes],
		)),
		{"stage": "change"},
	),
	"load",
)

test_a_change_may_pass_by_a_run_that_stopped_early if proposed([]).verdict == "pass"

test_nothing_else_may if {
	c := with_payload([["early", early], ["closed", short(few)], ["open", short(few)]])
	c.verdict == "inconclusive"
	contains(c.why, "counts for a change alone")
}

test_a_run_that_the_test_calls_bad_fails if {
	c := proposed([["early/closed/verdict", "bad"], ["early/closed/failed", 6]])
	c.verdict == "fail"
	contains(c.why, "the sequential test of the closed model ended it: 6 of 571 requests failed")
	proposed([["early/open/verdict", "else"]]).verdict == "fail"
}

test_an_open_test_proves_nothing if {
	proposed([["early/closed/verdict", "open"]]).verdict == "inconclusive"
	proposed([["early/closed/stopped", false]]).verdict == "inconclusive"
	proposed([["early/open/verdict", "open"]]).verdict == "inconclusive"
}

test_a_test_that_is_less_strict_than_the_limit_is_inconclusive if {
	proposed([["early/bad", 0.011]]).verdict == "inconclusive"
	proposed([["early/risk", 0.011]]).verdict == "inconclusive"
	proposed([["early/risk", "0"]]).verdict == "error"
}

test_quantiles_of_a_run_that_stopped_early_still_count if {
	proposed([["closed/endpoints/0/p95", 2.1], ["closed/endpoints/0/p99", 2.2]]).verdict == "fail"
	proposed([["closed/all/p99_upper", 2.1]]).verdict == "inconclusive"
	proposed([["closed/endpoints/0/p99_upper", 2.1]]).verdict == "pass"
	proposed([["closed/endpoints/0/succeeded", 380], ["closed/all/succeeded", 560]]).verdict == "fail"
}

test_every_part_of_the_test_is_needed if {
	every part in ["bad", "risk", "closed", "open"] {
		c := proposed([["early", object.remove(early, [part])]])
		c.verdict == "error"
		contains(c.why, sprintf("early.%s", [part]))
		contains(c.why, "is missing")
	}
	every part in ["verdict", "stopped", "requests", "failed"] {
		every phase in ["closed", "open"] {
			c := proposed([[sprintf("early/%s", [phase]), object.remove(ended, [part])]])
			c.verdict == "error"
			contains(c.why, sprintf("early.%s.%s is missing", [phase, part]))
		}
	}
}

test_a_test_that_is_null_is_none if {
	with_payload([["early", null]]).verdict == "pass"
	proposed([["early", null]]).verdict == "inconclusive"
}
