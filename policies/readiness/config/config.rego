# METADATA
# title: Configuration
# description: environment-specific, easy switching
# schemas:
#   - input: schema.input
package gate.readiness.config

import data.gate.lib

# METADATA
# title: Configuration of each environment
# description: environment-specific, easy switching
# custom:
#   remediation: "mend what is found in environments/ and commit; to see all of it: gate env validate"
criterion := lib.conclude({
	"id": "config",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf("%s validated, at most %d high findings", [input.environment, limits.max_high]),
	"next": {"inconclusive": lib.measure("config"), "error": lib.measure("config")},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.config

# METADATA
# title: Evidence
# description: of check config
evidence := lib.weighed("config", "config")

# METADATA
# title: Shape of the payload
# description: checks.ConfigPayload
shape := {"environments": "texts", "values": "count", "findings": "findings"}

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(lib.faults(p, shape, "payload")) if {
	count(lib.faults(p, shape, "payload")) > 0
} else := lib.ruled(rows(p), got(p), "")

# METADATA
# title: Demands on the configuration
# description: high findings fail, medium ones warn, and this environment must be among what was looked at
rows(p) := [
	lib.row(count(of(p, "high")) <= limits.max_high, "fail", lib.with_findings(sprintf("%d findings of high severity, at most %d may be", [count(of(p, "high")), limits.max_high]), of(p, "high"))),
	lib.row(count(of(p, "medium")) <= limits.max_medium, "warn", lib.with_findings(sprintf("%d findings of medium severity", [count(of(p, "medium"))]), of(p, "medium"))),
	lib.row(input.environment in p.environments, "inconclusive", sprintf("environment %s was not validated", [input.environment])),
	lib.row(p.values >= limits.min_values, "inconclusive", sprintf("%d configuration values, at least %d", [p.values, limits.min_values])),
]

# METADATA
# title: Findings of a severity
# description: empty where there are none
of(p, severity) := [f | some f in lib.findings(p); f.severity == severity]

# METADATA
# title: What was got
# description: findings by severity, and in how much
got(p) := sprintf("%d high, %d medium, %d low findings in %d values of %d environments", [
	count(of(p, "high")),
	count(of(p, "medium")),
	count(of(p, "low")),
	p.values,
	count(p.environments),
])
