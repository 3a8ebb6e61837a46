package backup

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
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
	spoil func(owner string) // of a copy, before it is looked into
	skip  string             // table that the description of a copy leaves out
}

func (d *driller) BackupFacts(context.Context) (checks.BackupFacts, error) { return d.w.k.Facts(), nil }

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

func (c *drilled) Inspect(ctx context.Context, m checks.BackupMark) (checks.CopyFacts, error) {
	f, err := c.Copy.Inspect(ctx, m)
	f.Database.Tables = slices.DeleteFunc(f.Database.Tables, func(t checks.TableDigest) bool { return t.Name == c.d.skip })
	return f, err
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
		"one digit":     {driller{spoil: func(u string) { execOn(t, u, "UPDATE orders SET price = 78 WHERE id = 77") }}, checks.FaultDifferent, "table public.orders (501 rows in the source, 501 in the copy)"},
		"skipped table": {driller{skip: "billing.bills"}, checks.FaultDifferent, "table billing.bills is missing"},
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
}
