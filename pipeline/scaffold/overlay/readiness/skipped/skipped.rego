# METADATA
# title: Skipped tests
# description: an example of a criterion of your own
# schemas:
#   - input: schema.input
package gate.readiness.skipped

import data.gate.lib

# METADATA
# title: Skipped tests
# description: a test that is skipped in the pipeline is run nowhere
# custom:
#   remediation: "let the skipped tests run, or delete them; to see them: gate test"
criterion := lib.conclude({
	"id": "skipped",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf("at most %d tests skipped", [max_skipped]),
	"next": {"inconclusive": lib.measure("tests"), "error": lib.measure("tests")},
})

# METADATA
# title: Limit
# description: tests that may be skipped; more of them warn
max_skipped := 0

# METADATA
# title: Evidence
# description: of check tests, as fresh as the criterion tests wants it
evidence := lib.weighed("tests", "tests")

# METADATA
# title: Shape of what is read
# description: anything else is an error, never a pass
shape := {"passed": "count", "skipped": "count"}

# METADATA
# title: Result for one run of the tests
# description: faults of its shape come first
judge(p) := lib.mistyped(lib.faults(p, shape, "payload")) if {
	count(lib.faults(p, shape, "payload")) > 0
} else := lib.ruled(rows(p), sprintf("%d skipped, %d passed", [p.skipped, p.passed]), "")

# METADATA
# title: Demands
# description: skipped tests warn; to have them stop a release, write fail
rows(p) := [lib.row(p.skipped <= max_skipped, "warn", sprintf("%d tests were skipped, at most %d may be", [p.skipped, max_skipped]))]
