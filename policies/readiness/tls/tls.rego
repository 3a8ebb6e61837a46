# METADATA
# title: TLS
# description: valid certificates
# schemas:
#   - input: schema.input
package gate.readiness.tls

import data.gate.lib

# METADATA
# title: Valid certificate
# description: valid certificates
# custom:
#   remediation: "look at tls in the environment's declaration; gate serve renews its own certificates when it starts"
criterion := lib.conclude({
	"id": "tls",
	"meta": rego.metadata.rule(),
	"weighed": [evidence],
	"judged": [judge(r.payload) | some r in evidence.admitted],
	"want": sprintf("chain and name valid, ≥ TLS 1.2, more than %v days left, %s trust", [limits.min_days_left, trust]),
	"next": {"inconclusive": lib.measure("tls"), "error": lib.measure("tls")},
})

# METADATA
# title: Thresholds
# description: of this criterion, in this environment
limits := input.thresholds.tls

# METADATA
# title: Evidence
# description: of check tls
evidence := lib.weighed("tls", "tls")

# METADATA
# title: Declared trust
# description: private or public, as the expectation says
trust := input.expected.tls.trust if {
	input.expected.tls.trust in {"private", "public"}
} else := "undeclared"

# METADATA
# title: Ranks of protocol versions
# description: what is not listed is not known, and so no proof
ranks := {"SSL 3.0": 0, "TLS 1.0": 10, "TLS 1.1": 11, "TLS 1.2": 12, "TLS 1.3": 13}

# METADATA
# title: Shape of the payload
# description: checks.TLSPayload
shape := {
	"version": "text",
	"min_version": "text",
	"chain_valid": "flag",
	"name_valid": "flag",
	"private_trust": "flag",
	"not_after": "time",
}

# METADATA
# title: Result for one payload
# description: faults of its shape come first
judge(p) := lib.mistyped(lib.faults(p, shape, "payload")) if {
	count(lib.faults(p, shape, "payload")) > 0
} else := lib.ruled(rows(p), got(p), note(p))

# METADATA
# title: Demands on a handshake
# description: each of its own, so that every problem is named at once
rows(p) := [
	lib.row(p.chain_valid == true, "fail", sprintf("the chain is not valid%s", [problem(p)])),
	lib.row(p.name_valid == true, "fail", sprintf("the certificate is not for this name%s", [problem(p)])),
	lib.row(trust != "undeclared", "error", "expected.tls.trust says neither private nor public"),
	lib.row(is_accepted(p), "fail", "the certificate is gate's own, but trust: private is not declared"),
	lib.row(rank(p.version) >= 0, "error", sprintf("TLS version %q is not known", [p.version])),
	lib.row(rank(p.min_version) >= 0, "error", sprintf("TLS version %q is not known", [p.min_version])),
	lib.row(is_modern(p.version), "fail", sprintf("%s was spoken, must be at least TLS 1.2", [p.version])),
	lib.row(is_modern(p.min_version), "fail", sprintf("%s is accepted, must be at least TLS 1.2", [p.min_version])),
	lib.row(days_left(p) > limits.min_days_left, "fail", sprintf("%s days left, must be more than %v", [lib.figure(days_left(p), limits.min_days_left), limits.min_days_left])),
]

# METADATA
# title: Certificate is accepted
# description: by the system's roots, or by a declared authority of gate's own
default is_accepted(_) := false

is_accepted(p) if p.private_trust == false

is_accepted(p) if {
	p.private_trust == true
	trust == "private"
}

# METADATA
# title: Rank of a version
# description: -1 for one that is not known
rank(version) := object.get(ranks, version, -1)

# METADATA
# title: Version that is new enough
# description: one that is not known is an error of its own, not a failure
default is_modern(_) := false

is_modern(version) if rank(version) >= ranks["TLS 1.2"]

is_modern(version) if rank(version) < 0

# METADATA
# title: Days until the certificate ends
# description: by the decision's clock
days_left(p) := (time.parse_rfc3339_ns(p.not_after) - time.parse_rfc3339_ns(input.at)) / 86400000000000

# METADATA
# title: Problem that the check saw
# description: empty where it saw none
problem(p) := sprintf(": %s", [p.problem]) if {
	p.problem != ""
} else := ""

# METADATA
# title: Note on trust
# description: a private authority is said aloud
note(p) := "verified against gate's own authority, as declared" if {
	p.private_trust == true
} else := ""

# METADATA
# title: What was got
# description: version, oldest version accepted, days left
got(p) := sprintf("%s (oldest accepted %s), %s days left", [p.version, p.min_version, lib.figure(days_left(p), limits.min_days_left)])
