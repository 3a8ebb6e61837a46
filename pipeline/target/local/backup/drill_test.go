package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
)

// driller is the Keeper as the check sees it, with an app that reads orders,
// and a hand in between that may spoil a copy.
type driller struct {
	w     *world
	spoil func(owner string)  // of a copy, before it is looked into
	facts *checks.BackupFacts // as they were once; nil: as they are
}

func (d *driller) BackupFacts(context.Context) (checks.BackupFacts, error) {
	if d.facts != nil {
		return *d.facts, nil
	}
	return d.w.k.Facts(), nil
}

func (d *driller) MarkBackup(ctx context.Context) (checks.BackupMark, error) { return d.w.k.Mark(ctx) }

func (d *driller) RestoreBackup(ctx context.Context, p checks.BackupPoint) (checks.BackupCopy, error) {
	c, err := d.w.k.Restore(ctx, p)
	if err != nil {
		return nil, err
	}
	if d.spoil != nil {
		d.spoil(c.OwnerURL())
	}
	return &drilled{Copy: c, d: d}, nil
}

type drilled struct {
	*Copy
	d    *driller
	app  *httptest.Server
	conn *pgx.Conn
}

func (c *drilled) Serve(ctx context.Context) (string, error) {
	var err error
	if c.conn, err = pgx.Connect(ctx, c.AppURL()); err != nil {
		return "", err
	}
	c.app = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n string
		if err := c.conn.QueryRow(r.Context(), "SELECT count(*)::text FROM orders").Scan(&n); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte("orders: " + n))
	}))
	return strings.TrimPrefix(c.app.URL, "http://"), nil
}

func (c *drilled) Close(ctx context.Context) error {
	if c.app != nil {
		c.app.Close()
		c.conn.Close(ctx)
	}
	return c.Copy.Close(ctx)
}

const shop = `CREATE TABLE orders (id serial PRIMARY KEY, what text NOT NULL, price numeric(9,2), CHECK (price >= 0));
	CREATE INDEX ON orders (what); CREATE SCHEMA billing; CREATE TABLE billing.bills (at timestamptz, "t" text, blob bytea);
	CREATE MATERIALIZED VIEW totals AS SELECT sum(price) FROM orders; CREATE UNLOGGED TABLE scribble (n int);
	CREATE TABLE parted (n int) PARTITION BY RANGE (n); CREATE TABLE part1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
	INSERT INTO orders (what, price) SELECT 'thing ' || n, n FROM generate_series(1, 500) n;
	INSERT INTO billing.bills SELECT now(), NULL, '\x00ff' FROM generate_series(1, 20); INSERT INTO parted VALUES (1), (1), (2)`

func (d *driller) measure(t *testing.T) checks.BackupPayload {
	t.Helper()
	app := &environments.App{Name: "shop", Load: environments.Load{Endpoints: []environments.Endpoint{
		{Name: "orders", Method: "GET", Path: "/orders?run=${RUN}", Safe: true, Expect: environments.Expect{Status: 200, Body: "orders: "}},
		{Name: "order", Method: "POST", Path: "/orders", Expect: environments.Expect{Status: 500}},
	}}}
	m, err := checks.Backup().Measure(t.Context(), checks.Input{
		Target: d, Declarations: &environments.Declarations{App: app}, Progress: func(s string) { t.Log(s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	p, ok := m.Payload.(checks.BackupPayload)
	if !ok || m.Status != checks.Completed {
		t.Fatalf("measured %+v", m)
	}
	return p
}

func TestDrill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(shop)
	w.based(1)
	w.exec("INSERT INTO orders (what, price) VALUES ('since the base backup', 1)")
	d := &driller{w: w}

	p := d.measure(t)
	if len(p.Faults) > 0 || !p.Restored || !p.Verified || !p.Amcheck || !p.Point || !p.SameDisk || !p.Streaming {
		t.Errorf("a sound backup: %+v", p)
	}
	if p.Tables != 4 || p.Equal != 4 || p.Rows != 501+20+1+3 || len(p.Skipped) != 1 || p.Sequences != 1 || p.Indexes < 2 || p.Roles < 3 || p.Extensions < 1 {
		t.Errorf("compared %+v", p)
	}
	if p.Answered != 1 || p.Asked != 1 || p.RTOSeconds <= p.RestoreSeconds || p.RPOSeconds <= 0 || p.BaseAgeSeconds <= 0 || p.BaseBytes < 1<<20 {
		t.Errorf("figures %+v", p)
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir, "copies", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	for name, c := range map[string]struct {
		d    driller
		kind string
		says string
	}{
		"one digit":              {driller{spoil: func(u string) { execOn(t, u, "UPDATE orders SET price = 78 WHERE id = 77") }}, checks.FaultDifferent, "table public.orders (501 rows in the source, 501 in the copy)"},
		"table left out":         {driller{spoil: func(u string) { execOn(t, u, "DROP TABLE billing.bills") }}, checks.FaultDifferent, "table billing.bills is missing"},
		"table without its rows": {driller{spoil: func(u string) { execOn(t, u, "TRUNCATE billing.bills") }}, checks.FaultDifferent, "table billing.bills (20 rows in the source, 0 in the copy)"},
		"doubled rows": {driller{spoil: func(u string) {
			execOn(t, u, "DELETE FROM parted WHERE n = 2; INSERT INTO parted VALUES (1)")
		}}, checks.FaultDifferent, "table public.part1"},
		"no index": {driller{spoil: func(u string) { execOn(t, u, "DROP INDEX orders_what_idx") }}, checks.FaultDifferent, "index missing"},
		"sequence": {driller{spoil: func(u string) { execOn(t, u, "ALTER SEQUENCE orders_id_seq RESTART WITH 3") }}, checks.FaultDifferent, "sequence public.orders_id_seq is at 3"},
	} {
		t.Run(name, func(t *testing.T) {
			c.d.w = w
			p := c.d.measure(t)
			if p.Asked > 0 || !slices.ContainsFunc(p.Faults, func(f checks.BackupFault) bool { return f.Kind == c.kind && strings.Contains(f.What, c.says) }) {
				t.Errorf("not found: %+v", p)
			}
		})
	}

	// A backup that leaves a table out and says that all is well: neither its
	// manifest nor its checksums know of the file.
	w.exec("VACUUM (FREEZE) billing.bills") // so that reading it writes nothing that brings it back
	if err := w.k.Base(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := w.newest()
	file := w.fileOf("billing.bills")
	if err := os.Remove(filepath.Join(b.dir, file)); err != nil {
		t.Fatal(err)
	}
	change(t, filepath.Join(b.dir, "backup_manifest"), func(m []byte) []byte {
		m = regexp.MustCompile(`(?m)^\{ "Path": "`+regexp.QuoteMeta(file)+`".*\n`).ReplaceAll(m, nil)
		body, _, found := bytes.Cut(m, []byte(`"Manifest-Checksum": "`))
		if !found || bytes.Contains(m, []byte(`"`+file+`"`)) {
			t.Fatalf("a manifest of another form: %s", m[max(0, len(m)-300):])
		}
		return fmt.Appendf(body, "\"Manifest-Checksum\": \"%x\"}\n", sha256.Sum256(body))
	})
	p = d.measure(t)
	if !p.Verified || p.Restored || p.Asked > 0 || len(p.Faults) != 1 || p.Faults[0].Kind != checks.FaultDamaged || !strings.Contains(p.Faults[0].What, "billing.bills") {
		t.Errorf("a table left out on the quiet: %+v", p)
	}
}

// fileOf is the table's file, below the data directory.
func (w *world) fileOf(table string) string {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.db.MigratorURL())
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var file string
	if err := conn.QueryRow(w.t.Context(), "SELECT pg_relation_filepath($1::regclass)", table).Scan(&file); err != nil {
		w.t.Fatal(err)
	}
	return file
}
