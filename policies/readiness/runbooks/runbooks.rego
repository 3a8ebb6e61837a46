# METADATA
# title: Runbooks
# description: incident response documented
# schemas:
#   - input: schema.input
package gate.readiness.runbooks

import data.gate.lib

# METADATA
# title: Every alert has a runbook
# description: incident response documented
# custom:
#   remediation: "write or review what is named below runbooks in app.yaml, and commit; docs/alerts.md says what a runbook holds"
criterion := lib.conclude({
	"id": "runbooks",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": "for every alert a runbook with owner, severity, steps and a review date to come; a procedure for incidents; a template for afterwards",
	"next": {"inconclusive": lib.measure("runbooks"), "error": lib.measure("runbooks")},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.runbooks

# METADATA
# title: Evidence
# description: of check runbooks
evidence := lib.weighed("runbooks", "runbooks")

# METADATA
# title: Shape of the payload
# description: checks.RunbooksPayload
shape := {
	"folder": "text",
	"alerts": "texts",
	"runbooks": "array",
	"missing": "texts",
	"incident.present": "flag",
	"incident.missing": "texts",
	"template": "flag",
	"findings": "findings",
}

# METADATA
# title: Shape of a runbook
# description: checks.Runbook
book_shape := {"alert": "string", "file": "text", "owner": "string", "severity": "string", "review": "string", "steps": "count"}

# METADATA
# title: Faults of the payload
# description: of its own fields and of every runbook
payload_faults(p) := lib.faults(p, shape, "payload") | {fault |
	some i, b in p.runbooks
	some fault in lib.faults(b, book_shape, sprintf("payload.runbooks[%v]", [i]))
}

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(payload_faults(p)) if {
	count(payload_faults(p)) > 0
} else := lib.ruled(rows(p), got(p), "")

# METADATA
# title: Demands on runbooks
# description: complete, owned, usable, and looked at
rows(p) := [
	lib.row(count(p.alerts) >= limits.min_alerts, "inconclusive", sprintf("%d alerts are known, at least %d", [count(p.alerts), limits.min_alerts])),
	lib.row(count(unwritten(p)) == 0, "fail", sprintf("no runbook for %s", [concat(", ", unwritten(p))])),
	lib.row(count(poor(p)) == 0, "fail", lib.with_findings(sprintf("owner, severity or steps are missing in %s", [concat(", ", poor(p))]), lib.findings(p))),
	lib.row(count(undated(p)) == 0, "fail", sprintf("no review date in %s", [concat(", ", undated(p))])),
	lib.row(count(stale(p)) == 0, "fail", sprintf("the review date has passed in %s", [concat(", ", stale(p))])),
	lib.row(p.incident.present, "fail", "there is no procedure for incidents"),
	lib.row(count(p.incident.missing) == 0, "fail", sprintf("the procedure for incidents says nothing of %s", [concat(", ", p.incident.missing)])),
	lib.row(p.template, "warn", "there is no template for what is written after an incident"),
]

# METADATA
# title: Alerts without a runbook
# description: by the runbooks that there are, whatever the payload says is missing
unwritten(p) := sort({a | some a in p.alerts; not a in {b.alert | some b in p.runbooks}} | {a | some a in p.missing})

# METADATA
# title: Runbooks that lack something
# description: owner, severity, steps
poor(p) := sort([b.file | some b in p.runbooks; not usable(b)])

# METADATA
# title: Runbook that can be used
# description: somebody keeps it right, and it says what to do
usable(b) if {
	b.owner != ""
	b.severity in {"page", "ticket"}
	b.steps >= limits.min_steps
}

# METADATA
# title: Runbooks without a review date
# description: one that is no day
undated(p) := sort([b.file | some b in p.runbooks; not until(b)])

# METADATA
# title: End of the review date
# description: in nanoseconds; the whole day counts; none where it is no day
until(b) := time.parse_ns("2006-01-02", b.review) + 86400000000000

# METADATA
# title: Runbooks whose review date has passed
# description: by the clock of the input
stale(p) := sort([b.file | some b in p.runbooks; time.parse_rfc3339_ns(input.at) > until(b)])

# METADATA
# title: What was got
# description: how many, and until when the first is right
got(p) := sprintf("%d runbooks for %d alerts, procedure for incidents %s", [count(p.runbooks), count(p.alerts), object.get({true: "there"}, p.incident.present, "missing")])
