# What a canary is judged by beside its requests, as far as it is declared.
package gate.readiness.canary

import data.gate.lib

# METADATA
# title: Declared inputs
# description: each with its bound; the payload has no say in which there are
wanted := object.get(input.expected.canary, "inputs", {})

# METADATA
# title: Shape of an input
# description: as it was measured
input_shape := {
	"name": "text",
	"kind": "text",
	"known": "flag",
	"reason": "string",
	"value": "signed",
	"at": "time",
}

# METADATA
# title: Inputs that were measured
# description: of that name
measured(p, name) := [m |
	some m in object.get(p, "inputs", [])
	object.get(m, "name", null) == name
]

# METADATA
# title: Demands on the inputs
# description: one for each that is declared
by_inputs(p) := [demand(name, measured(p, name), bound) |
	some name in sort(object.keys(wanted))
	bound := wanted[name]
]

# METADATA
# title: Demand on one input
# description: no data is inconclusive, what is beyond its bound fails
demand(name, list, _) := lib.row(false, "inconclusive", sprintf("%s: it was not measured", [name])) if {
	count(list) == 0
} else := lib.row(false, "error", sprintf("%s: it was measured %d times", [name, count(list)])) if {
	count(list) > 1
} else := lib.row(false, "error", concat("; ", sort(lib.faults(list[0], input_shape, name)))) if {
	count(lib.faults(list[0], input_shape, name)) > 0
} else := lib.row(false, "inconclusive", sprintf("%s: %s", [name, list[0].reason])) if {
	list[0].known == false
} else := lib.row(false, "inconclusive", sprintf("%s: it was measured %v s ago, at most %v", [name, round(age(list[0])), limits.max_input_age_seconds])) if {
	not is_fresh(list[0])
} else := lib.row(false, "error", sprintf("%s: what was measured is not what is declared", [name])) if {
	not is_bounded(list[0], wanted[name])
} else := lib.row(count(beyond(list[0], wanted[name])) == 0, "fail", sprintf("%s: %s", [name, concat(", ", beyond(list[0], wanted[name]))]))

# METADATA
# title: Age of an input
# description: in seconds
age(m) := (time.parse_rfc3339_ns(input.at) - time.parse_rfc3339_ns(m.at)) / 1000000000

# METADATA
# title: Fresh input
# description: neither old nor of the future
default is_fresh(_) := false

is_fresh(m) if {
	age(m) <= limits.max_input_age_seconds
	age(m) >= 0 - lib.tolerance_seconds
}

# METADATA
# title: Bounded input
# description: of the declared kind, with at least one bound, and what that needs
default is_bounded(_, _) := false

is_bounded(m, bound) if {
	m.kind == bound.kind
	some key in ["max", "min"]
	lib.is_kind("signed", object.get(bound, key, null))
}

is_bounded(m, bound) if {
	m.kind == bound.kind
	lib.is_kind("number", object.get(bound, "ratio", null))
	lib.is_kind("number", object.get(m, "baseline", null))
}

# METADATA
# title: Bounds that are broken
# description: in words
beyond(m, bound) := array.concat(
	[sprintf("%s, at most %s", [lib.figure(m.value, bound.max), lib.figure(bound.max, m.value)]) | m.value > bound.max],
	array.concat(
		[sprintf("%s, at least %s", [lib.figure(m.value, bound.min), lib.figure(bound.min, m.value)]) | m.value < bound.min],
		[sprintf("%s, at most %s beside %s of the baseline", [lib.figure(m.value, most(m, bound)), lib.figure(most(m, bound), m.value), lib.figure(m.baseline, m.value)]) | m.value > most(m, bound)],
	),
)

# METADATA
# title: Most that is allowed beside the baseline
# description: the ratio, and a slack where there is so little that a ratio means nothing
most(m, bound) := (m.baseline * bound.ratio) + object.get(bound, "slack", 0)

# METADATA
# title: Result with the inputs
# description: every declared one that is known, with its number
published(p, result) := object.union(result, {"got": concat("; ", array.concat([result.got], told(p)))}) if {
	count(told(p)) > 0
} else := result

# METADATA
# title: Inputs in words
# description: by name
told(p) := [sprintf("%s %v%s", [name, m.value, beside_it(m)]) |
	some name in sort(object.keys(wanted))
	some m in measured(p, name)
	count(lib.faults(m, input_shape, name)) == 0
	m.known
]

# METADATA
# title: Figure of the baseline in words
# description: where there is one
beside_it(m) := sprintf(" (baseline %v)", [m.baseline]) if {
	lib.is_kind("number", object.get(m, "baseline", null))
} else := ""
