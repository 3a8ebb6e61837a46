package checks

import (
	"encoding/json"
	"fmt"
	"time"
)

// MigrationPayload is what the release's migrations do to a copy of the
// environment's database, and what is left of what was acknowledged when parts
// of it are killed. Times are seconds.
type MigrationPayload struct {
	Release  string `json:"release"`
	Previous string `json:"previous"` // what it replaces; itself when it is the first

	// What is declared, and read without running it.
	Declared     bool               `json:"declared"`      // there is a migrate command
	Files        int                `json:"files"`         // of the release's migrations
	Pending      int                `json:"pending"`       // of them, that what it replaces has not
	PendingFiles []string           `json:"pending_files"` // their names
	Statements   int                `json:"statements"`    // read in them
	Findings     []MigrationFinding `json:"findings,omitempty"`

	Copy      RehearsedCopy     `json:"copy"`
	Rehearsal *RehearsalFigures `json:"rehearsal,omitempty"` // nil: nothing is replaced
	ACID      ACIDFigures       `json:"acid"`                // by statements of the check's own
	App       *ACIDFigures      `json:"app,omitempty"`       // through the release's app; nil: no write is declared

	PreviousOnNew *ReleaseRun `json:"previous_on_new,omitempty"` // nil: nothing is replaced
	// NewOnOld is for information: here a schema is migrated before anything of
	// the new release runs.
	NewOnOld *ReleaseRun `json:"new_on_old,omitempty"`
	// RollbackUntil is the last migration after which the previous release still
	// works: "every migration", "no migration", or the name of one.
	RollbackUntil string `json:"rollback_until,omitempty"`
}

// MigrationFinding is a finding about a table of known size.
type MigrationFinding struct {
	Finding
	Table string `json:"table,omitempty"` // that is locked; empty: its size does not matter
	Sized bool   `json:"sized"`           // Rows and Bytes are known
	Rows  int64  `json:"rows,omitempty"`  // as PostgreSQL estimates them
	Bytes int64  `json:"bytes,omitempty"` // with indexes
}

// RehearsedCopy is what was restored.
type RehearsedCopy struct {
	At          time.Time    `json:"at"`           // what it is a copy of; zero: as late as the backups reach
	Tables      int          `json:"tables"`       // of the app
	Rows        int64        `json:"rows"`         // as PostgreSQL estimates them
	Bytes       int64        `json:"bytes"`        // of the database
	TargetBytes int64        `json:"target_bytes"` // of the database where the release goes next; 0: not known
	Largest     []TableFacts `json:"largest,omitempty"`
}

// TableFacts is the size of a table, with its indexes.
type TableFacts struct {
	Table string `json:"table"`
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"`
}

// RehearsalFigures is what the release's migrate command did under load.
type RehearsalFigures struct {
	Seconds      float64        `json:"seconds"`
	Changes      int            `json:"changes"`  // of the schema, and of what says how far it is
	Samples      int            `json:"samples"`  // of locks, while it ran
	Interval     float64        `json:"interval"` // longest time between two samples
	Locks        []LockFigure   `json:"locks,omitempty"`
	LockSeconds  float64        `json:"lock_seconds"` // the longest that writers or readers were kept from a table that was there before
	Blocked      int            `json:"blocked"`      // sessions that waited for the migration
	WaitSeconds  float64        `json:"wait_seconds"` // the longest of them
	WaitedFor    float64        `json:"waited_for"`   // the longest that the migration waited for a lock
	Rewrites     []TableFacts   `json:"rewrites,omitempty"`
	Probes       int64          `json:"probes"` // statements of readers and writers meanwhile
	ProbesFailed int64          `json:"probes_failed"`
	ProbeSeconds float64        `json:"probe_seconds"`         // the longest of them
	Users        *ReleaseRun    `json:"users,omitempty"`       // of the previous release's app meanwhile
	Factor       float64        `json:"factor"`                // of the size where the release goes next; 0: not known
	Expected     float64        `json:"expected_lock_seconds"` // LockSeconds there, in proportion to the size; 0: not known
	Failures     map[string]int `json:"failures,omitempty"`
	Problem      string         `json:"problem,omitempty"` // the migrate command failed
}

// LockFigure is a lock that the migration held.
type LockFigure struct {
	Relation string  `json:"relation"`
	Mode     string  `json:"mode"` // "AccessExclusiveLock"
	Seconds  float64 `json:"seconds"`
	Existing bool    `json:"existing"` // the relation was there before
	Waited   float64 `json:"waited"`
}

// ACIDFigures is what became of writes while parts were killed under them.
type ACIDFigures struct {
	Writers      int     `json:"writers"`
	Seconds      float64 `json:"seconds"`
	Kills        int     `json:"kills"`        // of connections or instances, in mid-transaction
	Crashes      int     `json:"crashes"`      // of the database's server
	Acknowledged int64   `json:"acknowledged"` // writes
	Unanswered   int64   `json:"unanswered"`   // they may or may not be there
	Found        int64   `json:"found"`        // of those acknowledged
	Lost         int64   `json:"lost"`         // of those acknowledged
	Partial      int64   `json:"partial"`      // transactions of which a part is there, seen at any time
	Twice        int64   `json:"twice"`        // that are there more than once
	Miscounted   int64   `json:"miscounted"`   // by how much counters that all writers raise are off
	Reads        int64   `json:"reads"`        // looks for parts while it went on
}

// ReleaseRun is what a release answered on a schema.
type ReleaseRun struct {
	Release  string         `json:"release"`
	Ready    bool           `json:"ready"` // it came up
	Requests int64          `json:"requests"`
	Failed   int64          `json:"failed"`
	Failures map[string]int `json:"failures,omitempty"` // "endpoint: why" → how many
	Problem  string         `json:"problem,omitempty"`
}

// migrationPool adds up what was counted, and keeps the worst of the rest.
func migrationPool(payloads [][]byte) ([]byte, error) {
	if len(payloads) == 0 {
		return nil, fmt.Errorf("pool migration: %w", errLoadNothing)
	}
	var sum MigrationPayload
	for i, raw := range payloads {
		var p MigrationPayload
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, fmt.Errorf("pool migration: run %d: %w", i+1, err)
		}
		if i == 0 {
			sum = p
			continue
		}
		if p.Release != sum.Release || p.Previous != sum.Previous || p.Pending != sum.Pending {
			return nil, fmt.Errorf("pool migration: run %d was of another release, predecessor or set of migrations than those before", i+1)
		}
		sum.add(p)
	}
	return json.Marshal(sum)
}

func (s *MigrationPayload) add(p MigrationPayload) {
	s.Declared = s.Declared && p.Declared
	s.Files, s.Statements = min(s.Files, p.Files), min(s.Statements, p.Statements)
	s.Findings = poolMigrationFindings(s.Findings, p.Findings)
	s.Copy.Rows, s.Copy.Bytes, s.Copy.Tables = min(s.Copy.Rows, p.Copy.Rows), min(s.Copy.Bytes, p.Copy.Bytes), min(s.Copy.Tables, p.Copy.Tables)
	s.Copy.TargetBytes = max(s.Copy.TargetBytes, p.Copy.TargetBytes)
	s.ACID.add(p.ACID)
	switch {
	case s.App == nil || p.App == nil:
		s.App = nil
	default:
		s.App.add(*p.App)
	}
	switch {
	case s.Rehearsal == nil || p.Rehearsal == nil:
		s.Rehearsal = nil
	default:
		s.Rehearsal.add(*p.Rehearsal)
	}
	s.PreviousOnNew = s.PreviousOnNew.and(p.PreviousOnNew)
	s.NewOnOld = s.NewOnOld.and(p.NewOnOld)
	if p.RollbackUntil != everyMigration {
		s.RollbackUntil = p.RollbackUntil
	}
}

func (s *RehearsalFigures) add(p RehearsalFigures) {
	s.Seconds, s.LockSeconds, s.WaitSeconds, s.WaitedFor = max(s.Seconds, p.Seconds), max(s.LockSeconds, p.LockSeconds), max(s.WaitSeconds, p.WaitSeconds), max(s.WaitedFor, p.WaitedFor)
	s.Changes, s.Samples, s.Interval = min(s.Changes, p.Changes), s.Samples+p.Samples, max(s.Interval, p.Interval)
	s.Blocked, s.Probes, s.ProbesFailed = s.Blocked+p.Blocked, s.Probes+p.Probes, s.ProbesFailed+p.ProbesFailed
	s.ProbeSeconds, s.Factor, s.Expected = max(s.ProbeSeconds, p.ProbeSeconds), max(s.Factor, p.Factor), max(s.Expected, p.Expected)
	s.Failures = loadAddCounts(s.Failures, p.Failures)
	s.Users = s.Users.and(p.Users)
	if s.Problem == "" {
		s.Problem = p.Problem
	}
	s.Locks = append(s.Locks, p.Locks...)
	s.Rewrites = append(s.Rewrites, p.Rewrites...)
}

func (s *ACIDFigures) add(p ACIDFigures) {
	s.Writers = min(s.Writers, p.Writers)
	s.Seconds += p.Seconds
	s.Kills, s.Crashes = s.Kills+p.Kills, s.Crashes+p.Crashes
	s.Acknowledged, s.Unanswered, s.Found = s.Acknowledged+p.Acknowledged, s.Unanswered+p.Unanswered, s.Found+p.Found
	s.Lost, s.Partial, s.Twice, s.Miscounted, s.Reads = s.Lost+p.Lost, s.Partial+p.Partial, s.Twice+p.Twice, s.Miscounted+p.Miscounted, s.Reads+p.Reads
}

// and is both runs in one; nothing where one of them is missing.
func (r *ReleaseRun) and(p *ReleaseRun) *ReleaseRun {
	if r == nil || p == nil {
		return nil
	}
	out := *r
	out.Ready = r.Ready && p.Ready
	out.Requests, out.Failed = r.Requests+p.Requests, r.Failed+p.Failed
	out.Failures = loadAddCounts(r.Failures, p.Failures)
	if out.Problem == "" {
		out.Problem = p.Problem
	}
	return &out
}

// poolMigrationFindings has each place and rule once, with the greater table.
func poolMigrationFindings(a, b []MigrationFinding) []MigrationFinding {
	type place struct {
		rule, file, message string
		line                int
	}
	at := map[place]int{}
	var out []MigrationFinding
	for _, list := range [][]MigrationFinding{a, b} {
		for _, f := range list {
			p := place{f.Rule, f.File, f.Message, f.Line}
			i, ok := at[p]
			if !ok {
				at[p] = len(out)
				out = append(out, f)
				continue
			}
			out[i].Sized = out[i].Sized && f.Sized
			out[i].Rows, out[i].Bytes = max(out[i].Rows, f.Rows), max(out[i].Bytes, f.Bytes)
		}
	}
	return out
}
