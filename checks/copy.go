package checks

import (
	"context"
	"time"
)

// Restorer restores an environment's backups on the side.
type Restorer interface {
	// Restore makes a scratch copy of the database as it was at a point in time
	// (zero: as late as the backups reach). The copy can reach nothing but this
	// machine's loopback, and nobody else can reach it.
	Restore(ctx context.Context, at time.Time) (DatabaseCopy, error)
}

// DatabaseCopy is a scratch cluster with a copy of an environment's database.
// The caller closes it, which leaves nothing behind.
type DatabaseCopy interface {
	// OwnerURL opens the copy as the owner of the schema, AppURL as the app does.
	// Both hold a password.
	OwnerURL() string
	AppURL() string
	Close(ctx context.Context) error
}
