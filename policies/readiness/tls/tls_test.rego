package gate.readiness.tls_test

import data.gate.fixtures

with_payload(changes) := fixtures.payload("tls", "tls", changes)

declared(trust, changes) := fixtures.judged(
	json.patch(
		fixtures.spoiled("tls", "tls", [{"op": "add", "path": sprintf("/payload/%s", [c[0]]), "value": c[1]} | some c in changes]),
		[{"op": "add", "path": "/expected/tls/trust", "value": trust}],
	),
	"tls",
)

test_a_valid_certificate_passes if {
	c := with_payload([])
	c.verdict == "pass"
	c.got == "TLS 1.3 (oldest accepted TLS 1.2), 59 days left"
	c.why == "verified against gate's own authority, as declared"
}

test_a_public_certificate_passes_without_a_note if {
	c := declared("public", [["private_trust", false]])
	c.verdict == "pass"
	c.why == ""
	declared("private", [["private_trust", false]]).verdict == "pass"
}

test_a_private_authority_fails_where_it_is_not_declared if {
	c := declared("public", [])
	c.verdict == "fail"
	contains(c.why, "trust: private is not declared")
}

test_trust_that_is_not_declared_is_never_a_pass if {
	declared("", [["private_trust", false]]).verdict == "error"
	declared("anything", [["private_trust", false]]).verdict == "error"
	declared(null, [["private_trust", false]]).verdict == "error"
}

test_an_invalid_chain_or_name_fails_with_the_problem if {
	c := with_payload([["chain_valid", false], ["problem", "unknown authority"]])
	c.verdict == "fail"
	contains(c.why, "unknown authority")
	with_payload([["name_valid", false]]).verdict == "fail"
}

test_an_old_protocol_fails if {
	with_payload([["min_version", "TLS 1.1"]]).verdict == "fail"
	with_payload([["version", "TLS 1.0"], ["min_version", "TLS 1.0"]]).verdict == "fail"
}

test_an_unknown_protocol_is_an_error if {
	with_payload([["min_version", "TLS 9"]]).verdict == "error"
	with_payload([["version", "tls 1.3"]]).verdict == "error"
}

test_exactly_fourteen_days_left_fail_and_a_moment_more_passes if {
	at_limit := with_payload([["not_after", "2026-01-22T00:00:00Z"]])
	at_limit.verdict == "fail"
	contains(at_limit.why, "14 days left, must be more than 14")
	over := with_payload([["not_after", "2026-01-22T00:00:01Z"]])
	over.verdict == "pass"
	contains(over.got, "14.000012 days left")
}

test_an_expired_certificate_fails if with_payload([["not_after", "2025-12-31T00:00:00Z"]]).verdict == "fail"

test_absent_facts_are_errors if {
	every path in ["version", "min_version", "chain_valid", "name_valid", "private_trust", "not_after"] {
		fixtures.without("tls", "tls", sprintf("/payload/%s", [path])).verdict == "error"
	}
}

test_mistyped_facts_are_errors if {
	with_payload([["chain_valid", "true"]]).verdict == "error"
	with_payload([["name_valid", 1]]).verdict == "error"
	with_payload([["not_after", "soon"]]).verdict == "error"
}

test_trust_that_is_not_declared_is_named if contains(declared("", []).why, "neither private nor public")

test_the_oldest_protocol_is_known_and_fails if {
	every name in ["version", "min_version"] {
		c := with_payload([[name, "SSL 3.0"]])
		c.verdict == "fail"
		not contains(c.why, "not known")
	}
}

test_an_old_protocol_that_was_spoken_fails_whatever_else_is_accepted if {
	c := with_payload([["version", "TLS 1.1"]])
	c.verdict == "fail"
	contains(c.why, "TLS 1.1 was spoken")
}
