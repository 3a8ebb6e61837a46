package cluster

import "context"

// Fingerprint is a digest of the schema: of all tables, columns, indexes,
// constraints, views and triggers that are not gate's, an extension's or
// PostgreSQL's own.
func (c *Cluster) Fingerprint(ctx context.Context) (string, error) {
	conn, err := c.connect(ctx, c.AdminURL())
	if err != nil {
		return "", c.explain(err, "look at the schema")
	}
	defer hangUp(conn)
	var digest string
	err = conn.QueryRow(ctx, `WITH own AS (
		SELECT t.oid, n.nspname || '.' || t.relname AS name, t.relkind FROM pg_catalog.pg_class t JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
		WHERE t.relkind IN ('r', 'p', 'm', 'f', 'v', 'S') AND n.nspname <> 'information_schema' AND t.relname NOT LIKE 'gate\_%' AND n.nspname NOT LIKE 'pg\_%'
		  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = t.oid AND d.deptype = 'e')
	), lines AS (
		SELECT 'relation ' || name || ' ' || relkind::text AS line FROM own
		UNION ALL SELECT 'column ' || own.name || '.' || a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull::text || ' ' || coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '')
			FROM own JOIN pg_catalog.pg_attribute a ON a.attrelid = own.oid LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
			WHERE a.attnum > 0 AND NOT a.attisdropped AND own.relkind <> 'S'
		UNION ALL SELECT 'index ' || pg_catalog.pg_get_indexdef(i.indexrelid) || ' ' || i.indisvalid::text FROM own JOIN pg_catalog.pg_index i ON i.indrelid = own.oid
		UNION ALL SELECT 'constraint ' || own.name || ' ' || k.conname || ' ' || pg_catalog.pg_get_constraintdef(k.oid) FROM own JOIN pg_catalog.pg_constraint k ON k.conrelid = own.oid
		UNION ALL SELECT 'view ' || own.name || ' ' || pg_catalog.pg_get_viewdef(own.oid) FROM own WHERE own.relkind IN ('v', 'm')
		UNION ALL SELECT 'trigger ' || pg_catalog.pg_get_triggerdef(g.oid) FROM own JOIN pg_catalog.pg_trigger g ON g.tgrelid = own.oid WHERE NOT g.tgisinternal
	) SELECT 'md5:' || pg_catalog.md5(coalesce(string_agg(line, E'\n' ORDER BY line COLLATE "C"), '')) FROM lines`).Scan(&digest)
	return digest, c.explain(err, "look at the schema")
}
