package gate.readiness.skipped_test

import data.gate.readiness.skipped

test_no_skipped_test_passes if skipped.judge({"passed": 40, "skipped": skipped.max_skipped}).verdict == "pass"

test_one_skipped_test_too_many_warns_and_is_counted if {
	result := skipped.judge({"passed": 40, "skipped": skipped.max_skipped + 1})
	result.verdict == "warn"
	result.got == sprintf("%d skipped, 40 passed", [skipped.max_skipped + 1])
}

test_an_absent_figure_is_an_error if {
	skipped.judge({"passed": 40}).verdict == "error"
	skipped.judge({}).verdict == "error"
	skipped.judge(null).verdict == "error"
}

test_a_mistyped_figure_is_an_error if {
	every value in ["0", null, -1, 0.5, [], {}, false] {
		skipped.judge({"passed": 40, "skipped": value}).verdict == "error"
	}
}
