# METADATA
# title: Alerting
# description: alerts within 5 minutes, proactive, incidents
# schemas:
#   - input: schema.input
package gate.readiness.alerting

import data.gate.lib
import data.gate.readiness.runbooks

# METADATA
# title: People are told in time
# description: alerts within 5 minutes, proactive, incidents
# custom:
#   remediation: "look at alerts in the environment's declaration and at gate status; docs/alerts.md says how people are told beyond this machine"
criterion := lib.conclude({
	"id": "alerting",
	"meta": rego.metadata.rule(),
	"weighed": [drills, books],
	"judged": array.concat(
		[judge(r.payload) | some r in drills.admitted],
		[judge_books(r.payload) | some r in books.admitted],
	),
	"want": sprintf("a receipt within %s on every route, a recovery notice, a warning before a folder is full, a heartbeat, a runbook for all that fired", [lib.span(limits.max_seconds)]),
	"next": {"inconclusive": lib.measure("alerting"), "error": lib.measure("alerting")},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.alerting

# METADATA
# title: Evidence on the drill
# description: of check alerting
drills := lib.weighed("alerting", "alerting")

# METADATA
# title: Evidence on runbooks
# description: of check runbooks, which says what has one
books := lib.weighed("alerting", "runbooks")

# METADATA
# title: Shape of the drill
# description: checks.AlertingPayload
shape := {
	"mode": "text",
	"routes": "array",
	"local_only": "flag",
	"receipt": "signed",
	"recovery": "signed",
	"lead": "signed",
	"ramp": "number",
	"heartbeat": "flag",
	"beats": "count",
	"fired": "texts",
	"restored": "flag",
	"queued": "count",
}

# METADATA
# title: Shape of a route
# description: checks.AlertingRoute
route_shape := {"route": "text", "receipt": "signed", "recovery": "signed", "proof": "text", "said": "string"}

# METADATA
# title: Faults of the drill's payload
# description: of its own fields and of every route
payload_faults(p) := lib.faults(p, shape, "payload") | {fault |
	some i, r in p.routes
	some fault in lib.faults(r, route_shape, sprintf("payload.routes[%v]", [i]))
}

# METADATA
# title: Result for one drill
# description: faults of its shape come first
judge(p) := lib.mistyped(payload_faults(p)) if {
	count(payload_faults(p)) > 0
} else := lib.ruled(array.concat(rows(p), fault_rows(p)), got(p), "")

# METADATA
# title: Demands on every drill
# description: told by every route, also that it is over
rows(p) := [
	lib.row(count(p.routes) > 0, "inconclusive", "no route was tried: nobody is told"),
	lib.row(p.mode in modes, "inconclusive", sprintf("the drill made no real fault (mode %q)", [p.mode])),
	lib.row(expected_alert(p) in p.fired, "inconclusive", sprintf("the alert %s did not fire", [expected_alert(p)])),
	lib.row(count(silent(p)) == 0, "fail", sprintf("no receipt by %s", [concat(", ", silent(p))])),
	lib.row(count(late(p)) == 0, "fail", sprintf("the receipt came after more than %s by %s", [lib.span(limits.max_seconds), concat(", ", late(p))])),
	lib.row(slowest(p) == p.receipt, "error", "the drill's receipt is not that of its slowest route"),
	lib.row(count(unrecovered(p)) == 0, "fail", sprintf("no recovery notice within %s by %s", [lib.span(limits.max_recovery_seconds), concat(", ", unrecovered(p))])),
	lib.row(p.restored, "fail", "the service did not answer again after the fault"),
	lib.row(p.queued <= limits.max_queued, "fail", sprintf("%d messages were left undelivered", [p.queued])),
	lib.row(beating(p), "fail", "a heartbeat is declared, and none was taken"),
	lib.row(p.heartbeat, "warn", "no heartbeat is declared: nobody notices when the watch itself ends"),
	lib.row(p.local_only == false, "warn", "only this machine hears of it: declare smtp or webhook below alerts"),
]

# METADATA
# title: Demands on a drill with a real fault
# description: a folder filled up meanwhile, and that was warned of before
fault_rows(p) := [
	lib.row(p.ramp > 0, "inconclusive", "no folder was filled: it is not known whether a warning comes in time"),
	lib.row(p.lead >= (limits.min_lead_share * p.ramp), "fail", sprintf("the warning came %s of %s before the folder was full, at least %s must be left", [lead(p), lib.span(p.ramp), lib.percentage(limits.min_lead_share)])),
] if {
	p.mode == "fault"
} else := []

# METADATA
# title: Modes that prove enough
# description: where people use the service, a test alarm does
modes := {"fault", "test"} if {
	input.stage == "serving"
} else := {"fault"}

# METADATA
# title: Alert that the drill provokes
# description: by its mode
expected_alert(p) := object.get({"fault": "unavailable"}, p.mode, "test")

# METADATA
# title: Routes without a receipt
# description: whatever the sender believes; one of an unknown kind is none
silent(p) := [r.route | some r in p.routes; not received(r)]

# METADATA
# title: Route with a receipt
# description: arrived at the drill itself, or accepted by the last hop with its words
received(r) if {
	r.receipt >= 0
	r.proof in {"arrived", "accepted"}
	r.said != ""
}

# METADATA
# title: Routes that were too slow
# description: from the fault to the receipt
late(p) := [r.route | some r in p.routes; r.receipt > limits.max_seconds]

# METADATA
# title: Slowest route
# description: -1 where there is none or one has no receipt
slowest(p) := max([r.receipt | some r in p.routes]) if {
	every r in p.routes { r.receipt >= 0 }
} else := -1

# METADATA
# title: Routes that did not say in time that it is over
# description: from the end of the fault to the receipt
unrecovered(p) := [r.route | some r in p.routes; not recovered(r)]

# METADATA
# title: Route that said that it is over
# description: in time
recovered(r) if {
	r.recovery >= 0
	r.recovery <= limits.max_recovery_seconds
}

# METADATA
# title: Heartbeat that beats
# description: one that is not declared can't
default beating(_) := false

beating(p) if not p.heartbeat

beating(p) if p.beats >= limits.min_beats

# METADATA
# title: Lead time in words
# description: -1 means that there was no warning
lead(p) := lib.span(p.lead) if {
	p.lead >= 0
} else := "nothing"

# METADATA
# title: What the drill got
# description: until the receipt, until the recovery notice, and how that is known
got(p) := sprintf("told %s after the %s by %s, recovery %s after its end%s", [seconds(p.receipt), p.mode, concat(", ", [sprintf("%s (%s)", [r.route, r.proof]) | some r in p.routes]), seconds(p.recovery), ahead(p)])

# METADATA
# title: Seconds or never
# description: negative means never
seconds(x) := lib.span(x) if {
	x >= 0
} else := "never"

# METADATA
# title: Warning ahead in words
# description: nothing without a ramp
ahead(p) := sprintf(", warned %s before the folder was full", [lead(p)]) if {
	p.mode == "fault"
} else := ""

# METADATA
# title: Result for one reading of the runbooks
# description: whatever fired in an admitted drill must have one; the criterion runbooks knows what they look like
judge_books(p) := lib.mistyped(runbooks.payload_faults(p)) if {
	count(runbooks.payload_faults(p)) > 0
} else := lib.ruled(
	[lib.row(count(bare(p)) == 0, "fail", sprintf("no runbook for %s, which fired", [concat(", ", bare(p))]))],
	"", "",
)

# METADATA
# title: Alerts that fired and have no runbook
# description: one that nobody knows of has none
bare(p) := sort({a |
	some r in drills.admitted
	is_array(r.payload.fired)
	some a in r.payload.fired
	not covered(p, a)
})

# METADATA
# title: Alert with a runbook
# description: known, not missing, and there with at least one step
covered(p, alert) if {
	alert in p.alerts
	not alert in p.missing
	some b in p.runbooks
	b.alert == alert
	b.steps > 0
}
