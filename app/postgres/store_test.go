package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/smartcloudops/gate/app"
	"github.com/smartcloudops/gate/app/internal/pgtest"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func fsFile(from fs.FS, name string) (fs.FS, error) {
	b, err := fs.ReadFile(from, name)
	return fstest.MapFS{name: {Data: b}}, err
}

func TestAppendIsIdempotent(t *testing.T) {
	s, _ := migrated(t)
	one := app.Sample{Source: "host-1", Metric: "cpu", Time: noon.Add(1234567 * time.Microsecond), Value: 0.1}
	other := one
	other.Value = 99
	for _, b := range []app.Batch{batch(t, one), batch(t, one), batch(t, other)} {
		if err := s.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Select(t.Context(), app.Query{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != one {
		t.Fatalf("got %v, want only %v as it was first sent", got, one)
	}
}

func TestAppendStoresAllOrNothing(t *testing.T) {
	s, db := migrated(t)
	pgtest.Exec(t, db.Migrator, `ALTER TABLE metric_samples ADD CONSTRAINT broken CHECK (value < 10)`)
	err := s.Append(t.Context(), batch(t,
		app.Sample{Source: "a", Metric: "m", Time: noon, Value: 1},
		app.Sample{Source: "b", Metric: "m", Time: noon, Value: 10}))
	if err == nil || errors.Is(err, app.ErrUnavailable) {
		t.Fatalf("got %v, want an error that a repeat does not mend", err)
	}
	if n := pgtest.Value[int](t, db.App, `SELECT count(*) FROM metric_samples`); n != 0 {
		t.Errorf("%d samples of a refused batch were stored", n)
	}
}

func TestConcurrentWritersOfTheSameSamples(t *testing.T) {
	s, db := migrated(t)
	var samples []app.Sample
	for i := range 300 {
		samples = append(samples, app.Sample{Source: fmt.Sprintf("s%d", i%7), Metric: "m", Time: noon.Add(time.Duration(i) * time.Second), Value: float64(i)})
	}
	var writers errgroup.Group
	for w := range 8 {
		writers.Go(func() error {
			mine := slices.Clone(samples)
			if w%2 == 1 {
				slices.Reverse(mine)
			}
			b, err := app.NewBatch(mine)
			if err != nil {
				return err
			}
			return s.Append(t.Context(), b)
		})
	}
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := pgtest.Value[int](t, db.App, `SELECT count(*) FROM metric_samples`); n != len(samples) {
		t.Errorf("%d samples, want %d", n, len(samples))
	}
	if n := pgtest.Value[int](t, db.App, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`); n != 0 {
		t.Errorf("%d deadlocks", n)
	}
}

func TestSelect(t *testing.T) {
	s, _ := migrated(t)
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	if err := s.Append(t.Context(), batch(t,
		app.Sample{Source: "b", Metric: "cpu", Time: at(0), Value: 1},
		app.Sample{Source: "a", Metric: "cpu", Time: at(0), Value: 2},
		app.Sample{Source: "a", Metric: "ram", Time: at(1), Value: 3},
		app.Sample{Source: "a", Metric: "cpu", Time: at(2), Value: 4},
	)); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		query app.Query
		want  []float64
	}{
		"all, by time then name": {app.Query{Limit: 10}, []float64{2, 1, 3, 4}},
		"limit":                  {app.Query{Limit: 2}, []float64{2, 1}},
		"source":                 {app.Query{Source: "a", Limit: 10}, []float64{2, 3, 4}},
		"metric":                 {app.Query{Metric: "cpu", Limit: 10}, []float64{2, 1, 4}},
		"both":                   {app.Query{Source: "a", Metric: "cpu", Limit: 10}, []float64{2, 4}},
		"from is inclusive":      {app.Query{From: at(1), Limit: 10}, []float64{3, 4}},
		"to is exclusive":        {app.Query{To: at(1), Limit: 10}, []float64{2, 1}},
		"range of a series":      {app.Query{Source: "a", Metric: "cpu", From: at(1), To: at(3), Limit: 10}, []float64{4}},
		"nothing":                {app.Query{Source: "c", Limit: 10}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			samples, err := s.Select(t.Context(), tt.query)
			if err != nil {
				t.Fatal(err)
			}
			var got []float64
			for _, m := range samples {
				got = append(got, m.Value)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestLostConnectionsAreOutwaited(t *testing.T) {
	s, db := migrated(t)
	one := app.Sample{Source: "a", Metric: "m", Time: noon, Value: 1}
	if err := s.Append(t.Context(), batch(t, one)); err != nil {
		t.Fatal(err)
	}
	// The app's own sessions may be ended by the role itself.
	pgtest.Exec(t, db.App, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()`)
	one.Source = "b"
	if err := s.Append(t.Context(), batch(t, one)); err != nil {
		t.Fatalf("a lost connection reached the caller: %v", err)
	}
}

func TestUnavailable(t *testing.T) {
	s, err := Open(t.Context(), "postgres://app@127.0.0.1:1/nothing?sslmode=disable", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	one := batch(t, app.Sample{Source: "a", Metric: "m", Time: noon, Value: 1})
	if err := s.Append(ctx, one); !errors.Is(err, app.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if got := reason(t, s); got != "the database does not answer" {
		t.Errorf("ready says %q", got)
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	if err := s.Append(left, one); !errors.Is(err, context.Canceled) || errors.Is(err, app.ErrUnavailable) {
		t.Errorf("got %v, want that the caller has left", err)
	}
}

func TestQueriesEndOnTheServer(t *testing.T) {
	s, _ := migrated(t)
	var got string
	if err := s.pool.QueryRow(t.Context(), `SHOW statement_timeout`).Scan(&got); err != nil || got != "4s" {
		t.Errorf("statement_timeout is %q (%v), want 4s", got, err)
	}
}

func TestParseURLKeepsThePassword(t *testing.T) {
	for _, url := range []string{
		"", "hunter2", "mysql://u:hunter2@h/db", "host=h password=hunter2", "postgres://u:hunter2/x@h/db", "postgres://u:hunter2@h:99999/db",
		"postgres://u:hunter2@h:port/db", "postgres://u:hunter2@h/db?sslmode=never", "postgres://u:hunter2%zz@h/db", "postgres://u:hunter2@h/db?sslrootcert=/absent",
	} {
		err := ParseURL(url)
		if err == nil {
			t.Errorf("%q was accepted", url)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	if err := ParseURL("postgres://u:hunter2@127.0.0.1:5432/db?sslmode=disable"); err != nil {
		t.Error(err)
	}
}
