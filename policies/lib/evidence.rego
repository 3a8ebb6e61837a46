# METADATA
# title: Which evidence counts
# description: >-
#   Exactly what input.expected names, completed, trusted, of the base, fresh.
#   What does not count is refused with a reason, never dropped.
# schemas:
#   - input: schema.input
package gate.lib

# METADATA
# title: Clock tolerance
# description: seconds that a measurement may seem to end in the future
tolerance_seconds := 5

# METADATA
# title: Faults of the input itself
# description: with any of them no criterion can hold
input_faults := faults(
	input, {
		"at": "time",
		"stage": "text",
		"environment": "text",
		"release": "digest",
		"bootstrap": "flag",
		"dirty": "flag",
		"expected": "object",
		"thresholds": "object",
		"evidence": "array",
	},
	"input",
)

# METADATA
# title: Faults of a criterion's thresholds
# description: missing, mistyped or unknown names, by the kinds of thresholds.yaml
limit_faults(criterion) := mistyped_limits | unknown_limits if {
	declared := object.get(data.thresholds, criterion, {})
	given := object.get(input, ["thresholds", criterion], {})
	mistyped_limits := faults(given, {name: d.kind | some name, d in declared}, sprintf("threshold %s", [criterion]))
	unknown_limits := {fault |
		is_object(given)
		some name, _ in given
		not name in object.keys(declared)
		fault := sprintf("threshold %s.%s is unknown", [criterion, name])
	}
}

# METADATA
# title: Evidence of a check, weighed
# description: refused (results that are not pass), admitted (records to judge) and the digests of both
weighed(criterion, check) := nothing("inconclusive", sprintf("no expectation: nothing says which %s evidence counts here", [check])) if {
	not check in object.keys(input.expected)
} else := nothing("error", concat("; ", sort(expectation_faults(check)))) if {
	count(expectation_faults(check)) > 0
} else := nothing("inconclusive", sprintf("no evidence of check %s for this subject and key%s", [check, near(check)])) if {
	count(counted(check)) == 0
} else := {
	"refused": [s | some s in standings; s.verdict != "pass"],
	"admitted": [s.record | some s in standings; s.verdict == "pass"],
	"digests": [d | some s in standings; some d in s.digests],
} if {
	records := counted(check)
	standings := [standing(r, input.thresholds[criterion].max_age_seconds) | some r in records]
	count(standings) == count(records)
}

# METADATA
# title: No record to weigh
# description: one refusal and nothing else
nothing(verdict, why) := {"refused": [{"verdict": verdict, "got": "", "why": why}], "admitted": [], "digests": []}

# METADATA
# title: Faults of an expectation
# description: an empty key or subject would match empty evidence, another release's subject is no proof
expectation_faults(check) := shape_faults | foreign if {
	expected := input.expected[check]
	where := sprintf("expected.%s", [check])
	shape_faults := faults(
		expected, {
			"version": "positive",
			"scope": "scope",
			"subject": "digest",
			"environment": "string",
			"key": "digest",
		},
		where,
	)
	foreign := {fault |
		expected.scope == "release"
		expected.subject != input.release
		fault := sprintf("%s is about another release", [where])
	}
}

# METADATA
# title: Records of the check, its subject and its key
# description: they claim to be what is expected
claiming(check) := [r |
	expected := input.expected[check]
	some r in input.evidence
	r.check == check
	r.key == expected.key
	r.subject == expected.subject
]

# METADATA
# title: Records that are what is expected
# description: version, scope and environment agree as well
fitting(check) := [r |
	expected := input.expected[check]
	some r in claiming(check)
	r.version == expected.version
	r.scope == expected.scope
	r.environment == expected.environment
]

# METADATA
# title: Evidence that nearly fits
# description: says why there is none, where something looks like it
near(check) := sprintf("; %d of another version, scope or environment", [count(claiming(check))]) if {
	count(claiming(check)) > 0
} else := ""

# METADATA
# title: Records that count
# description: >-
#   Once the check has completed for a key that may measure, runs that did not
#   complete and runs that nobody trusts no longer matter. Unreadable ones do.
counted(check) := [r | some r in records; not set_aside(r)] if {
	records := fitting(check)
	some r in records
	is_sound(r)
} else := fitting(check)

# METADATA
# title: Sound record
# description: readable, completed, trusted, measured by code of the base
is_sound(r) if {
	count(record_faults(r)) == 0
	r.status == "completed"
	r.trusted == true
	is_vouched(r)
}

# METADATA
# title: Made by code that may vouch here
# description: the base's always, that of the change for the change alone
is_vouched(r) if r.trust == "base"

is_vouched(r) if {
	r.trust == "change"
	input.stage == "change"
}

# METADATA
# title: Record that a sound one replaces
# description: it must be readable, to know that it is one
set_aside(r) if {
	count(record_faults(r)) == 0
	not is_sound(r)
}

# METADATA
# title: Faults of a record
# description: of what every record has, whatever was measured
record_faults(r) := faults(
	r, {
		"digests": "digests",
		"status": "status",
		"reason": "string",
		"trust": "text",
		"trusted": "flag",
		"runs": "positive",
		"finished": "time",
		"age_seconds": "signed",
	},
	sprintf("%s evidence", [r.check]),
)

# METADATA
# title: Standing of a record
# description: pass admits it to be judged; anything else says why not
standing(r, max_age) := {"verdict": verdict, "got": "", "why": why, "record": r, "digests": [d | some d in r.digests; is_string(d)]} if {
	some verdict, why in verdict_on(r, max_age)
}

# METADATA
# title: Verdict on a record's standing
# description: the first objection in this order; admitted only where all proofs hold
default verdict_on(_, _) := {"error": "a record could not be weighed"}

verdict_on(r, _) := {"error": concat("; ", sort(record_faults(r)))} if {
	count(record_faults(r)) > 0
} else := {"inconclusive": sprintf("%s evidence is not signed by a key that may measure here", [r.check])} if {
	r.trusted != true
} else := {"inconclusive": sprintf("%s evidence was made by code of the change itself (trust %q)", [r.check, r.trust])} if {
	not is_vouched(r)
} else := {"error": sprintf("check %s broke: %s", [r.check, reason(r)])} if {
	r.status == "error"
} else := {"inconclusive": sprintf("check %s may not be not applicable: %s", [r.check, reason(r)])} if {
	r.status == "not_applicable"
} else := {"inconclusive": sprintf("check %s is %s: %s", [r.check, r.status, reason(r)])} if {
	r.status != "completed"
}

verdict_on(r, max_age) := by_age(r, max_age) if is_sound(r)

# METADATA
# title: Verdict by age
# description: the older of the two ages given and computed counts, neither may lie in the future
by_age(r, max_age) := {"inconclusive": sprintf("%s evidence ends %v s in the future", [r.check, round(0 - youngest(r))])} if {
	youngest(r) < 0 - tolerance_seconds
} else := {"inconclusive": sprintf("%s evidence is stale: %s old, at most %s", [r.check, span(oldest(r)), span(max_age)])} if {
	not oldest(r) <= max_age
} else := {"pass": ""} if {
	youngest(r) >= 0 - tolerance_seconds
	oldest(r) <= max_age
}

# METADATA
# title: Ages of a record in seconds
# description: as the caller gives it, and by the clock of the input
ages(r) := [r.age_seconds, (time.parse_rfc3339_ns(input.at) - time.parse_rfc3339_ns(r.finished)) / 1000000000]

# METADATA
# title: Greater age
# description: in seconds
oldest(r) := max(ages(r))

# METADATA
# title: Smaller age
# description: in seconds
youngest(r) := min(ages(r))

# METADATA
# title: Reason of a record
# description: says so where none was given
reason(r) := r.reason if {
	r.reason != ""
} else := "no reason given"
