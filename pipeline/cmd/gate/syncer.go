package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/promotion"
)

// syncer keeps the ledger and its remote the same, beside a daemon. Trouble with
// the remote is its own: it is said once, and the rest goes on.
type syncer struct {
	journal *promotion.Journal
	every   time.Duration
	log     *slog.Logger
	moved   func() // something came from the others

	asked chan struct{}
}

func newSyncer(j *promotion.Journal, every time.Duration, log *slog.Logger, moved func()) *syncer {
	return &syncer{journal: j, every: every, log: log, moved: moved, asked: make(chan struct{}, 1)}
}

// soon asks for a sync at once, or as soon as the last one is a moment ago.
func (s *syncer) soon() {
	select {
	case s.asked <- struct{}{}:
	default:
	}
}

// breath is how long at least there is peace between two syncs.
const breath = time.Second

// run syncs until ctx ends.
func (s *syncer) run(ctx context.Context) error {
	if s.journal.Ledger.Remote() == "" {
		return nil
	}
	said, least := "", min(breath, s.every)
	for rest := least; ; {
		got, err := s.journal.Sync(ctx)
		if ctx.Err() != nil {
			return nil
		}
		switch busy := errors.Is(err, ledger.ErrBusy); {
		case busy:
			rest = least
		case err != nil:
			rest = min(2*rest, s.every)
			if said != err.Error() {
				said = err.Error()
				s.log.Error("the ledger and its remote part ways", "error", err)
			}
		default:
			rest = least
			if said != "" {
				said = ""
				s.log.Info("the ledger and its remote are one again")
			}
			if got.Kept > 0 {
				s.log.Debug("entries stay on this machine", "entries", got.Kept, "why", got.Why)
			}
			if got.Fetched > 0 || len(got.Moved) > 0 {
				s.moved()
				s.pack(ctx)
			}
		}
		if !pause(ctx, rest, nil) || !pause(ctx, s.every-rest, s.asked) {
			return nil
		}
	}
}

// pack joins what fetches have left, now and then. Failing to is no harm.
func (s *syncer) pack(ctx context.Context) {
	n, err := s.journal.Ledger.Loose(ctx)
	if err == nil && n >= ledger.PackAt {
		err = s.journal.Ledger.Pack(ctx)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("the ledger is not packed", "error", err)
	}
}

// pause waits, or until somebody asks; false: until ctx has ended.
func pause(ctx context.Context, d time.Duration, asked <-chan struct{}) bool {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-asked:
	}
	return true
}
