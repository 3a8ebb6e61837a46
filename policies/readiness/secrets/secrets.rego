# METADATA
# title: Secrets
# description: Secrets Manager, no hardcoded values
# schemas:
#   - input: schema.input
package gate.readiness.secrets

import data.gate.lib

# METADATA
# title: No secret in plain text
# description: Secrets Manager, no hardcoded values
# custom:
#   remediation: "rotate what was found and take it away where it stands; mend the source of what does not resolve; then measure again with --fresh"
criterion := lib.conclude({
	"id": "secrets",
	"meta": rego.metadata.rule(),
	"weighed": [evidence, leaks],
	"judged": array.concat(
		[judge(r.payload) | some r in evidence.admitted],
		[judge_leaks(r.payload) | some r in leaks.admitted],
	),
	"want": sprintf("at most %d secrets in plain text, %d unresolved", [limits.max_found, limits.max_unresolved]),
	"next": {"inconclusive": again, "error": again},
})

# METADATA
# title: Commands that measure again
# description: both checks, since one command brings both up to date
again := sprintf("%s --check leaks", [lib.measure("secrets")])

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.secrets

# METADATA
# title: Evidence on the environment
# description: of check secrets
evidence := lib.weighed("secrets", "secrets")

# METADATA
# title: Evidence on the commit
# description: of check leaks
leaks := lib.weighed("secrets", "leaks")

# METADATA
# title: Places that must have been searched
# description: each kind of them
kinds := {"source", "image", "environment", "arguments", "logs", "ledger"}

# METADATA
# title: Shape of the payload
# description: checks.SecretsPayload
shape := {"secrets": "array", "unresolved": "count", "known": "count", "places": "array", "found": "count", "findings": "findings"}

# METADATA
# title: Shape of a declared secret
# description: checks.SecretState
state_shape := {"name": "text", "source": "text", "resolved": "flag"}

# METADATA
# title: Shape of a kind of place
# description: checks.SecretsPlace
place_shape := {"kind": "text", "items": "count", "bytes": "count"}

# METADATA
# title: Shape of the search of the commit
# description: checks.LeaksPayload
leaks_shape := {"files": "count", "secrets": "count", "findings": "findings"}

# METADATA
# title: Faults of a payload
# description: of itself, of each secret and of each place
faults(p) := (lib.faults(p, shape, "payload") | {fault |
	some s in p.secrets
	some fault in lib.faults(s, state_shape, "secret")
}) | {fault |
	some x in p.places
	some fault in lib.faults(x, place_shape, "place")
}

# METADATA
# title: Result for the environment
# description: faults of its shape come first
judge(p) := lib.mistyped(faults(p)) if {
	count(faults(p)) > 0
} else := lib.ruled(rows(p), got(p), "")

# METADATA
# title: Result for the commit
# description: faults of its shape come first
judge_leaks(p) := lib.mistyped(lib.faults(p, leaks_shape, "leaks payload")) if {
	count(lib.faults(p, leaks_shape, "leaks payload")) > 0
} else := lib.ruled(leaks_rows(p), sprintf("%d in %d files of the commit", [p.secrets, p.files]), "")

# METADATA
# title: Demands on an environment
# description: all resolve, none in plain text, and every kind of place was searched
rows(p) := array.concat(
	[
		lib.row(p.found <= limits.max_found, "fail", lib.with_findings(sprintf("%d secrets in plain text, at most %d may be", [p.found, limits.max_found]), lib.findings(p))),
		lib.row(p.found == count(lib.findings(p)), "error", sprintf("%d findings are counted and %d are named", [p.found, count(lib.findings(p))])),
		lib.row(p.unresolved <= limits.max_unresolved, "fail", sprintf("%d declared secrets can't be read, at most %d may%s", [p.unresolved, limits.max_unresolved, lost(p)])),
		lib.row(p.unresolved == count(unresolved(p)), "error", sprintf("%d unresolved secrets are counted and %d are named", [p.unresolved, count(unresolved(p))])),
		lib.row(p.known >= limits.min_known, "inconclusive", sprintf("%d values were searched for, at least %d", [p.known, limits.min_known])),
	],
	[lib.row(is_searched(p, kind), "inconclusive", sprintf("nothing was searched of the kind %s", [kind])) | some kind in sort(kinds)],
)

# METADATA
# title: Demands on the commit
# description: a search that read nothing found nothing
leaks_rows(p) := [
	lib.row(p.secrets <= limits.max_found, "fail", lib.with_findings(sprintf("%d secrets in the commit, at most %d may be", [p.secrets, limits.max_found]), lib.findings(p))),
	lib.row(p.files > 0, "inconclusive", "the search of the commit read no file"),
]

# METADATA
# title: Kind of place that was searched
# description: something of it, and not only empty things
default is_searched(_, _) := false

is_searched(p, kind) if {
	some x in p.places
	x.kind == kind
	x.items > 0
	x.bytes > 0
}

# METADATA
# title: Secrets that are not resolved
# description: by what the payload says of each
unresolved(p) := [s | some s in p.secrets; s.resolved != true]

# METADATA
# title: Names of secrets that are not resolved
# description: with why, where the payload says it
lost(p) := sprintf(": %s", [concat(", ", [sprintf("%s (%v)", [s.name, object.get(s, "problem", "no reason given")]) | some s in unresolved(p)])]) if {
	count(unresolved(p)) > 0
} else := ""

# METADATA
# title: What was got
# description: findings, and what was searched for and where
got(p) := sprintf(
	"%d found of %d values in %d places; %d of %d declared secrets resolved",
	[p.found, p.known, sum([x.items | some x in p.places]), count(p.secrets) - count(unresolved(p)), count(p.secrets)],
)
