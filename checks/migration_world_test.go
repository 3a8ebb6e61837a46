package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target/local/cluster"
)

// rehearsed is a Rehearser whose copies are scratch clusters that seed fills,
// and whose releases are what the test says.
type rehearsed struct {
	t       *testing.T
	seed    string            // SQL of the copy as it was
	migrate map[string]string // release → SQL of its migrate command
	table   map[string]string // release → what its app selects from
	early   bool              // the app answers before it commits
	dir     string
	at      []time.Time
}

type scratch struct {
	c   *cluster.Cluster
	dir string
}

func (s *scratch) OwnerURL() string { return s.c.MigratorURL() }
func (s *scratch) AppURL() string   { return s.c.AppURL() }

func (s *scratch) Close(ctx context.Context) error {
	return errors.Join(s.c.Stop(ctx), os.RemoveAll(s.dir))
}

func (s *scratch) Crash(ctx context.Context) error {
	if err := syscall.Kill(s.c.PID(), syscall.SIGKILL); err != nil {
		return err
	}
	for {
		if err := s.c.EnsureRunning(ctx); err != nil {
			return err
		}
		if s.c.Ping(ctx) == nil {
			return nil
		}
		if err := migrationPause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

func (r *rehearsed) Restore(ctx context.Context, at time.Time) (DatabaseCopy, error) {
	r.at = append(r.at, at)
	dir, err := os.MkdirTemp(r.dir, "copy-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, err
	}
	c, err := cluster.Open(ctx, cluster.Options{Dir: dir, Name: "shop", Path: os.Getenv("PATH"), BinDir: os.Getenv("GATE_POSTGRES_BIN")})
	if err != nil {
		return nil, err
	}
	s := &scratch{c, dir}
	r.t.Cleanup(func() { _ = s.c.Stop(context.Background()) })
	return s, r.run(ctx, s.OwnerURL(), r.seed)
}

func (r *rehearsed) run(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	return err
}

func (r *rehearsed) Left(context.Context, string) (time.Time, error) { return time.Unix(1, 0), nil }

func (r *rehearsed) MigrateCopy(ctx context.Context, c DatabaseCopy, release string) error {
	return r.run(ctx, c.OwnerURL(), r.migrate[release])
}

type testInstance struct {
	srv  *http.Server
	pool *pgxpool.Pool
	at   string
	kill sync.Once
}

func (i *testInstance) Address() string { return i.at }

func (i *testInstance) Kill() error {
	i.kill.Do(func() {
		_ = i.srv.Close()
		i.pool.Close()
	})
	return nil
}

// ServeCopy: the app adds a note by POST, and answers with all of a user by GET.
func (r *rehearsed) ServeCopy(ctx context.Context, c DatabaseCopy, release string) (CopyInstance, error) {
	cfg, err := pgxpool.ParseConfig(c.AppURL())
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = 8
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	columns := r.table[release]
	mux := http.NewServeMux()
	mux.HandleFunc("POST /notes", func(w http.ResponseWriter, q *http.Request) {
		add := func(ctx context.Context) error {
			_, err := pool.Exec(ctx, "INSERT INTO notes (writer, body) VALUES ($1, $2)", q.URL.Query().Get("user"), q.URL.Query().Get("seq"))
			return err
		}
		if r.early {
			go func() {
				time.Sleep(30 * time.Millisecond)
				_ = add(context.Background())
			}()
		} else if err := add(q.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, "stored")
	})
	mux.HandleFunc("GET /notes", func(w http.ResponseWriter, q *http.Request) {
		rows, err := pool.Query(q.Context(), "SELECT body FROM (SELECT "+columns+" FROM notes WHERE writer = $1) n", q.URL.Query().Get("user"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "notes [%s]", strings.Join(all, " "))
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		pool.Close()
		return nil, err
	}
	i := &testInstance{srv: &http.Server{Handler: mux}, pool: pool, at: l.Addr().String()}
	go i.srv.Serve(l)
	r.t.Cleanup(func() { _ = i.Kill() })
	return i, nil
}

const (
	oldRelease = "sha256:old"
	newRelease = "sha256:new"
)

// rehearsal is a world in which newRelease brings one migration.
func rehearsal(t *testing.T, migration string) (*rehearsed, Input) {
	t.Helper()
	dir, err := os.MkdirTemp("", "gm-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "2.sql"), []byte(migration), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &rehearsed{
		t: t, dir: dir,
		seed: `CREATE TABLE notes (id bigserial PRIMARY KEY, writer text NOT NULL, body text NOT NULL, at timestamptz NOT NULL DEFAULT now());
			INSERT INTO notes (writer, body) SELECT 'w' || i, repeat('x', 100) FROM generate_series(1, 20000) i`,
		migrate: map[string]string{newRelease: migration},
		table:   map[string]string{oldRelease: "body, at", newRelease: "body"},
	}
	app := &environments.App{
		Name:     "notes",
		Migrate:  &environments.Migrate{Files: []string{"*.sql"}},
		Rehearse: environments.Rehearse{Writes: environments.Duration(1200 * time.Millisecond)},
	}
	ok := environments.Expect{Status: 200, Body: "stored"}
	app.Load.Endpoints = []environments.Endpoint{
		{Name: "add", Method: "POST", Path: "/notes?user=${RUN}-${USER}&seq=n${SEQ}", Weight: 1, Expect: ok},
		{Name: "list", Method: "GET", Path: "/notes?user=${RUN}-${USER}", Weight: 1, Expect: environments.Expect{Status: 200, Body: "notes ["}, Safe: true},
	}
	app.Drills.Write = &environments.Write{
		Method: "POST", Path: "/notes?user=${RUN}-${USER}&seq=n${SEQ}n", Expect: ok,
		Read: "/notes?user=${RUN}-${USER}", Holds: "n${SEQ}n",
	}
	return r, Input{
		Declarations: &environments.Declarations{App: app}, Environment: &environments.Environment{Name: "staging"},
		Release: newRelease, Previous: oldRelease, Source: source, Target: r,
		Pending:  &PendingMigrations{Files: 2, Added: []string{"2.sql"}},
		Progress: func(s string) { t.Log(s) },
	}
}

func rehearse(t *testing.T, in Input, fault migrationFault) MigrationPayload {
	t.Helper()
	m, err := migrationMeasureIn(t.Context(), in, fault)
	if err != nil || m.Status != Completed {
		t.Fatalf("%v %s %v", m.Status, m.Reason, err)
	}
	left, err := os.ReadDir(in.Target.(*rehearsed).dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	return m.Payload.(MigrationPayload)
}

func rulesOf(p MigrationPayload) []string {
	var out []string
	for _, f := range p.Findings {
		out = append(out, f.Rule)
	}
	return out
}

func TestAGoodMigrationLosesNothing(t *testing.T) {
	r, in := rehearsal(t, "SET lock_timeout = '2s'; ALTER TABLE notes ADD COLUMN kind text NOT NULL DEFAULT 'plain'")
	in.TargetBytes = 1 << 40
	p := rehearse(t, in, migrationFault{})
	h := p.Rehearsal
	if h == nil || h.Problem != "" || h.Changes == 0 || h.LockSeconds > 1 || len(h.Rewrites) > 0 || h.Probes == 0 || h.ProbesFailed > 0 || h.Samples < 2 || h.Factor < 2 {
		t.Errorf("rehearsal %+v", h)
	}
	if h.Users == nil || h.Users.Requests == 0 || h.Users.Failed > 0 {
		t.Errorf("users %+v", h.Users)
	}
	if o := p.PreviousOnNew; o == nil || !o.Ready || o.Failed > 0 || o.Requests == 0 || p.RollbackUntil != everyMigration {
		t.Errorf("previous on new %+v, rollback until %q", o, p.RollbackUntil)
	}
	if p.Pending != 1 || p.Statements != 2 || len(p.Findings) > 0 || p.Copy.Rows < 20000 || !p.Copy.At.Equal(r.at[0]) || p.Copy.At.IsZero() {
		t.Errorf("payload %+v", p)
	}
	a := p.ACID
	if a.Writers != 50 || a.Acknowledged < 100 || a.Found != a.Acknowledged || a.Lost+a.Partial+a.Miscounted > 0 || a.Kills == 0 || a.Crashes != 2 || a.Reads == 0 {
		t.Errorf("statements: %+v", a)
	}
	if a := p.App; a == nil || a.Acknowledged < 50 || a.Lost+a.Twice > 0 || a.Found != a.Acknowledged || a.Kills != 2 || a.Crashes != 1 {
		t.Errorf("app: %+v", a)
	}
}

// TestRehearsals has each its own copies and servers, which mostly wait.
func TestRehearsals(t *testing.T) {
	for name, f := range map[string]func(*testing.T){
		"a big table locked for long":         aBigTableLockedForLong,
		"the previous release breaks":         thePreviousReleaseBreaks,
		"the first release rehearses nothing": theFirstReleaseRehearsesNothing,
		"a migrate command that fails":        aMigrateCommandThatFails,
		"lost writes":                         lostWrites,
		"partial transactions":                partialTransactions,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t)
		})
	}
}

// aBigTableLockedForLong: the migration writes the table anew and goes on.
func aBigTableLockedForLong(t *testing.T) {
	_, in := rehearsal(t, "BEGIN; ALTER TABLE notes ALTER body TYPE varchar(200) USING body || ''; SELECT pg_sleep(1); COMMIT")
	p := rehearse(t, in, migrationFault{})
	h := p.Rehearsal
	if h.LockSeconds < 0.9 || h.WaitSeconds < 0.9 || h.Blocked == 0 || h.ProbeSeconds < 0.9 {
		t.Errorf("locked for %.3f s, %d waited %.3f s, probes %.3f s", h.LockSeconds, h.Blocked, h.WaitSeconds, h.ProbeSeconds)
	}
	if len(h.Rewrites) != 1 || h.Rewrites[0].Table != "notes" || h.Rewrites[0].Bytes < 1<<20 {
		t.Errorf("rewrites %+v", h.Rewrites)
	}
	if len(h.Locks) == 0 || h.Locks[0].Mode != "AccessExclusiveLock" || h.Locks[0].Relation != "public.notes" || !h.Locks[0].Existing {
		t.Errorf("locks %+v", h.Locks)
	}
	if got := rulesOf(p); !slices.Contains(got, "column-type") || !slices.Contains(got, "work-under-lock") {
		t.Errorf("findings %v", got)
	}
	for _, f := range p.Findings {
		if f.Rule == "column-type" && (!f.Sized || f.Rows < 20000 || f.Bytes < 1<<20 || f.Line != 1) {
			t.Errorf("finding %+v", f)
		}
	}
}

// thePreviousReleaseBreaks on the second of three migrations.
func thePreviousReleaseBreaks(t *testing.T) {
	const add, drop, more = "ALTER TABLE notes ADD kind text", "ALTER TABLE notes DROP at", "ALTER TABLE notes ADD more text"
	r, in := rehearsal(t, add)
	for name, sql := range map[string]string{"3.sql": "-- +goose Up\n" + drop + ";\n-- +goose Down\nSELECT nothing;", "4.sql": more} {
		if err := os.WriteFile(filepath.Join(in.Source, name), []byte(sql), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in.Pending.Added = []string{"2.sql", "3.sql", "4.sql"}
	r.migrate[newRelease] = add + ";" + drop + ";" + more
	p := rehearse(t, in, migrationFault{})
	if o := p.PreviousOnNew; o.Failed == 0 || o.Failures["list: status 500"] == 0 {
		t.Errorf("previous on new %+v", o)
	}
	if p.RollbackUntil != "2.sql" {
		t.Errorf("rollback until %q", p.RollbackUntil)
	}
	if !slices.Contains(rulesOf(p), "drop-column") {
		t.Errorf("findings %v", rulesOf(p))
	}
}

func theFirstReleaseRehearsesNothing(t *testing.T) {
	_, in := rehearsal(t, "SELECT 1")
	in.Previous = in.Release
	p := rehearse(t, in, migrationFault{})
	if p.Rehearsal != nil || p.PreviousOnNew != nil || p.Pending != 0 || p.ACID.Acknowledged == 0 || p.App == nil {
		t.Errorf("payload %+v", p)
	}
}

func aMigrateCommandThatFails(t *testing.T) {
	r, in := rehearsal(t, "ALTER TABLE notes ADD kind text")
	r.migrate[newRelease] = "ALTER TABLE nothing ADD kind text"
	p := rehearse(t, in, migrationFault{})
	if h := p.Rehearsal; !strings.Contains(h.Problem, "nothing") || h.Changes != 0 {
		t.Errorf("rehearsal %+v", h)
	}
}

// lostWrites: commits that the server acknowledges before they are on disk,
// and an app that does so itself.
func lostWrites(t *testing.T) {
	r, in := rehearsal(t, "ALTER TABLE notes ADD kind text")
	r.early = true
	r.seed += "; ALTER DATABASE shop SET synchronous_commit = off"
	p := rehearse(t, in, migrationFault{})
	if p.ACID.Lost == 0 || p.ACID.Found == p.ACID.Acknowledged {
		t.Errorf("statements: %+v", p.ACID)
	}
	if p.App.Lost == 0 {
		t.Errorf("app: %+v", p.App)
	}
}

// partialTransactions: what belongs together is committed apart.
func partialTransactions(t *testing.T) {
	_, in := rehearsal(t, "ALTER TABLE notes ADD kind text")
	apart := func(ctx context.Context, a *acidDrill, conn *pgx.Conn, id int64, _ bool) (bool, error) {
		for _, sql := range []string{
			fmt.Sprintf("INSERT INTO %s.half (id) VALUES (%d)", a.schema, id),
			fmt.Sprintf("INSERT INTO %s.other_half VALUES (%d, 'x')", a.schema, id),
			fmt.Sprintf("UPDATE %s.counter SET n = n + 1 WHERE id = %d", a.schema, id%acidCounters),
		} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return false, err
			}
		}
		return true, nil
	}
	p := rehearse(t, in, migrationFault{acid: func(a *acidDrill) { a.transact = apart }})
	if p.ACID.Partial == 0 || p.ACID.Acknowledged == 0 {
		t.Errorf("%+v", p.ACID)
	}
}

func TestMigrationIsUnavailable(t *testing.T) {
	_, in := rehearsal(t, "SELECT 1")
	for name, spoil := range map[string]func(*Input){
		"no copies":           func(in *Input) { in.Target = nil },
		"nothing is known":    func(in *Input) { in.Pending, in.PendingProblem = nil, "fetch it first" },
		"no predecessor":      func(in *Input) { in.Previous = "" },
		"no source":           func(in *Input) { in.Source = "" },
		"a file that is gone": func(in *Input) { in.Pending = &PendingMigrations{Files: 1, Added: []string{"9.sql"}} },
	} {
		x := in
		spoil(&x)
		if m, err := migrationMeasure(t.Context(), x); err != nil || m.Status != Unavailable || m.Reason == "" || m.Payload != nil {
			t.Errorf("%s: %+v %v", name, m, err)
		}
	}
}
