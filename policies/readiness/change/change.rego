# METADATA
# title: Change to what measures and judges
# description: "a change can't vouch for itself: what it touches of policies, thresholds, checks, trust or workflows an owner approves"
# schemas:
#   - input: schema.input
package gate.readiness.change

import data.gate.lib

# METADATA
# title: Judge and meter are the base's
# description: "a change can't vouch for itself: what it touches of policies, thresholds, checks, trust or workflows an owner approves"
# custom:
#   remediation: "let somebody whom environments/trust.yaml lists under people approve exactly this commit, then: /gate rerun"
criterion := lib.conclude({
	"id": "change",
	"meta": rego.metadata.rule(),
	"weighed": [],
	"judged": [judgement],
	"want": "no owned file touched, or an owner's approval of this commit",
	"next": {
		"inconclusive": "let somebody whom environments/trust.yaml lists under people approve exactly this commit, then: /gate rerun",
		"error": "gate doctor",
	},
})

# METADATA
# title: What is known of the change
# description: empty where nothing was said
known := object.get(input, "change", {})

# METADATA
# title: Judgement
# description: what can't be read is an error before anything is compared
judgement := lib.mistyped(mistakes) if {
	count(mistakes) > 0
} else := lib.ruled(rows, got, "")

# METADATA
# title: Faults of what is known
# description: of the object, of each owned file, of each approval
mistakes := (lib.faults(known, {"base": "text", "author": "string", "files": "count", "owned": "array", "approvals": "array"}, "change") | listed_faults("owned", {"path": "text", "kind": "text"})) | listed_faults("approvals", {"by": "text", "commit": "text"})

# METADATA
# title: Faults of a list's members
# description: a list that is none has been named already
listed_faults(list, shape) := {fault |
	members := known[list]
	is_array(members)
	some m in members
	some fault in lib.faults(m, shape, sprintf("change.%s", [list]))
}

# METADATA
# title: Demands on the change
# description: a change of no file is none that could be judged
rows := [
	lib.row(known.files > 0, "inconclusive", "no changed file is known"),
	lib.row(is_approved, "inconclusive", sprintf("touches %s, and nobody who may has approved commit %s", [touched, substring(object.get(input, "commit", ""), 0, 12)])),
]

# METADATA
# title: Approved where it must be
# description: by somebody else than the author, and of this very commit
default is_approved := false

is_approved if count(known.owned) == 0

is_approved if {
	some a in known.approvals
	a.commit == input.commit
	lower(a.by) != lower(known.author)
}

# METADATA
# title: What is touched
# description: the kinds, and the first files by name
touched := sprintf("%s (%s%s)", [concat(", ", sort({o.kind | some o in known.owned})), concat(", ", array.slice(paths, 0, 3)), more])

# METADATA
# title: Owned files that are touched
# description: in order
paths := sort([o.path | some o in known.owned])

# METADATA
# title: How many files are not named
# description: empty where all are
more := sprintf(" and %d more", [count(paths) - 3]) if {
	count(paths) > 3
} else := ""

# METADATA
# title: What was got
# description: sizes of the change, and who approved
got := sprintf("%d files, %d of them owned%s", [known.files, count(known.owned), approvers])

# METADATA
# title: Approvers
# description: of this commit
approvers := sprintf(", approved by %s", [concat(", ", by)]) if {
	by := sort({a.by | some a in known.approvals; a.commit == input.commit})
	count(by) > 0
} else := ""
