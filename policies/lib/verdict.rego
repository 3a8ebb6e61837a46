# From rows to a verdict. Everything ends in error unless it is proved otherwise.
package gate.lib

# METADATA
# title: Order of verdicts
# description: the worst first
severities := ["fail", "error", "inconclusive", "warn", "pass"]

# METADATA
# title: Worst verdict
# description: of none, or with an unknown one among them, it is error
default worst(_) := "error"

worst(verdicts) := [s | some s in severities; s in verdicts][0] if {
	count(verdicts) > 0
	every v in verdicts { v in severities }
}

# METADATA
# title: One demand on a measurement
# description: verdict and why hold where ok is not true
row(ok, verdict, why) := {"ok": ok, "verdict": verdict, "why": why}

# METADATA
# title: Result of the rows
# description: pass needs at least one row and every row true; the note is what a pass has to say
default ruled(_, _, _) := {"verdict": "error", "got": "", "why": "the criterion demands nothing"}

ruled(rows, got, note) := {"verdict": "pass", "got": got, "why": note} if {
	count(rows) > 0
	every r in rows { r.ok == true }
} else := {"verdict": worst([r.verdict | some r in broken]), "got": got, "why": concat("; ", reasons(broken))} if {
	count(rows) > 0
	broken := [r | some r in rows; r.ok != true]
}

# METADATA
# title: Reasons in order
# description: the severest first, each once, as they were given
reasons(results) := [why |
	some i, why in listed
	why != ""
	not why in array.slice(listed, 0, i)
] if {
	listed := [r.why | some s in severities; some r in results; r.verdict == s]
}

# METADATA
# title: Evidence that cannot be read
# description: error, with every fault
mistyped(faulty) := {"verdict": "error", "got": "", "why": concat("; ", sort(faulty))}

# METADATA
# title: The criterion as it enters a decision
# description: >-
#   Takes id, meta (the rule's annotations), weighed (of each check that is
#   needed), judged (a result for each admitted record), want, and next by
#   verdict. A record that got no result is an error.
conclude(c) := {
	"id": c.id,
	"title": c.meta.title,
	"verdict": verdict,
	"got": got(c.judged),
	"want": c.want,
	"why": concat("; ", reasons(results)),
	"next": object.get(object.union({"pass": "", "warn": c.meta.custom.remediation, "fail": c.meta.custom.remediation}, c.next), verdict, ""),
	"evidence": sort({d | some w in c.weighed; some d in w.digests}),
} if {
	refused := [r | some w in c.weighed; some r in w.refused]
	results := array.concat(array.concat(refused, c.judged), unjudged(c))
	verdict := worst([r.verdict | some r in results])
}

# METADATA
# title: Admitted records without a result
# description: a judge that is undefined must not make its record vanish
unjudged(c) := [{"verdict": "error", "got": "", "why": "a record could not be judged"} |
	count([r | some w in c.weighed; some r in w.admitted]) > count(c.judged)
]

# METADATA
# title: What was got
# description: the figures of every judged record
got(judged) := concat("; ", texts) if {
	texts := [r.got | some r in judged; r.got != ""]
	count(texts) > 0
} else := "no usable evidence"

# METADATA
# title: Criterion of the right shape
# description: what a decision may contain
is_criterion(c) if {
	count(faults(
		c, {
			"id": "text",
			"title": "text",
			"verdict": "text",
			"got": "string",
			"want": "string",
			"why": "string",
			"next": "string",
			"evidence": "texts",
		},
		"criterion",
	)) == 0
	c.verdict in severities
}
