package checks

import (
	"context"
	"time"
)

// Rehearser runs releases on copies that it has restored. Nothing of what it
// runs outlives the copy.
type Rehearser interface {
	Restorer
	// Left is when the environment began for the first time to migrate away from
	// what the release needs, since it was last migrated for the release; zero
	// when that is not known, or has not happened.
	Left(ctx context.Context, release string) (time.Time, error)
	// MigrateCopy runs the release's own migrate command on the copy.
	MigrateCopy(ctx context.Context, copied DatabaseCopy, release string) error
	// ServeCopy starts one instance of the release on the copy, as the
	// environment would, and returns when it is ready.
	ServeCopy(ctx context.Context, copied DatabaseCopy, release string) (CopyInstance, error)
}

// CopyInstance is an instance of the app on a copy of the database.
type CopyInstance interface {
	Address() string // host:port, plain HTTP
	// Kill ends it at once and without a word, and returns when it is gone.
	Kill() error
}

// CrashingCopy is a DatabaseCopy whose server can be made to crash.
type CrashingCopy interface {
	DatabaseCopy
	// Crash kills the server with SIGKILL, starts it again, and returns when it
	// has recovered and answers. The URLs may be others afterwards.
	Crash(ctx context.Context) error
}
