package checks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smartcloudops/gate/environments"
)

// What RollbackUntil says where it names no migration.
const (
	everyMigration = "every migration"
	noMigration    = "no migration"
)

// migrationTidy bounds what is done after ctx has ended.
const migrationTidy = 30 * time.Second

// Migration carries out the release's migrations on a copy of the environment's
// database, as it was before they were, while the release that is replaced and
// readers and writers of the check's own use it. Then it starts the replaced
// release on the new schema, and lets writers write while connections,
// instances and the copy's server are killed under them.
//
// What the migrations would do is read, too, with PostgreSQL's own parser.
func Migration() Check {
	return Check{
		Name: "migration", Criterion: "migration", Version: 1, Scope: OfRelease, InEnv: true, After: []string{"load"},
		Title:      "Migrations rehearsed, and writes that survive crashes",
		Parameters: migrationParameters,
		Estimate: func(in Input) time.Duration {
			if in.Declarations == nil || in.Declarations.App == nil {
				return 0
			}
			return 2*in.Declarations.App.Rehearse.WithDefaults().Writes.D() + 10*time.Second
		},
		Measure: migrationMeasure,
		Pool:    migrationPool,
	}
}

func migrationParameters(in Input) map[string]string {
	p := map[string]string{"previous": in.Previous, "writers": strconv.Itoa(acidWriters), "source": in.SourceDigest}
	if in.Declarations != nil && in.Declarations.App != nil {
		a := in.Declarations.App
		p["migrate"] = environments.Digest(a.Migrate)
		p["requests"] = environments.Digest([]any{a.Load.Endpoints, a.Drills.Write})
		p["rehearse"] = environments.Digest(a.Rehearse.WithDefaults())
	}
	return p
}

// migrationFault spoils parts of the check in tests.
type migrationFault struct {
	acid func(*acidDrill)
}

func migrationMeasure(ctx context.Context, in Input) (Measurement, error) {
	return migrationMeasureIn(ctx, in, migrationFault{})
}

// migrationRun is one measurement under way.
type migrationRun struct {
	in      Input
	r       Rehearser
	copied  DatabaseCopy
	payload MigrationPayload
	version string
}

func migrationMeasureIn(ctx context.Context, in Input, fault migrationFault) (Measurement, error) {
	r, ok := in.Target.(Rehearser)
	why := ""
	switch {
	case in.Declarations == nil || in.Declarations.App == nil:
		why = "what the app is was not given"
	case !ok:
		why = "what runs the environment can't run releases on copies of its database"
	case in.Release == "" || in.Previous == "":
		why = "no release is named, or not what it replaces"
	case in.Declarations.App.Migrate != nil && in.Pending == nil:
		why = "which migrations are new is not known: " + in.PendingProblem
	case in.Source == "":
		why = "the release's source is not at hand"
	}
	if why != "" {
		return Measurement{Status: Unavailable, Reason: why}, nil
	}
	m := &migrationRun{in: in, r: r}
	m.payload = MigrationPayload{Release: in.Release, Previous: in.Previous, PendingFiles: []string{}}
	if err := m.read(); err != nil {
		return Measurement{Status: Unavailable, Reason: err.Error()}, nil
	}
	if why, err := m.restore(ctx); why != "" || err != nil {
		return Measurement{Status: Unavailable, Reason: why}, err
	}
	err := m.measure(ctx, fault)
	tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), migrationTidy)
	defer cancel()
	if e := m.copied.Close(tidy); e != nil {
		err = errors.Join(err, fmt.Errorf("remove the copy: %w", e))
	}
	if err != nil {
		return Measurement{}, err
	}
	return Measurement{Status: Completed, Tools: map[string]string{"postgresql": m.version}, Payload: m.payload}, nil
}

// first says that the release replaces nothing.
func (m *migrationRun) first() bool { return m.in.Previous == m.in.Release }

// read looks at the files of the pending migrations.
func (m *migrationRun) read() error {
	p, app := &m.payload, m.in.Declarations.App
	if app.Migrate == nil {
		return nil
	}
	p.Declared, p.Files = true, m.in.Pending.Files
	pending := m.in.Pending.Added
	if m.first() {
		pending = nil // all of them are, on an empty database
	}
	p.Pending = len(pending)
	p.PendingFiles = append(p.PendingFiles, pending...)
	p.Findings = m.in.Pending.Findings()
	n, findings, err := LintMigrations(app, pending, migrationSource(m.in.Source))
	p.Statements, p.Findings = n, append(p.Findings, findings...)
	return err
}

// restore makes the copy: as the environment was before the first migration
// that what the release replaces does not have, or as it is now.
func (m *migrationRun) restore(ctx context.Context) (why string, err error) {
	var at time.Time
	if m.payload.Pending > 0 {
		if at, err = m.r.Left(ctx, m.in.Previous); err != nil {
			return "", fmt.Errorf("ask when the environment was migrated: %w", err)
		}
	}
	m.in.Note("migration: restoring a copy")
	m.copied, err = m.r.Restore(ctx, at)
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return fmt.Sprintf("there is no copy to rehearse on: %s; see gate status for the backups", err), nil
	}
	m.payload.Copy.At, m.payload.Copy.TargetBytes = at, m.in.TargetBytes
	return "", nil
}

func (m *migrationRun) measure(ctx context.Context, fault migrationFault) error {
	conn, err := migrationConnect(ctx, m.copied.OwnerURL())
	if err != nil {
		return err
	}
	// The server is made to crash later on.
	defer func() { migrationHangUp(conn) }()
	m.version = conn.PgConn().ParameterStatus("server_version")
	before, err := m.describe(ctx, conn)
	if err != nil {
		return err
	}
	endpoints := m.in.Declarations.App.Load.Endpoints
	if !m.first() {
		if m.payload.Pending > 0 {
			m.in.Note("migration: the new release on the old schema")
			if m.payload.NewOnOld, err = compatible(ctx, m.r, m.copied, m.in.Release, endpoints); err != nil {
				return err
			}
		}
		if m.in.Declarations.App.Migrate != nil {
			if err := m.rehearse(ctx, conn, before); err != nil {
				return err
			}
		}
		m.in.Note("migration: the previous release on the new schema")
		if m.payload.PreviousOnNew, err = compatible(ctx, m.r, m.copied, m.in.Previous, endpoints); err != nil {
			return err
		}
		if err := m.rollback(ctx); err != nil {
			return err
		}
	}
	return m.crash(ctx, fault)
}

// describe says what was restored, and how big what the findings are about is.
func (m *migrationRun) describe(ctx context.Context, conn *pgx.Conn) (schemaFacts, error) {
	// Estimates that nobody has made yet would be zero. What the owner may not
	// analyze is left out with a warning.
	if _, err := conn.Exec(ctx, "ANALYZE"); err != nil {
		return schemaFacts{}, fmt.Errorf("analyze the copy: %w", err)
	}
	f, err := readSchema(ctx, conn)
	if err != nil {
		return f, err
	}
	c := &m.payload.Copy
	c.Bytes = f.bytes
	tables := f.tables()
	c.Tables = len(tables)
	for _, t := range tables {
		c.Rows += t.Rows
	}
	c.Largest = tables[:min(len(tables), 10)]
	f.size(m.payload.Findings)
	return f, nil
}

// rehearse runs the migrate command while the copy is in use.
func (m *migrationRun) rehearse(ctx context.Context, conn *pgx.Conn, before schemaFacts) (err error) {
	users, err := startUsers(ctx, m.r, m.copied, m.in.Previous, m.in.Declarations.App.Load.Endpoints)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, users.stop()) }()
	probes, err := probe(ctx, m.copied.AppURL(), before.tables())
	if err != nil {
		return err
	}
	defer probes.end()
	watch, err := watchLocks(ctx, m.copied.OwnerURL())
	if err != nil {
		return err
	}
	m.in.Note("migration: running the release's migrate command under load")
	f := &RehearsalFigures{}
	began := time.Now()
	if err := m.r.MigrateCopy(ctx, m.copied, m.in.Release); err != nil {
		f.Problem = err.Error()
	}
	f.Seconds = time.Since(began).Seconds()
	if err := watch.end(before.relations, f); err != nil {
		return err
	}
	// Whoever uses it goes on for a moment: what breaks by the new schema shows.
	if err := migrationPause(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	probes.end()
	f.Probes, f.ProbeSeconds, f.Failures = probes.count, probes.longest.Seconds(), probes.failures
	for _, n := range probes.failures {
		f.ProbesFailed += int64(n)
	}
	if err := users.stop(); err != nil {
		return fmt.Errorf("end the instance on the copy: %w", err)
	}
	f.Users = users.run
	after, err := readSchema(ctx, conn)
	if err != nil {
		return err
	}
	f.Changes, f.Rewrites = before.changes(after), before.rewritten(after)
	if t := m.payload.Copy.TargetBytes; t > 0 && m.payload.Copy.Bytes > 0 {
		f.Factor = float64(t) / float64(m.payload.Copy.Bytes)
		f.Expected = f.LockSeconds * max(1, f.Factor)
	}
	m.payload.Rehearsal = f
	m.in.Note(fmt.Sprintf("migration: %d changes in %.2f s, tables locked for at most %.3f s, %d sessions waited at most %.3f s",
		f.Changes, f.Seconds, f.LockSeconds, f.Blocked, f.WaitSeconds))
	return nil
}

// crash kills what writes.
func (m *migrationRun) crash(ctx context.Context, fault migrationFault) (err error) {
	d := m.in.Declarations.App.Rehearse.WithDefaults().Writes.D()
	m.in.Note(fmt.Sprintf("migration: %d writers, killed in mid-transaction", acidWriters))
	if m.payload.ACID, err = runACID(ctx, m.copied, d, fault.acid); err != nil {
		return err
	}
	if w := m.in.Declarations.App.Drills.Write; w != nil {
		m.in.Note(fmt.Sprintf("migration: %d writers through the app, its instances killed", acidWriters))
		m.payload.App, err = runAppWrites(ctx, m.r, m.copied, m.in.Release, w, d/2)
	}
	return err
}

// rollback says up to which migration the previous release works.
func (m *migrationRun) rollback(ctx context.Context) error {
	p := &m.payload
	works := func(r *ReleaseRun) bool { return r != nil && r.Ready && r.Failed == 0 && r.Requests > 0 }
	switch {
	case works(p.PreviousOnNew):
		p.RollbackUntil = everyMigration
	case p.Pending <= 1:
		p.RollbackUntil = noMigration
	default:
		// Which of them it was is found on another copy, one after the other.
		last, err := m.step(ctx, works)
		if err != nil {
			m.in.Note("migration: which one breaks the previous release could not be found: " + err.Error())
			last = noMigration
		}
		p.RollbackUntil = last
		return ctx.Err()
	}
	return nil
}

// step carries out one pending migration after the other on a fresh copy, until
// the previous release fails.
func (m *migrationRun) step(ctx context.Context, works func(*ReleaseRun) bool) (last string, err error) {
	last = noMigration
	fresh, err := m.r.Restore(ctx, m.payload.Copy.At)
	if err != nil {
		return last, err
	}
	defer func() {
		tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), migrationTidy)
		defer cancel()
		err = errors.Join(err, fresh.Close(tidy))
	}()
	read := migrationSource(m.in.Source)
	files := slices.DeleteFunc(slices.Clone(m.payload.PendingFiles), func(f string) bool { return strings.HasSuffix(f, ".down.sql") })
	for _, file := range files {
		sql, err := read(file)
		if err != nil {
			return last, err
		}
		if err := carryOut(ctx, fresh.OwnerURL(), string(sql)); err != nil {
			return last, fmt.Errorf("%s: %w", file, err)
		}
		run, err := compatible(ctx, m.r, fresh, m.in.Previous, m.in.Declarations.App.Load.Endpoints)
		if err != nil {
			return last, err
		}
		if !works(run) {
			return last, nil
		}
		last = file
	}
	return last, nil
}
