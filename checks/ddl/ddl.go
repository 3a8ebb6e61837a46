// Package ddl reads migrations with PostgreSQL's own parser and says which of
// their statements would stop a service that is in use. It knows nothing of how
// big a table is: who does weighs its findings.
package ddl

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Severity of a finding, beside the size of its table.
const (
	High   = "high"   // stops users, or can't be carried out
	Medium = "medium" // stops them where something else comes to it
	Low    = "low"    // to be known
)

// Finding is what is wrong with one statement.
type Finding struct {
	Rule     string
	Severity string
	File     string
	Line     int
	Message  string
	Fix      string
	// Table is what the statement locks; empty: the finding holds whatever the
	// size of a table.
	Table string
}

// Report is what was read, and found.
type Report struct {
	Statements int
	Findings   []Finding
}

// Options are what is known beside the files.
type Options struct {
	// LockTimeout says that the migrations run with a lock_timeout that does not
	// stand in them.
	LockTimeout bool
}

// Lint looks at migrations that are carried out one after the other, on tables
// that are in use. A table that one of them creates is in nobody's use.
func Lint(files []File, o Options) Report {
	l := linter{created: map[string]bool{}, indexes: map[string]string{}, proved: map[string]bool{}, claims: map[string][2]string{}, ready: o.LockTimeout}
	for _, f := range files {
		if !backwards(f.Name) {
			l.look(f)
		}
	}
	return l.report
}

type linter struct {
	report  Report
	created map[string]bool      // tables that are new
	indexes map[string]string    // new index → its table
	claims  map[string][2]string // table and constraint, not yet validated → table and column that it proves not null
	proved  map[string]bool      // "table.column" that a validated check proves not null
	ready   bool                 // a lock_timeout is set from outside

	// of the file under way
	file    string
	line    int
	one     bool
	patient bool     // no lock_timeout is set
	locked  []string // tables in use that are locked against everybody until the transaction ends
}

func (l *linter) find(severity, rule, table, message, fix string) {
	l.report.Findings = append(l.report.Findings, Finding{
		Rule: rule, Severity: severity, File: l.file, Line: l.line, Table: table, Message: message, Fix: fix,
	})
}

func (l *linter) look(f File) {
	s := forward(f.SQL)
	l.file, l.line, l.one, l.patient, l.locked = f.Name, 1, s.one, !l.ready, nil
	if s.odd != "" {
		l.find(High, "unreadable", "", s.odd, "write it so that gate can read what will be carried out")
		return
	}
	list, line, err := parse(s.text)
	if err != nil {
		l.line = line
		l.find(High, "unparsable", "", fmt.Sprintf("PostgreSQL can't read it: %s", err), "mend the statement; psql's backslash commands are no SQL")
		return
	}
	if len(list) == 0 {
		l.find(Medium, "empty", "", "it brings no statement", "remove the file, or write what it is to do")
		return
	}
	for _, st := range list {
		l.report.Statements++
		l.line = st.line
		if err := l.statement(st); err != nil {
			l.find(High, "unreadable", "", fmt.Sprintf("its parse tree is odd: %s", err), "simplify the statement")
		}
	}
}

// statement applies the rules to one.
func (l *linter) statement(s statement) error {
	switch s.kind {
	case "TransactionStmt":
		return l.transaction(s.body)
	case "VariableSetStmt":
		return l.set(s.body)
	case "CreateStmt":
		return with(s.body, func(c createTable) { l.created[c.Relation.String()] = true })
	case "CreateTableAsStmt":
		return with(s.body, func(c createTableAs) { l.created[c.Into.Rel.String()] = true; l.work("a query") })
	case "AlterTableStmt":
		return with(s.body, l.alter)
	case "IndexStmt":
		return with(s.body, l.index)
	case "DropStmt":
		return with(s.body, l.drop)
	case "RenameStmt":
		return with(s.body, l.rename)
	case "TruncateStmt":
		return with(s.body, l.truncate)
	case "ClusterStmt":
		return with(s.body, func(r relations) {
			l.rewriting("cluster", r.Relation, "CLUSTER writes the table anew, and nobody reads or writes it until then", "leave it out, or use pg_repack outside of the migration")
		})
	case "VacuumStmt":
		return with(s.body, l.vacuum)
	case "ReindexStmt":
		return with(s.body, l.reindex)
	case "RefreshMatViewStmt":
		return with(s.body, func(r refresh) {
			if !r.Concurrent && !l.isNew(r.Relation) {
				l.find(Medium, "refresh-without-concurrently", r.Relation.String(), "nobody reads the view until it is made anew", "REFRESH MATERIALIZED VIEW CONCURRENTLY, which needs a unique index")
			}
			l.work("REFRESH")
		})
	case "LockStmt":
		return with(s.body, l.lock)
	case "UpdateStmt":
		return with(s.body, func(c change) { l.rows("UPDATE", c) })
	case "DeleteStmt":
		return with(s.body, func(c change) { l.rows("DELETE", c) })
	case "InsertStmt":
		l.work("INSERT")
	case "SelectStmt":
		for _, f := range calls(s.body) {
			if f == "set_config" && strings.Contains(string(s.body), `"lock_timeout"`) {
				l.patient = false
				return nil
			}
		}
		l.work("a query")
	case "DoStmt", "CallStmt":
		l.find(Medium, "hidden", "", "what a DO block or procedure does is not looked at", "write its statements out, or trust the rehearsal alone")
		l.work("a procedure")
	case "CreateTrigStmt":
		return with(s.body, func(r relations) { l.exclusive(r.Relation, "") })
	}
	return nil
}

func with[T any](body json.RawMessage, do func(T)) error {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	do(v)
	return nil
}

func (l *linter) isNew(r rangeVar) bool { return l.created[r.String()] || r.Persistence == "t" }

// transaction follows BEGIN and COMMIT that stand in the file itself.
func (l *linter) transaction(body json.RawMessage) error {
	return with(body, func(t struct {
		Kind string `json:"kind"`
	}) {
		switch t.Kind {
		case "TRANS_STMT_COMMIT", "TRANS_STMT_ROLLBACK":
			l.locked = nil
		case "TRANS_STMT_BEGIN", "TRANS_STMT_START":
			l.one = true
		}
	})
}

func (l *linter) set(body json.RawMessage) error {
	return with(body, func(v setVariable) {
		if !strings.EqualFold(v.Name, "lock_timeout") {
			return
		}
		zero := v.Kind != "VAR_SET_VALUE"
		for _, a := range v.Args {
			// 0 waits without end; the tree leaves it out as the value of a number.
			zero = zero || strings.Contains(string(a), `"ival":{}`) || strings.Contains(string(a), `"sval":"0"`)
		}
		l.patient = zero
	})
}

// exclusive notes a lock that keeps everybody, or at least every writer, from a
// table in use. What they wait for is the rest of the transaction, and before
// that whoever has the table now.
func (l *linter) exclusive(r *rangeVar, what string) {
	if r == nil || l.isNew(*r) {
		return
	}
	l.holding(r.String(), what)
}

func (l *linter) holding(table, _ string) {
	if l.patient {
		l.find(Low, "no-lock-timeout", table, "waits for its lock without end, and everybody else queues behind it", "SET LOCAL lock_timeout = '5s' before it, and let the migration be tried again")
	}
	if l.one && len(l.locked) > 0 && !slices.Contains(l.locked, table) {
		l.find(Medium, "several-locks", l.locked[0], fmt.Sprintf("%s stays locked while this waits for %s", l.locked[0], table), "a migration of its own for each table")
	}
	if !slices.Contains(l.locked, table) && l.one {
		l.locked = append(l.locked, table)
	}
}

// work notes a statement that takes its time, under locks that were taken
// before it.
func (l *linter) work(what string) {
	if l.one && len(l.locked) > 0 {
		l.find(High, "work-under-lock", l.locked[0], fmt.Sprintf("%s runs while %s is locked until the transaction ends", what, strings.Join(l.locked, ", ")), "a migration of its own, before or after the one that locks")
	}
}

// rewriting is a statement during which nobody uses the table.
func (l *linter) rewriting(rule string, r *rangeVar, message, fix string) {
	switch {
	case r == nil:
		l.find(High, rule, "", message, fix)
	case !l.isNew(*r):
		l.find(High, rule, r.String(), message, fix)
		l.exclusive(r, rule)
	}
}
