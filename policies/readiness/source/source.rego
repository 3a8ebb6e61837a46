# METADATA
# title: Source of the release
# description: "deployments with rollback: only what a commit names can be built again"
# schemas:
#   - input: schema.input
package gate.readiness.source

import data.gate.lib

# METADATA
# title: Built from a clean commit
# description: "deployments with rollback: only what a commit names can be built again"
# custom:
#   remediation: "commit the changes, then: gate run"
criterion := lib.conclude({
	"id": "source",
	"meta": rego.metadata.rule(),
	"weighed": [],
	"judged": [lib.ruled(rows, got, "")],
	"want": "a clean commit",
	"next": {"inconclusive": "commit the changes, then: gate run", "error": "gate doctor"},
})

# METADATA
# title: Demands on the source
# description: changes outside of a commit warn, and fail once the release is to be promoted
rows := [
	lib.row(input.dirty == false, severity, "built from a tree with uncommitted changes"),
	lib.row(is_commit(object.get(input, "commit", "")), "inconclusive", "no full commit id is given"),
	lib.row(on_branch == "yes", off_branch, sprintf("the commit is not known to be on the protected branch %v", [branch.name])),
]

# METADATA
# title: The protected branch
# description: null where none is declared
branch := object.get(input, "branch", {"name": "", "contains": "yes"})

# METADATA
# title: Whether the commit is on the protected branch
# description: it matters once the release is to be promoted
on_branch := branch.contains if {
	input.stage in {"promotion", "serving"}
} else := "yes"

# METADATA
# title: Severity of a commit that is on no protected branch
# description: fail where it is known not to be
off_branch := "fail" if {
	on_branch == "no"
} else := "inconclusive"

# METADATA
# title: Severity of uncommitted changes
# description: fail for a promotion
severity := "fail" if {
	input.stage in {"promotion", "serving"}
} else := "warn"

# METADATA
# title: Full commit id
# description: SHA-1 or SHA-256 in hexadecimal
default is_commit(_) := false

is_commit(id) if {
	is_string(id)
	regex.match(`^([0-9a-f]{40}|[0-9a-f]{64})$`, id)
}

# METADATA
# title: What was got
# description: the commit in short, and whether it was changed
got := sprintf("%s%s", [short, suffix])

# METADATA
# title: Commit in short
# description: twelve digits
short := sprintf("commit %s", [substring(input.commit, 0, 12)]) if {
	is_commit(input.commit)
} else := "no commit"

# METADATA
# title: State of the tree
# description: said only where it is not clean
suffix := ", with uncommitted changes" if {
	input.dirty != false
} else := ", clean"
