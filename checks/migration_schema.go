package checks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// relationFacts is one table, view, index or sequence.
type relationFacts struct {
	name  string
	kind  string
	file  int64 // 0: it has none
	rows  int64
	bytes int64
}

// schemaFacts is how a database stands.
type schemaFacts struct {
	relations map[int64]relationFacts
	lines     map[string]bool // that together say what the schema is
	bytes     int64           // of the database
}

const relationsSQL = `
	SELECT c.oid::bigint, CASE n.nspname WHEN 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END, c.relkind::text,
	  coalesce(pg_relation_filenode(c.oid), 0)::bigint, greatest(c.reltuples, 0)::bigint,
	  CASE WHEN c.relkind IN ('r', 'p', 'm') THEN pg_total_relation_size(c.oid) ELSE 0 END
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'm', 'i', 'I', 'v', 'S', 'f')`

// schemaSQL yields lines: two databases with the same ones have the same schema.
const schemaSQL = `
	WITH s AS (SELECT oid, nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema')
	SELECT format('relation %s.%s %s', nspname, relname, relkind) FROM pg_class c JOIN s ON s.oid = c.relnamespace
	UNION ALL
	SELECT format('column %s.%s.%s %s %s %s %s', nspname, relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity::text || attgenerated::text,
	  pg_get_expr(adbin, adrelid))
	FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN s ON s.oid = c.relnamespace
	LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'm', 'v', 'f')
	UNION ALL
	SELECT format('constraint %s.%s %s %s', nspname, conname, convalidated, pg_get_constraintdef(o.oid)) FROM pg_constraint o JOIN s ON s.oid = o.connamespace
	UNION ALL
	SELECT format('index %s %s', indisvalid, pg_get_indexdef(indexrelid)) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN s ON s.oid = c.relnamespace
	UNION ALL
	SELECT format('function %s.%s %s', nspname, proname, md5(p.prosrc || pg_get_function_identity_arguments(p.oid))) FROM pg_proc p JOIN s ON s.oid = p.pronamespace
	UNION ALL
	SELECT format('trigger %s.%s %s', nspname, relname, pg_get_triggerdef(t.oid)) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN s ON s.oid = c.relnamespace WHERE NOT tgisinternal
	UNION ALL
	SELECT format('view %s.%s %s', nspname, relname, md5(pg_get_viewdef(c.oid))) FROM pg_class c JOIN s ON s.oid = c.relnamespace WHERE relkind IN ('v', 'm')
	UNION ALL
	SELECT format('label %s.%s %s', nspname, typname, enumlabel) FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid JOIN s ON s.oid = t.typnamespace
	UNION ALL
	SELECT format('grant %s.%s %s', nspname, relname, relacl) FROM pg_class c JOIN s ON s.oid = c.relnamespace WHERE relacl IS NOT NULL`

// ledgers are the tables in which the usual tools write down how far a schema
// is: a migration that changes rows alone shows there.
var ledgers = []string{"goose_db_version", "schema_migrations", "schema_version", "gorp_migrations", "flyway_schema_history", "atlas_schema_revisions", "migrations", "bun_migrations", "tern_version", "dbmate_migrations"}

func readSchema(ctx context.Context, conn *pgx.Conn) (schemaFacts, error) {
	f := schemaFacts{relations: map[int64]relationFacts{}, lines: map[string]bool{}}
	rows, err := conn.Query(ctx, relationsSQL)
	if err != nil {
		return f, fmt.Errorf("read the copy's tables: %w", err)
	}
	for rows.Next() {
		var oid int64
		var r relationFacts
		if err := rows.Scan(&oid, &r.name, &r.kind, &r.file, &r.rows, &r.bytes); err != nil {
			rows.Close()
			return f, fmt.Errorf("read the copy's tables: %w", err)
		}
		f.relations[oid] = r
	}
	if err := rows.Err(); err != nil {
		return f, fmt.Errorf("read the copy's tables: %w", err)
	}
	rows, err = conn.Query(ctx, schemaSQL)
	if err != nil {
		return f, fmt.Errorf("read the copy's schema: %w", err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[*string])
	if err != nil {
		return f, fmt.Errorf("read the copy's schema: %w", err)
	}
	for _, l := range lines {
		if l != nil {
			f.lines[*l] = true
		}
	}
	for _, r := range f.relations {
		name := r.name[strings.LastIndexByte(r.name, '.')+1:]
		if r.kind != "r" || !slices.Contains(ledgers, name) {
			continue
		}
		var sum string
		table := pgx.Identifier(strings.Split(r.name, ".")).Sanitize()
		if err := conn.QueryRow(ctx, "SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM "+table+" t").Scan(&sum); err != nil {
			return f, fmt.Errorf("read the copy's %s: %w", r.name, err)
		}
		f.lines["rows of "+r.name+" "+sum] = true
	}
	if err := conn.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&f.bytes); err != nil {
		return f, fmt.Errorf("read the copy's size: %w", err)
	}
	return f, nil
}

// changes is how many lines only one of the two has.
func (f schemaFacts) changes(g schemaFacts) int {
	n := 0
	for l := range f.lines {
		if !g.lines[l] {
			n++
		}
	}
	for l := range g.lines {
		if !f.lines[l] {
			n++
		}
	}
	return n
}

// rewritten are the tables of f that have another file in g.
func (f schemaFacts) rewritten(g schemaFacts) []TableFacts {
	var out []TableFacts
	for oid, r := range f.relations {
		now, ok := g.relations[oid]
		if ok && r.file != 0 && now.file != r.file && (r.kind == "r" || r.kind == "m") {
			out = append(out, TableFacts{r.name, r.rows, r.bytes})
		}
	}
	slices.SortFunc(out, func(a, b TableFacts) int { return cmp.Compare(a.Table, b.Table) })
	return out
}

// tables are those that hold rows, the largest first.
func (f schemaFacts) tables() []TableFacts {
	var out []TableFacts
	for _, r := range f.relations {
		if r.kind == "r" || r.kind == "p" || r.kind == "m" {
			out = append(out, TableFacts{r.name, r.rows, r.bytes})
		}
	}
	slices.SortFunc(out, func(a, b TableFacts) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Table, b.Table))
	})
	return out
}

// size finds what the findings are about.
func (f schemaFacts) size(findings []MigrationFinding) {
	sizes := map[string]TableFacts{}
	for _, t := range f.tables() {
		sizes[t.Table] = t
	}
	for i, x := range findings {
		if t, ok := sizes[x.Table]; ok && x.Table != "" {
			findings[i].Sized, findings[i].Rows, findings[i].Bytes = true, t.Rows, t.Bytes
		}
	}
}
