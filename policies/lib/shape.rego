# Shapes of values. Rego orders values of different types (null is below every
# number, a string above), so nothing is compared before its type and range are
# proved.
package gate.lib

# METADATA
# title: Greatest count
# description: beyond it floats skip whole numbers
greatest_count := 9007199254740991

# METADATA
# title: Greatest number
# description: beyond it no measurement is believable
greatest_number := 1000000000000

# METADATA
# title: Words for each kind
# description: what a value of the kind must be, for people
kind_words := {
	"array": "a list",
	"count": "a whole number, 0 or more",
	"counts": "an object of whole numbers",
	"digest": "a digest (sha256:…)",
	"digests": "a list of at least one digest",
	"findings": "a list of findings with tool, message and a known severity, or absent",
	"flag": "true or false",
	"number": "a finite number, 0 or more",
	"object": "an object",
	"positive": "a whole number, 1 or more",
	"scope": "release, environment or service",
	"share": "a number from 0 to 1",
	"signed": "a finite number",
	"status": "a known status",
	"string": "a string",
	"text": "a string that is not empty",
	"texts": "a list of strings",
	"time": "an RFC 3339 time",
}

# METADATA
# title: Statuses of evidence
# description: any other word is an error
statuses := {"completed", "error", "unavailable", "invalid", "not_applicable"}

# METADATA
# title: Value is of the kind
# description: false for every kind that is not listed
default is_kind(_, _) := false

is_kind("array", x) if is_array(x)

is_kind("count", x) if is_whole(x, 0)

is_kind("counts", x) if {
	is_object(x)
	every n in x { is_whole(n, 0) }
}

is_kind("digest", x) if is_digest(x)

is_kind("digests", x) if {
	is_array(x)
	count(x) > 0
	every d in x { is_digest(d) }
}

# Go leaves out an empty list of findings, so absent means none.
is_kind("findings", null)

is_kind("findings", x) if {
	is_array(x)
	every f in x {
		is_string(f.tool)
		is_string(f.message)
		f.severity in {"low", "medium", "high"}
		is_string(object.get(f, "file", ""))
		is_whole(object.get(f, "line", 0), 0)
	}
}

is_kind("flag", x) if is_boolean(x)

is_kind("number", x) if is_within(x, 0, greatest_number)

is_kind("object", x) if is_object(x)

is_kind("positive", x) if is_whole(x, 1)

is_kind("scope", x) if x in {"release", "environment", "service"}

is_kind("share", x) if is_within(x, 0, 1)

is_kind("signed", x) if is_within(x, 0 - greatest_number, greatest_number)

is_kind("status", x) if x in statuses

is_kind("string", x) if is_string(x)

is_kind("text", x) if {
	is_string(x)
	x != ""
}

is_kind("texts", x) if {
	is_array(x)
	every s in x { is_string(s) }
}

is_kind("time", x) if {
	is_string(x)
	is_number(time.parse_rfc3339_ns(x))
}

# METADATA
# title: Number within bounds
# description: both bounds included
is_within(x, low, high) if {
	is_number(x)
	x >= low
	x <= high
}

# METADATA
# title: Whole number of at least low
# description: the range is proved first, since rounding a huge exponent is costly
is_whole(x, low) if {
	is_within(x, low, greatest_count)
	x == floor(x)
}

# METADATA
# title: Digest
# description: an empty one would match another empty one
is_digest(x) if {
	is_string(x)
	startswith(x, "sha256:")
	count(x) > count("sha256:")
}

# METADATA
# title: Faults of an object
# description: one sentence for each path of the shape whose value is not of its kind
faults(value, shape, where) := {fault |
	is_object(value)
	some path, kind in shape
	x := at(value, path)
	not is_kind(kind, x)
	fault := sprintf("%s.%s is %s, must be %s", [where, path, described(x), object.get(kind_words, kind, kind)])
} | {fault |
	not is_object(value)
	fault := sprintf("%s is %s, must be an object", [where, described(value)])
}

# METADATA
# title: Value in words
# description: a number as it is, of anything else the type, so that no content leaks
described(null) := "missing"

described(x) := sprintf("%v", [x]) if is_number(x)

described(x) := sprintf("of type %s", [type_name(x)]) if {
	not is_number(x)
	not is_null(x)
}

# METADATA
# title: Value at a path
# description: null where there is none
at(value, path) := object.get(value, split(path, "."), null) if {
	contains(path, ".")
} else := object.get(value, path, null)
