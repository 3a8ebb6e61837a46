package gate.readiness.canary_test

import data.gate.fixtures

cpu := {"name": "saturation.cpu", "kind": "saturation", "known": true, "reason": "", "value": 0.4, "baseline": 0.3, "at": "2026-01-07T23:59:55Z"}

queue := {"name": "prometheus.queue", "kind": "prometheus", "known": true, "reason": "", "value": 7, "at": "2026-01-07T23:59:55Z"}

bounds := {"saturation.cpu": {"kind": "saturation", "ratio": 1.5, "slack": 0.05}, "prometheus.queue": {"kind": "prometheus", "max": 10, "min": 1}}

# judged with the inputs, where the bounds are declared
with_inputs(inputs, declared) := fixtures.judged(
	json.patch(
		fixtures.spoiled("canary", "canary", [{"op": "add", "path": "/payload/inputs", "value": inputs}]),
		[{"op": "add", "path": "/expected/canary/inputs", "value": declared}],
	),
	"canary",
)

with_one(m, bound) := with_inputs([m], {m.name: bound})

changed(m, key, value) := object.union(m, {key: value})

test_inputs_within_their_bounds_pass_and_are_published if {
	c := with_inputs([queue, cpu], bounds)
	c.verdict == "pass"
	endswith(c.got, "; prometheus.queue 7; saturation.cpu 0.4 (baseline 0.3)")
	every value in [1, 10] { with_one(changed(queue, "value", value), bounds["prometheus.queue"]).verdict == "pass" }
	with_one(changed(cpu, "value", 0.5), bounds["saturation.cpu"]).verdict == "pass"
	with_one(changed(cpu, "value", 0.45), {"kind": "saturation", "ratio": 1.5}).verdict == "pass"
	with_one(queue, {"kind": "prometheus", "max": 7}).verdict == "pass"
	with_one(queue, {"kind": "prometheus", "min": 7}).verdict == "pass"
	with_one(changed(queue, "value", -3), {"kind": "prometheus", "max": -2}).verdict == "pass"
}

test_an_input_beyond_its_bound_fails if {
	c := with_inputs([queue, changed(cpu, "value", 0.51)], bounds)
	c.verdict == "fail"
	c.why == "saturation.cpu: 0.51, at most 0.5 beside 0.3 of the baseline"
	high := with_one(changed(queue, "value", 10.5), bounds["prometheus.queue"])
	high.verdict == "fail"
	high.why == "prometheus.queue: 10.5, at most 10"
	low := with_one(changed(queue, "value", 0.5), bounds["prometheus.queue"])
	low.verdict == "fail"
	low.why == "prometheus.queue: 0.5, at least 1"
	with_one(changed(cpu, "value", 0.46), {"kind": "saturation", "ratio": 1.5}).verdict == "fail"
}

test_a_declared_input_without_data_is_inconclusive if {
	missing := with_inputs([cpu], bounds)
	missing.verdict == "inconclusive"
	missing.why == "prometheus.queue: it was not measured"
	with_inputs(null, bounds).verdict == "inconclusive"
	with_inputs([7, {}, null], bounds).verdict == "inconclusive"
	none := with_inputs([cpu, object.union(queue, {"known": false, "reason": "the answer has 3 series, not one", "value": 0})], bounds)
	none.verdict == "inconclusive"
	none.why == "prometheus.queue: the answer has 3 series, not one"
	endswith(none.got, "; saturation.cpu 0.4 (baseline 0.3)")
	not contains(none.got, "prometheus.queue")
}

test_without_a_word_of_inputs_a_declared_one_is_inconclusive if {
	given := json.patch(fixtures.spoiled("canary", "canary", []), [{"op": "add", "path": "/expected/canary/inputs", "value": bounds}])
	c := fixtures.judged(given, "canary")
	c.verdict == "inconclusive"
	c.why == "prometheus.queue: it was not measured; saturation.cpu: it was not measured"
}

test_what_is_not_declared_has_no_say if {
	c := with_inputs([changed(cpu, "value", 9)], {})
	c.verdict == "pass"
	not contains(c.got, "saturation.cpu")
}

test_an_old_input_is_inconclusive if {
	with_one(changed(queue, "at", "2026-01-07T23:59:30Z"), bounds["prometheus.queue"]).verdict == "pass"
	c := with_one(changed(queue, "at", "2026-01-07T23:59:29Z"), bounds["prometheus.queue"])
	c.verdict == "inconclusive"
	c.why == "prometheus.queue: it was measured 31 s ago, at most 30"
	with_one(changed(queue, "at", "2026-01-08T00:00:05Z"), bounds["prometheus.queue"]).verdict == "pass"
	with_one(changed(queue, "at", "2026-01-08T00:00:06Z"), bounds["prometheus.queue"]).verdict == "inconclusive"
}

test_inputs_that_cannot_be_read_are_errors if {
	every key, value in {"kind": 1, "known": "yes", "reason": null, "value": "7", "at": "now"} {
		with_one(changed(queue, key, value), bounds["prometheus.queue"]).verdict == "error"
	}
	with_one(changed(queue, "value", 1e300), bounds["prometheus.queue"]).verdict == "error"
	twice := with_inputs([queue, queue], {"prometheus.queue": bounds["prometheus.queue"]})
	twice.verdict == "error"
	twice.why == "prometheus.queue: it was measured 2 times"
	contains(with_one(changed(queue, "value", "7"), bounds["prometheus.queue"]).why, "prometheus.queue.value is of type string")
}

test_bounds_that_bound_nothing_are_errors if {
	every bound in [{"kind": "prometheus"}, {"kind": "command", "max": 10}, {"kind": "prometheus", "ratio": 2}, {"kind": "prometheus", "max": "10"}] {
		with_one(queue, bound).verdict == "error"
	}
	with_one(cpu, {"kind": "command", "ratio": 2}).verdict == "error"
	with_one(changed(cpu, "baseline", "0.3"), bounds["saturation.cpu"]).verdict == "error"
	with_one(cpu, {"kind": "saturation", "ratio": "2"}).verdict == "error"
	c := with_one(queue, {"kind": "prometheus"})
	c.why == "prometheus.queue: what was measured is not what is declared"
}

test_inputs_count_without_single_requests_as_well if {
	given := json.patch(
		fixtures.spoiled("canary", "canary", [
			{"op": "add", "path": "/payload/figures", "value": null},
			{"op": "add", "path": "/payload/whole", "value": true},
			{"op": "add", "path": "/payload/inputs", "value": [changed(queue, "value", 11)]},
		]),
		[{"op": "add", "path": "/expected/canary/inputs", "value": {"prometheus.queue": bounds["prometheus.queue"]}}],
	)
	fixtures.judged(given, "canary").verdict == "fail"
}

test_of_all_traffic_it_is_said_how_much_was_synthetic if {
	c := with_whole([["canary/synthetic", 900], ["stable/synthetic", 30]])
	c.verdict == "warn"
	contains(c.why, "synthetic: 90% of the release's requests and 1% of those before it were gate's own")
	before := with_whole([["stable/synthetic", 30]])
	contains(before.why, "synthetic: 0% of the release's requests and 1% of those before it were gate's own")
	not contains(with_whole([]).why, "synthetic")
}
