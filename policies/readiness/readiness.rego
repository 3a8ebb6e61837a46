# METADATA
# title: Is the release ready?
# description: >-
#   One decision over the criteria that the stage requires. A criterion that is
#   required and yields nothing is an error, never skipped.
# schemas:
#   - input: schema.input
package gate.readiness

import data.gate.lib
import data.gate.readiness.alerting
import data.gate.readiness.canary
import data.gate.readiness.change
import data.gate.readiness.config
import data.gate.readiness.load
import data.gate.readiness.runbooks
import data.gate.readiness.scan
import data.gate.readiness.source
import data.gate.readiness.tests
import data.gate.readiness.tls
import data.gate.readiness.update
import data.gate.readiness.uptime

# METADATA
# title: Criteria of each stage
# description: in the order in which they are reported, cheapest to mend first
required := {
	"admission": ["source", "tests", "scan", "config", "runbooks"],
	"readiness": ["source", "tests", "scan", "config", "runbooks", "load", "update", "tls", "alerting"],
	"promotion": ["source", "tests", "scan", "config", "runbooks", "load", "update", "tls", "alerting"],
	"serving": ["source", "tests", "scan", "config", "runbooks", "load", "update", "tls", "alerting", "uptime"],
	"canary": ["canary"],
	"change": ["source", "change", "tests", "scan", "config", "runbooks", "load", "update", "tls", "alerting"],
}

# METADATA
# title: Criteria that exist
# description: a new criterion is one more line here, in required and in thresholds.yaml
found["source"] := source.criterion

found["change"] := change.criterion

found["tests"] := tests.criterion

found["scan"] := scan.criterion

found["config"] := config.criterion

found["runbooks"] := runbooks.criterion

found["load"] := load.criterion

found["update"] := update.criterion

found["tls"] := tls.criterion

found["alerting"] := alerting.criterion

found["uptime"] := uptime.criterion

found["canary"] := canary.criterion

# METADATA
# title: The decision
# description: error unless every required criterion is there and says otherwise
default decision := {"verdict": "error", "criteria": []}

decision := {"verdict": verdict, "criteria": criteria} if {
	ids := required[input.stage]
	criteria := [c | some id in ids; c := judged(id)]
	count(criteria) == count(ids)
	verdict := lib.worst([c.verdict | some c in criteria])
}

# METADATA
# title: One criterion of the decision
# description: faults of the input or its thresholds come before any judgement
judged(id) := broken(id, concat("; ", sort(obstacles(id)))) if {
	count(obstacles(id)) > 0
} else := found[id] if {
	lib.is_criterion(found[id])
} else := broken(id, "the policy yields no verdict for this criterion")

# METADATA
# title: What stands in the way of any judgement
# description: of the input as a whole, or of the criterion's thresholds
obstacles(id) := lib.input_faults | lib.limit_faults(id)

# METADATA
# title: Criterion that could not be evaluated
# description: always error
broken(id, why) := {
	"id": id,
	"title": id,
	"verdict": "error",
	"got": "not evaluated",
	"want": "an evaluation",
	"why": why,
	"next": "mend what is named, then decide again; gate doctor looks at the installation",
	"evidence": [],
}
