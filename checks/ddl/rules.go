package ddl

import (
	"fmt"
	"slices"
	"strings"
)

const byColumn = "add a column, write both, fill it in small steps, switch the reads in a later release, drop the old one after that"

// alter looks at each action of an ALTER TABLE.
func (l *linter) alter(a alterTable) {
	if a.Objtype == "OBJECT_VIEW" || a.Objtype == "OBJECT_SEQUENCE" || a.Objtype == "OBJECT_TYPE" || a.Objtype == "OBJECT_INDEX" {
		return
	}
	if l.isNew(a.Relation) {
		return
	}
	table := a.Relation.String()
	locks := false
	for _, c := range a.Cmds {
		locks = l.action(table, c.AlterTableCmd) || locks
	}
	if locks {
		l.holding(table, "")
	}
}

// action says whether it locks the table against readers and writers.
func (l *linter) action(table string, c alterCmd) bool {
	switch c.Subtype {
	case "AT_AddColumn":
		if c.Def.ColumnDef != nil {
			l.column(table, *c.Def.ColumnDef)
		}
	case "AT_AlterColumnType":
		l.find(High, "column-type", table, fmt.Sprintf("another type for %s may write the whole table anew, and nobody reads or writes it until then", c.Name), byColumn)
	case "AT_SetNotNull":
		if !l.proved[table+"."+c.Name] {
			l.find(High, "set-not-null", table, fmt.Sprintf("SET NOT NULL on %s reads the whole table while nobody may use it", c.Name),
				fmt.Sprintf("ADD CONSTRAINT … CHECK (%s IS NOT NULL) NOT VALID, in the next migration VALIDATE CONSTRAINT, then SET NOT NULL", c.Name))
		}
	case "AT_AddConstraint":
		if c.Def.Constraint != nil {
			l.constraint(table, *c.Def.Constraint)
		}
	case "AT_ValidateConstraint":
		if was, ok := l.claims[table+" "+c.Name]; ok {
			l.proved[was[0]+"."+was[1]] = true
		}
		l.work("VALIDATE CONSTRAINT")
		return false // writers go on
	case "AT_DropColumn":
		l.find(Medium, "drop-column", table, fmt.Sprintf("the release that is replaced may still use %s; no rollback goes behind this", c.Name), "drop it one release after the last one that uses it")
	case "AT_SetLogged", "AT_SetUnLogged", "AT_SetTableSpace", "AT_SetAccessMethod", "AT_SetExpression":
		l.find(High, "rewrite", table, "writes the whole table anew, and nobody reads or writes it until then", "leave it out, or do it in a window outside of a release")
	case "AT_AddIdentity":
		l.find(High, "set-not-null", table, "an identity for a column that is there already needs its own lock and order of steps", byColumn)
	case "AT_AttachPartition":
		l.find(Medium, "attach-partition", table, "reads the whole new partition under a lock, unless a validated CHECK proves its bounds", "add and validate a CHECK of the bounds before")
	case "AT_DetachPartition":
		if c.Def.PartitionCmd == nil || !c.Def.PartitionCmd.Concurrent {
			l.find(Medium, "detach-without-concurrently", table, "locks the whole partitioned table", "DETACH PARTITION … CONCURRENTLY, without a transaction")
		}
	case "AT_SetStatistics", "AT_SetRelOptions", "AT_ResetRelOptions":
		return false
	}
	return true
}

// stable are functions that give one value in a whole statement: a default made
// of them is computed once. Any other may be volatile.
var stable = []string{"now", "transaction_timestamp", "statement_timestamp", "current_setting", "current_database", "current_schema",
	"version", "lower", "upper", "coalesce", "concat", "md5", "to_timestamp", "make_interval", "date_trunc", "timezone", "jsonb_build_object",
	"jsonb_build_array", "json_build_object", "json_build_array", "array_fill", "length", "repeat", "abs"}

// column looks at one that is added to a table in use.
func (l *linter) column(table string, c columnDef) {
	hasDefault, mustNot := false, false
	for _, x := range c.Constraints {
		switch k := x.Constraint; k.Type {
		case "CONSTR_DEFAULT":
			hasDefault = true
			for _, f := range calls(k.Expr) {
				if !slices.Contains(stable, f) {
					l.find(High, "volatile-default", table, fmt.Sprintf("%s() may give each row of %s a value of its own, so the whole table is written anew under a lock", f, c.Name),
						"add the column without it, ALTER COLUMN … SET DEFAULT, fill old rows in small steps")
					break
				}
			}
		case "CONSTR_GENERATED", "CONSTR_IDENTITY":
			hasDefault = true
			l.find(High, "rewrite", table, fmt.Sprintf("%s gets a value in every row, so the whole table is written anew under a lock", c.Name), "add a plain column and fill it in small steps")
		case "CONSTR_NOTNULL":
			mustNot = true
		case "CONSTR_UNIQUE", "CONSTR_PRIMARY":
			l.find(High, "constraint-builds-index", table, fmt.Sprintf("the index of %s is built while nobody may use the table", c.Name),
				"add the column alone, CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … USING INDEX")
		case "CONSTR_CHECK":
			l.find(High, "constraint-not-valid", table, fmt.Sprintf("the check of %s reads the whole table under a lock", c.Name),
				"ADD CONSTRAINT … NOT VALID, and VALIDATE CONSTRAINT in the next migration")
		}
	}
	if t := c.typeName(); strings.HasSuffix(t, "serial") || strings.HasPrefix(t, "serial") {
		hasDefault = true
		l.find(High, "volatile-default", table, fmt.Sprintf("%s counts, so the whole table is written anew under a lock", c.Name), "add a plain column and fill it in small steps")
	}
	if mustNot && !hasDefault {
		l.find(High, "not-null-without-default", table, fmt.Sprintf("%s can't be added to a table that holds rows, and the release that is replaced can't write any more", c.Name), "give it a DEFAULT, or let it be NULL")
	}
}

// constraint looks at one that is added to a table in use.
func (l *linter) constraint(table string, c constraint) {
	name := c.Name
	if name == "" {
		name = "the constraint"
	}
	switch c.Type {
	case "CONSTR_CHECK", "CONSTR_FOREIGN":
		if column := notNull(c.Expr); column != "" {
			if c.SkipValidation {
				l.claims[table+" "+c.Name] = [2]string{table, column}
			} else {
				l.proved[table+"."+column] = true
			}
		}
		if c.SkipValidation {
			return
		}
		l.find(High, "constraint-not-valid", table, name+" reads the whole table under a lock", "ADD CONSTRAINT … NOT VALID, and VALIDATE CONSTRAINT in the next migration")
	case "CONSTR_UNIQUE", "CONSTR_PRIMARY", "CONSTR_EXCLUSION":
		if c.Index == "" {
			l.find(High, "constraint-builds-index", table, name+" builds its index while nobody may use the table", "CREATE UNIQUE INDEX CONCURRENTLY before, then ADD CONSTRAINT … USING INDEX")
		}
	}
}

func (l *linter) index(c createIndex) {
	l.indexes[c.Name] = c.Relation.String()
	if c.Concurrent && l.one {
		l.find(High, "concurrently-in-transaction", "", "CREATE INDEX CONCURRENTLY can't run in a transaction", "say -- +goose NO TRANSACTION, or what your tool has for it")
		return
	}
	if l.isNew(c.Relation) {
		return
	}
	if !c.Concurrent {
		l.find(High, "index-without-concurrently", c.Relation.String(), "writers wait until the index is built", "CREATE INDEX CONCURRENTLY, in a migration without a transaction")
	}
	l.work("CREATE INDEX")
}

func (l *linter) drop(d drop) {
	for _, name := range d.names() {
		switch d.Type {
		case "OBJECT_TABLE":
			if !l.created[name] {
				l.find(Medium, "drop-table", name, "the release that is replaced may still use it; no rollback goes behind this", "drop it one release after the last one that uses it")
				l.holding(name, "")
			}
		case "OBJECT_INDEX":
			if l.created[l.indexes[name]] {
				continue
			}
			if d.Concurrent && l.one {
				l.find(High, "concurrently-in-transaction", "", "DROP INDEX CONCURRENTLY can't run in a transaction", "say -- +goose NO TRANSACTION, or what your tool has for it")
			} else if !d.Concurrent {
				l.find(Medium, "drop-index-without-concurrently", l.indexes[name], "waits for everybody who uses the table, and everybody behind it", "DROP INDEX CONCURRENTLY, in a migration without a transaction")
			}
		}
	}
}

func (l *linter) rename(r rename) {
	if r.Relation == nil || l.isNew(*r.Relation) {
		return
	}
	switch r.Type {
	case "OBJECT_TABLE":
		l.find(High, "rename", "", fmt.Sprintf("the release that is replaced still calls %s so, and fails from here on", r.Relation), "make a view of the old name in the same transaction, or a new table beside it")
		l.created[r.New] = l.created[r.Relation.String()]
	case "OBJECT_COLUMN", "OBJECT_ATTRIBUTE":
		l.find(High, "rename", "", fmt.Sprintf("the release that is replaced still calls %s.%s so, and fails from here on", r.Relation, r.Old), byColumn)
	default:
		return
	}
	l.exclusive(r.Relation, "")
}

func (l *linter) truncate(r relations) {
	for _, n := range r.Relations {
		if !l.isNew(n.RangeVar) {
			// Losing rows is no better in a small table.
			l.find(High, "truncate", "", fmt.Sprintf("throws away what %s holds; no rollback brings it back", n.RangeVar), "delete what is not needed in small steps, after a backup, outside of a release")
			l.exclusive(&n.RangeVar, "")
		}
	}
}

func (l *linter) vacuum(v vacuum) {
	if !has(v.Options, "full") {
		return
	}
	const message, fix = "VACUUM FULL writes the table anew, and nobody reads or writes it until then", "leave it out, or use pg_repack outside of the migration"
	if len(v.Rels) == 0 {
		l.rewriting("vacuum-full", nil, message, fix)
	}
	for _, r := range v.Rels {
		l.rewriting("vacuum-full", &r.VacuumRelation.Relation, message, fix)
	}
}

func (l *linter) reindex(r reindex) {
	if has(r.Params, "concurrently") {
		if l.one {
			l.find(High, "concurrently-in-transaction", "", "REINDEX CONCURRENTLY can't run in a transaction", "say -- +goose NO TRANSACTION, or what your tool has for it")
		}
		return
	}
	const message, fix = "writers wait, and readers who need the index, until it is built anew", "REINDEX … CONCURRENTLY, in a migration without a transaction"
	if r.Relation != nil && r.Kind == "REINDEX_OBJECT_INDEX" {
		l.find(High, "reindex-without-concurrently", l.indexes[r.Relation.String()], message, fix)
		return
	}
	l.rewriting("reindex-without-concurrently", r.Relation, message, fix)
}

// Modes of LOCK TABLE from which on writers wait.
const shareLock = 5

func (l *linter) lock(r relations) {
	for _, n := range r.Relations {
		if r.Mode >= shareLock && !l.isNew(n.RangeVar) {
			l.find(High, "lock-table", n.RangeVar.String(), "keeps users from the table until the transaction ends", "leave it out: statements take the locks that they need")
			l.exclusive(&n.RangeVar, "")
		}
	}
}

// rows looks at a change of rows in a table in use.
func (l *linter) rows(verb string, c change) {
	if !l.isNew(c.Relation) && len(c.Where) == 0 {
		l.find(High, "whole-table", c.Relation.String(), verb+" of every row in one transaction keeps writers waiting and doubles the table", "small steps, each its own transaction, outside of the migration")
	}
	l.work(verb)
}
