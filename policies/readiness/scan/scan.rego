# METADATA
# title: Security scanning
# description: security scanning in CI
# schemas:
#   - input: schema.input
package gate.readiness.scan

import data.gate.lib

# METADATA
# title: Security scanning
# description: security scanning in CI
# custom:
#   remediation: "mend what is found and commit; to see all of it: gate scan"
criterion := lib.conclude({
	"id": "scan",
	"meta": rego.metadata.rule(),
	"weighed": [code, leaks],
	"judged": array.concat(
		[judge(r.payload) | some r in code.admitted],
		[judge_leaks(r.payload) | some r in leaks.admitted],
	),
	"want": sprintf(
		"at most %d secrets, %d reachable vulnerabilities, %d high findings; database younger than %s",
		[limits.max_secrets, limits.max_reachable, limits.max_high, lib.span(limits.warn_database_age_seconds)],
	),
	"next": {"inconclusive": again, "error": again, "warn": again},
})

# METADATA
# title: Commands that measure again
# description: both checks, since one command brings both up to date
again := sprintf("%s --check leaks", [lib.measure("scan")])

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.scan

# METADATA
# title: Evidence on the code
# description: of check scan
code := lib.weighed("scan", "scan")

# METADATA
# title: Evidence on secrets
# description: of check leaks
leaks := lib.weighed("scan", "leaks")

# METADATA
# title: Shape of the code scan
# description: checks.ScanPayload
shape := {
	"database_date": "string",
	"files": "count",
	"modules": "count",
	"high": "count",
	"medium": "count",
	"low": "count",
	"reachable_vulns": "count",
	"imported_vulns": "count",
	"findings": "findings",
}

# METADATA
# title: Shape of the search for secrets
# description: checks.LeaksPayload
leaks_shape := {"files": "count", "secrets": "count", "findings": "findings"}

# METADATA
# title: Result of a code scan
# description: faults of its shape come first
judge(p) := lib.mistyped(lib.faults(p, shape, "scan payload")) if {
	count(lib.faults(p, shape, "scan payload")) > 0
} else := lib.ruled(array.concat(rows(p), database_rows(p)), got(p), "")

# METADATA
# title: Result of a search for secrets
# description: faults of its shape come first
judge_leaks(p) := lib.mistyped(lib.faults(p, leaks_shape, "leaks payload")) if {
	count(lib.faults(p, leaks_shape, "leaks payload")) > 0
} else := lib.ruled(leaks_rows(p), sprintf("%d secrets in %d files", [p.secrets, p.files]), "")

# METADATA
# title: Demands on a code scan
# description: a scan that read nothing found nothing
rows(p) := [
	lib.row(p.reachable_vulns <= limits.max_reachable, "fail", lib.with_findings(sprintf("%d reachable vulnerabilities, at most %d may be", [p.reachable_vulns, limits.max_reachable]), lib.findings(p))),
	lib.row(p.high <= limits.max_high, "fail", lib.with_findings(sprintf("%d findings of high severity, at most %d may be", [p.high, limits.max_high]), severe(p))),
	lib.row(p.files > 0, "inconclusive", "the scan read no file"),
	lib.row(p.modules > 0, "inconclusive", "the scan looked at no module"),
]

# METADATA
# title: Demands on a search for secrets
# description: a search that read nothing found nothing
leaks_rows(p) := [
	lib.row(p.secrets <= limits.max_secrets, "fail", lib.with_findings(sprintf("%d secrets, at most %d may be", [p.secrets, limits.max_secrets]), lib.findings(p))),
	lib.row(p.files > 0, "inconclusive", "the search for secrets read no file"),
]

# METADATA
# title: Demands on the vulnerability database
# description: an unknown date proves nothing, an old one warns first
database_rows(p) := [
	lib.row(age <= limits.max_database_age_seconds, "inconclusive", sprintf("the vulnerability database is %s old, at most %s", [lib.span(age), lib.span(limits.max_database_age_seconds)])), lib.row(age <= limits.warn_database_age_seconds, "warn", sprintf("the vulnerability database is %s old", [lib.span(age)])), lib.row(age >= (0 - lib.tolerance_seconds), "inconclusive", "the vulnerability database is dated in the future"),
] if {
	age := database_age(p)
} else := [lib.row(false, "inconclusive", "the date of the vulnerability database is unknown")]

# METADATA
# title: Age of the vulnerability database
# description: in seconds at the decision's clock; undefined for Go's zero time and anything unreadable
database_age(p) := (time.parse_rfc3339_ns(input.at) - time.parse_rfc3339_ns(p.database_date)) / 1000000000

# METADATA
# title: Findings of high severity
# description: those that count against max_high
severe(p) := [f | some f in lib.findings(p); f.severity == "high"]

# METADATA
# title: What was got
# description: medium and low findings are stated, though nothing is demanded of them
got(p) := sprintf(
	"%d reachable and %d unreachable vulnerabilities, %d high, %d medium and %d low findings in %d files and %d modules; database of %s",
	[p.reachable_vulns, p.imported_vulns, p.high, p.medium, p.low, p.files, p.modules, day(p)],
)

# METADATA
# title: Day of the database
# description: unknown where it cannot be read
day(p) := substring(p.database_date, 0, 10) if {
	database_age(p)
} else := "unknown date"
