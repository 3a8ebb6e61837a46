# METADATA
# title: Automated tests
# description: automated testing on every commit
# schemas:
#   - input: schema.input
package gate.readiness.tests

import data.gate.lib

# METADATA
# title: Automated tests
# description: automated testing on every commit
# custom:
#   remediation: "mend the failing tests and commit; to see them: gate test"
criterion := lib.conclude({
	"id": "tests",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf("at most %d failed, at least %d passed", [limits.max_failed, limits.min_passed]),
	"next": {"inconclusive": lib.measure("tests"), "error": lib.measure("tests")},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.tests

# METADATA
# title: Evidence
# description: of check tests
evidence := lib.weighed("tests", "tests")

# METADATA
# title: Shape of the payload
# description: checks.TestsPayload
shape := {
	"exit_code": "signed",
	"passed": "count",
	"failed": "count",
	"skipped": "count",
	"findings": "findings",
}

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(lib.faults(p, shape, "payload")) if {
	count(lib.faults(p, shape, "payload")) > 0
} else := lib.ruled(rows(p), got(p), "")

# METADATA
# title: Demands on a test run
# description: failures fail, a run in which nothing passed shows nothing
rows(p) := [
	lib.row(p.failed <= limits.max_failed, "fail", lib.with_findings(sprintf("%d failed, at most %d may", [p.failed, limits.max_failed]), lib.findings(p))),
	lib.row(is_explained(p), "fail", sprintf("the test command ended with exit code %v though no test failed", [p.exit_code])),
	lib.row(p.passed >= limits.min_passed, "inconclusive", sprintf("%d passed, at least %d must", [p.passed, limits.min_passed])),
]

# METADATA
# title: Exit code is explained
# description: by success, or by failures that were counted
default is_explained(_) := false

is_explained(p) if p.exit_code == 0

is_explained(p) if p.failed > 0

# METADATA
# title: What was got
# description: skipped tests are always stated
got(p) := sprintf("%d passed, %d failed, %d skipped", [p.passed, p.failed, p.skipped])
