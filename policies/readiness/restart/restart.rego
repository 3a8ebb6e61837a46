# METADATA
# title: Restart
# description: auto-restart on failures
# schemas:
#   - input: schema.input
package gate.readiness.restart

import data.gate.lib

# METADATA
# title: Restart after a failure
# description: auto-restart on failures
# custom:
#   remediation: "look at which part was slow to come back, or lost what it had acknowledged: gate logs shows its last words; mend and commit"
criterion := lib.conclude({
	"id": "restart",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf("instance, daemon and database killed and back within %v s, no more lost than was in flight, at most %d refused, at most %d writes missing and %d doubled", [limits.max_seconds, limits.max_refused, limits.max_missing, limits.max_doubled]),
	"next": {"inconclusive": lib.measure("restart"), "error": lib.measure("restart")},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.restart

# METADATA
# title: Evidence
# description: of check restart
evidence := lib.weighed("restart", "restart")

# METADATA
# title: Parts that must have been killed
# description: each of them at least once
parts := {"instance", "daemon", "database"}

# METADATA
# title: Shape of the payload
# description: checks.RestartPayload
shape := {
	"faults": "array",
	"requests": "count",
	"failed": "count",
	"per_instance": "counts",
	"writes.declared": "flag",
	"writes.other": "count",
	"writes.sent": "count",
	"writes.acknowledged": "count",
	"writes.found": "count",
	"writes.missing": "count",
	"writes.doubled": "count",
	"generator.dropped": "count",
}

# METADATA
# title: Shape of one fault
# description: checks.RestartFault
fault_shape := {
	"part": "text",
	"what": "text",
	"by": "text",
	"recovered": "flag",
	"recover_seconds": "number",
	"requests": "count",
	"failed": "count",
	"in_flight": "count",
	"lost": "count",
	"refused": "count",
	"errors": "count",
	"slow": "count",
	"instances_before": "positive",
	"instances_after": "count",
	"restarts": "count",
}

# METADATA
# title: Faults of the payload's shape
# description: those of the faults in it, too
mistakes(p) := lib.faults(p, shape, "payload") | {m |
	some i, f in p.faults
	some m in lib.faults(f, fault_shape, sprintf("payload.faults[%d]", [i]))
}

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(mistakes(p)) if {
	count(mistakes(p)) > 0
} else := lib.ruled(array.concat(rows(p), [r | some f in p.faults; some r in demands(f)]), got(p), "")

# METADATA
# title: Demands on the drill as a whole
# description: everything was killed, and what was written was looked for
rows(p) := [
	lib.row(count(parts - {f.part | some f in p.faults}) == 0, "inconclusive", sprintf("not killed: %s", [concat(", ", sort(parts - {f.part | some f in p.faults}))])),
	lib.row(used(p) >= max({f.instances_before | some f in p.faults} | {1}), "inconclusive", sprintf("%d instances answered, and there were more", [used(p)])),
	lib.row(is_counted(p.writes), "error", "the writes do not add up"),
	lib.row(p.writes.missing <= limits.max_missing, "fail", sprintf("%d of %d acknowledged writes are missing, at most %d may be", [p.writes.missing, p.writes.acknowledged, limits.max_missing])),
	lib.row(p.writes.doubled <= limits.max_doubled, "fail", sprintf("%d of %d writes were stored more than once, at most %d may be", [p.writes.doubled, p.writes.sent, limits.max_doubled])),
	lib.row(is_enough(p.writes), "inconclusive", sprintf("%d acknowledged writes were looked for, at least %d; %d other requests may have written: app.yaml declares under drills.write what to write and how to find it again", [p.writes.acknowledged, limits.min_writes, p.writes.other])),
	lib.row(p.generator.dropped <= limits.max_dropped, "inconclusive", sprintf("the generator dropped %d requests, at most %d", [p.generator.dropped, limits.max_dropped])),
]

# METADATA
# title: Demands on one kill
# description: it came back in time, lost no more than it had, and did not loop
demands(f) := [
	lib.row(f.part in parts, "error", sprintf("part %s is unknown", [f.part])),
	lib.row(((f.lost + f.refused) + (f.errors + f.slow)) == f.failed, "error", sprintf("%s: the failures do not add up", [f.part])),
	lib.row(f.failed <= f.requests, "error", sprintf("%s: more requests failed than were sent", [f.part])),
	lib.row(f.recovered, "fail", sprintf("%s did not recover within %s s%s", [f.part, lib.fixed(f.recover_seconds, 2), causes(f)])),
	lib.row(f.recover_seconds <= limits.max_seconds, "fail", sprintf("%s took %s s to recover, at most %v s", [f.part, lib.figure(f.recover_seconds, limits.max_seconds), limits.max_seconds])),
	lib.row(f.recover_seconds > 0, "inconclusive", sprintf("%s: no time is stated", [f.part])),
	lib.row(f.lost <= f.in_flight, "fail", sprintf("%s: %d requests were lost, and %d were in flight%s", [f.part, f.lost, f.in_flight, causes(f)])),
	lib.row(f.refused <= limits.max_refused, "fail", sprintf("%s: %d requests found nobody who listened, at most %d may%s", [f.part, f.refused, limits.max_refused, causes(f)])),
	lib.row(f.instances_after >= f.instances_before, "fail", sprintf("%s: %d of %d instances serve afterwards", [f.part, f.instances_after, f.instances_before])),
	lib.row(f.restarts <= limits.max_restarts, "fail", sprintf("%s: instances were restarted %d times, at most %d", [f.part, f.restarts, limits.max_restarts])),
	lib.row(is_noticed(f), "inconclusive", "no instance was restarted, though one was killed"),
	lib.row(f.requests >= limits.min_requests, "inconclusive", sprintf("%s: %d requests, at least %d", [f.part, f.requests, limits.min_requests])),
]

# METADATA
# title: Instances that answered
# description: at least one request
used(p) := count([n | some n in p.per_instance; n > 0])

# METADATA
# title: Enough was looked for
# description: where nothing writes there is nothing to look for
default is_enough(_) := false

is_enough(w) if {
	w.declared == true
	w.acknowledged >= limits.min_writes
}

is_enough(w) if {
	w.declared == false
	w.other == 0
	w.sent == 0
}

# METADATA
# title: The kill was noticed
# description: a killed instance is one that was restarted
default is_noticed(_) := false

is_noticed(f) if f.part != "instance"

is_noticed(f) if f.restarts >= 1

# METADATA
# title: Writes that add up
# description: what was acknowledged was found, is missing or doubled
default is_counted(_) := false

is_counted(w) if {
	w.acknowledged <= w.sent
	w.found + w.missing <= w.acknowledged
	w.acknowledged <= w.found + (w.missing + w.doubled)
}

# METADATA
# title: Causes of failures
# description: why how many requests failed, if the evidence says so
causes(f) := sprintf(" (%s)", [concat(", ", [sprintf("%s: %v", [why, n]) | some why, n in f.failures])]) if {
	is_object(f.failures)
	count(f.failures) > 0
} else := ""

# METADATA
# title: What was got
# description: each kill with its time, and the writes
got(p) := sprintf("%s; %d of %d acknowledged writes found once", [
	concat(", ", [sprintf("%s back in %s s (lost %d of %d in flight)", [f.part, lib.fixed(f.recover_seconds, 2), f.lost, f.in_flight]) | some f in p.faults]),
	p.writes.found,
	p.writes.acknowledged,
])
