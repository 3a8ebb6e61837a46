package postgres

import (
	"errors"
	"log/slog"
	"os"
	"testing"

	"github.com/smartcloudops/gate/app"
	"github.com/smartcloudops/gate/app/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

var quiet = slog.New(slog.DiscardHandler)

// migrated is a store on a database of its own with the newest schema.
func migrated(t *testing.T) (*Store, pgtest.Database) {
	t.Helper()
	db := pgtest.New(t)
	if err := Migrate(t.Context(), db.Migrator, quiet); err != nil {
		t.Fatal(err)
	}
	return open(t, db), db
}

func open(t *testing.T, db pgtest.Database) *Store {
	t.Helper()
	s, err := Open(t.Context(), db.App, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func batch(t *testing.T, samples ...app.Sample) app.Batch {
	t.Helper()
	b, err := app.NewBatch(samples)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reason is what a store that is not ready says.
func reason(t *testing.T, s *Store) string {
	t.Helper()
	err := s.Ready(t.Context())
	if err == nil {
		return ""
	}
	var not *app.NotReadyError
	if !errors.As(err, &not) {
		t.Fatalf("got %T %v, want a NotReadyError", err, err)
	}
	return not.Reason
}
