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
import data.gate.readiness.backup
import data.gate.readiness.canary
import data.gate.readiness.change
import data.gate.readiness.config
import data.gate.readiness.load
import data.gate.readiness.migration
import data.gate.readiness.network
import data.gate.readiness.restart
import data.gate.readiness.rollback
import data.gate.readiness.runbooks
import data.gate.readiness.scaling
import data.gate.readiness.scan
import data.gate.readiness.secrets
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
	"readiness": ["source", "tests", "scan", "config", "runbooks", "load", "update", "rollback", "restart", "scaling", "migration", "backup", "alerting", "tls", "network", "secrets"],
	"promotion": ["source", "tests", "scan", "config", "runbooks", "load", "update", "rollback", "restart", "scaling", "migration", "backup", "alerting", "tls", "network", "secrets"],
	"serving": ["source", "tests", "scan", "config", "runbooks", "load", "update", "backup", "alerting", "uptime", "tls", "network", "secrets"],
	"canary": ["canary"],
	"change": ["source", "change", "tests", "scan", "config", "runbooks", "load", "update", "rollback", "restart", "scaling", "migration", "backup", "alerting", "tls", "network", "secrets"],
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

found["rollback"] := rollback.criterion

found["restart"] := restart.criterion

found["scaling"] := scaling.criterion

found["migration"] := migration.criterion

found["backup"] := backup.criterion

found["alerting"] := alerting.criterion

found["uptime"] := uptime.criterion

found["tls"] := tls.criterion

found["network"] := network.criterion

found["secrets"] := secrets.criterion

found["canary"] := canary.criterion

# METADATA
# title: The decision
# description: error unless every required criterion is there and says otherwise
default decision := {"verdict": "error", "criteria": []}

decision := {"verdict": verdict, "criteria": criteria} if {
	ids := array.concat(required[input.stage], added)
	criteria := [c | some id in ids; c := with_waivers(judged(id))]
	count(criteria) == count(ids)
	verdict := lib.worst([c.verdict | some c in criteria])
}

# METADATA
# title: Criteria of the repository's own
# description: that its criteria.yaml requires at this stage
default added := []

added := data.extra[input.stage]

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

# METADATA
# title: Criterion with what is waived of it
# description: >-
#   A waiver in force makes a warning of fail and inconclusive. An expired one
#   is said as long as its file is there, and excuses nothing. An error is never
#   waived: nobody knows what was accepted.
with_waivers(c) := noted(c, "warn", w, "waived by %s until %s: %s (environments/waivers/%s.yaml); without it %s: %s") if {
	c.verdict in {"fail", "inconclusive"}
	w := waivers(c.id, "in force")[0]
} else := noted(c, "fail", w, "the waiver by %s has expired on %s: %s; renew environments/waivers/%s.yaml by review or mend it; without it %s: %s") if {
	c.verdict in {"fail", "inconclusive"}
	w := waivers(c.id, "expired")[0]
} else := noted(c, "warn", w, "the waiver by %s has expired on %s: %s; remove environments/waivers/%s.yaml; without it %s: %s") if {
	c.verdict in {"pass", "warn"}
	w := waivers(c.id, "expired")[0]
} else := c

# METADATA
# title: Criterion with a note on a waiver
# description: the verdict that there would be without it is said
noted(c, verdict, w, words) := object.union(c, {
	"verdict": verdict,
	"waiver": w.name,
	"why": sprintf(words, [w.author, substring(w.until, 0, 10), w.reason, w.name, c.verdict, c.why]),
})

# METADATA
# title: Waivers of a criterion in this environment
# description: by name; state is in force or expired
waivers(id, state) := [] if {
	is_firm(id)
} else := [w |
	some w in object.get(input, "waivers", [])
	w.criterion == id
	w.environment == input.environment
	state_of(w) == state
]

# METADATA
# title: State of a waiver
# description: neither where it begins later, or was to hold for more than thirty days
state_of(w) := "expired" if {
	age(w.until) >= 0
} else := "in force" if {
	age(w.since) >= 0
	age(w.since) - age(w.until) <= longest_waiver
}

# METADATA
# title: Longest waiver
# description: thirty days in nanoseconds
longest_waiver := 2592000000000000

# METADATA
# title: Time since a moment
# description: in nanoseconds, by the decision's clock
age(moment) := time.parse_rfc3339_ns(input.at) - time.parse_rfc3339_ns(moment)

# METADATA
# title: Criterion that nobody can waive
# description: environments.Firm says the same where the files are read
is_firm(id) if id in {"canary", "change", "secrets", "source", "tls"}

is_firm("backup") if input.stage in {"promotion", "serving"}
