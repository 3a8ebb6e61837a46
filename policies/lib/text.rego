# Words and figures for people. A figure and its limit never look alike when
# they differ.
package gate.lib

# METADATA
# title: Rounded figure
# description: to so many digits after the point, without trailing zeros
fixed(x, digits) := sprintf("%v", [round(x * scales[digits]) / scales[digits]])

# METADATA
# title: Powers of ten
# description: by digits after the point
scales := {2: 100, 3: 1000, 4: 10000, 6: 1000000, 9: 1000000000}

# METADATA
# title: Figure beside its limit
# description: with as many digits as tell it from the limit and from zero
figure(x, limit) := sprintf("%v", [x]) if {
	x == limit
} else := text if {
	text := fixed(x, 2)
	tells(text, x, fixed(limit, 2))
} else := texts[0] if {
	texts := [text |
		some digits in [3, 4, 6, 9]
		text := fixed(x, digits)
		tells(text, x, fixed(limit, digits))
	]
} else := sprintf("%v", [x])

# METADATA
# title: Text that tells a figure from its limit
# description: and from zero, which is said only of zero
tells(text, x, other) if {
	text != other
	not vanishes(x, text)
}

# METADATA
# title: Figure that rounding made nothing of
# description: however small it is, it is not 0
vanishes(x, "0") if x != 0

# METADATA
# title: Share as percent beside its limit
# description: both are shares from 0 to 1
percent(x, limit) := concat("", [figure(x * 100, limit * 100), "%"])

# METADATA
# title: Share as percent
# description: on its own
percentage(x) := percent(x, -1)

# METADATA
# title: Seconds in a readable unit
# description: seconds below two minutes, then minutes, hours, days; two decimals
span(seconds) := sprintf("%s days", [fixed(seconds / 86400, 2)]) if {
	seconds >= 172800
} else := sprintf("%s h", [fixed(seconds / 3600, 2)]) if {
	seconds >= 7200
} else := sprintf("%s min", [fixed(seconds / 60, 2)]) if {
	seconds >= 120
} else := sprintf("%s s", [fixed(seconds, 2)])

# METADATA
# title: The first findings
# description: file and line of three at most, and how many more there are
first(findings) := concat("", [concat(", ", array.slice(places, 0, 3)), more(count(places) - 3)]) if {
	places := [place(f) | some f in findings]
}

# METADATA
# title: How many more
# description: nothing where there are none
more(n) := sprintf(" and %d more", [n]) if {
	n > 0
} else := ""

# METADATA
# title: Place and message of a finding
# description: file:line where it has one
place(f) := sprintf("%s:%d %s", [f.file, object.get(f, "line", 0), f.message]) if {
	object.get(f, "file", "") != ""
} else := f.message

# METADATA
# title: Findings of a payload
# description: absent and null are none
findings(p) := p.findings if {
	is_array(p.findings)
} else := []

# METADATA
# title: Sentence with the first findings
# description: the sentence alone where there are none
with_findings(sentence, list) := sprintf("%s: %s", [sentence, first(list)]) if {
	count(list) > 0
} else := sentence

# METADATA
# title: Command that measures again
# description: in the environment whose evidence is expected
measure(check) := sprintf("gate verify %s --check %s", [place_of(check), check])

# METADATA
# title: Environment to measure in
# description: the expected one, else the one that is decided on
place_of(check) := input.expected[check].environment if {
	is_string(input.expected[check].environment)
	input.expected[check].environment != ""
} else := input.environment
