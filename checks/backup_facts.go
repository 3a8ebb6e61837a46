package checks

import (
	"context"
	"time"
)

// Backups are an environment's backups, as the check tries them.
type Backups interface {
	// BackupFacts is how the backups stand.
	BackupFacts(ctx context.Context) (BackupFacts, error)
	// MarkBackup writes sentinels around a moment of the source, waits until the
	// archive has them, and describes the database at that moment.
	MarkBackup(ctx context.Context) (BackupMark, error)
	// RestoreBackup restores to the point on the side. An error that is, or wraps,
	// a *BackupFault is about the backup; others are about the attempt.
	RestoreBackup(ctx context.Context, point BackupPoint) (BackupCopy, error)
}

// BackupCopy is a scratch copy that can be looked into.
type BackupCopy interface {
	DatabaseCopy
	Facts() RestoreFacts
	// Inspect describes the copy as the mark describes the source.
	Inspect(ctx context.Context, mark BackupMark) (CopyFacts, error)
	// Amcheck runs pg_amcheck on all of the copy: what it complained of, or "".
	Amcheck(ctx context.Context) (complaint string, err error)
	// Serve starts an instance of the release that runs in the environment on the
	// copy, apart from all traffic, and returns its address once it is ready.
	Serve(ctx context.Context) (address string, err error)
	// Sessions is how many connections the app has had to the copy.
	Sessions(ctx context.Context) (int64, error)
}

// BackupFacts say how an environment's backups stand.
type BackupFacts struct {
	Kept             bool        `json:"kept"`
	Why              string      `json:"why,omitempty"` // they are not kept
	SystemIdentifier string      `json:"system_identifier"`
	ServerVersion    string      `json:"server_version"`
	Bases            int         `json:"bases"`
	BaseTime         time.Time   `json:"base_time"`  // when the newest was begun; zero: there is none
	BaseBytes        int64       `json:"base_bytes"` // of the newest
	WALBytes         int64       `json:"wal_bytes"`
	Streaming        bool        `json:"streaming"`
	SameDisk         bool        `json:"same_disk"` // as the data
	Problem          string      `json:"problem,omitempty"`
	Remote           RemoteFacts `json:"remote"`
}

// RemoteFacts say how the copies in an object store stand.
type RemoteFacts struct {
	Declared bool      `json:"declared"`
	BaseTime time.Time `json:"base_time"` // of the newest base there; zero: none
	Objects  int       `json:"objects"`
	Bytes    int64     `json:"bytes"`
	Problem  string    `json:"problem,omitempty"`
}

// BackupPoint says what to restore. With neither At nor LSN: to the end.
type BackupPoint struct {
	At     time.Time `json:"at"`
	LSN    string    `json:"lsn,omitempty"`
	Verify bool      `json:"verify,omitempty"` // pg_verifybackup first
	Remote bool      `json:"remote,omitempty"` // from the object store
	// Aside has the copy, and what is started on it, give way to all else on the
	// machine. Whoever measures how fast the copy is does without.
	Aside bool `json:"aside,omitempty"`
}

// RestoreFacts say how a copy came about. Times are seconds.
type RestoreFacts struct {
	BaseTime         time.Time `json:"base_time"`
	SystemIdentifier string    `json:"system_identifier"`
	ServerVersion    string    `json:"server_version"`
	Verified         bool      `json:"verified"` // by pg_verifybackup
	VerifySeconds    float64   `json:"verify_seconds"`
	FetchSeconds     float64   `json:"fetch_seconds"`   // from the object store
	RestoreSeconds   float64   `json:"restore_seconds"` // from nothing to a server that accepts
	Bytes            int64     `json:"bytes"`
}

// BackupMark is a moment of the source.
type BackupMark struct {
	At         time.Time      `json:"at"`
	LSN        string         `json:"lsn"`      // what was flushed then
	Snapshot   string         `json:"snapshot"` // what was visible then, as pg_snapshot
	Before     string         `json:"before"`   // sentinel that a copy of then must hold
	After      string         `json:"after"`    // sentinel that it must not hold
	RPOSeconds float64        `json:"rpo_seconds"`
	Database   DatabaseDigest `json:"database"`
}

// CopyFacts describe a copy beside the mark that it was restored to.
type CopyFacts struct {
	Before   bool           `json:"before"` // it holds that sentinel
	After    bool           `json:"after"`
	Same     bool           `json:"same"` // the same transactions are visible as at the mark
	Database DatabaseDigest `json:"database"`
}

// DatabaseDigest describes the contents of a database so that two of them can
// be compared without either.
type DatabaseDigest struct {
	Tables     []TableDigest    `json:"tables"`
	Sequences  []SequenceDigest `json:"sequences"`
	Indexes    []string         `json:"indexes"`
	Roles      []string         `json:"roles"`
	Extensions []string         `json:"extensions"`
	Objects    []string         `json:"objects"` // constraints, triggers, views, functions by digest
}

// TableDigest is the same for tables with the same rows in any order.
type TableDigest struct {
	Name    string `json:"name"` // schema.table
	Rows    int64  `json:"rows"`
	Digest  string `json:"digest"`
	Skipped string `json:"skipped,omitempty"` // why nothing of it is in a backup
}

// SequenceDigest is how far a sequence is. PostgreSQL logs some values ahead, so
// that a copy may be a little further than the source, and never behind.
type SequenceDigest struct {
	Name  string `json:"name"`
	First int64  `json:"first"` // before the moment
	Last  int64  `json:"last"`  // after it
	Step  int64  `json:"step"`
}

// BackupFault is something wrong with a backup, found by trying it.
type BackupFault struct {
	Kind string `json:"kind"` // of FaultKinds
	What string `json:"what"`
}

func (f *BackupFault) Error() string { return f.What }

// Kinds of faults.
const (
	FaultNone        = "no_base"      // there is no base backup
	FaultCorrupt     = "base_corrupt" // pg_verifybackup, or the seal of a remote object
	FaultMissing     = "wal_missing"
	FaultTruncated   = "wal_truncated"
	FaultVersion     = "other_version"
	FaultDatabase    = "other_database"
	FaultKey         = "other_key"
	FaultRecovery    = "not_recovered" // PostgreSQL could not reach the point
	FaultStale       = "stale"         // what is written does not arrive in the archive
	FaultUnreachable = "unreachable"   // the object store does not answer, or lacks something
)
