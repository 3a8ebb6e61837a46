package promotion

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
)

// simLedger is a ledger in memory: what it holds is always whole, and what it is
// asked for may fail.
type simLedger struct {
	mu      sync.Mutex
	world   *simWorld
	records []ledger.Record
	branch  []ledger.RequestCommit
}

func (l *simLedger) entries() []ledger.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records[:len(l.records):len(l.records)]
}

func (l *simLedger) append(s []ledger.Statement, ok func(ledger.View) error) ([]ledger.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok != nil {
		v := ledger.View{Records: l.records[:len(l.records):len(l.records)]}
		if err := ok(v); err != nil {
			return nil, fmt.Errorf("%w: %w", ledger.ErrLost, err)
		}
	}
	var out []ledger.Entry
	for _, one := range s {
		n := int64(len(l.records))
		r := ledger.Record{
			Entry: ledger.Entry{Seq: n, At: time.Now()}, Statement: one,
			Digest: fmt.Sprintf("sha256:%064x", n), EntryDigest: fmt.Sprint("entry ", n), Signers: []string{simKey},
		}
		r.Entry.Statement = r.Digest
		l.records = append(l.records, r)
		out = append(out, r.Entry)
	}
	return out, nil
}

func (l *simLedger) request(q ledger.Request, settles string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := fmt.Sprintf("%040x", len(l.branch)+1)
	l.branch = append(l.branch, ledger.RequestCommit{ID: id, Commit: id, At: time.Now(), Request: q, Settles: settles})
	return id
}

const simKey = "ed25519:simulated"

// simAccess is the ledger as one process has it.
type simAccess struct {
	*simLedger
	life *simLife // nil: nobody kills it, and nothing fails
}

// written does what appends. A full disk takes nothing; and what was taken may
// be said not to have been.
func (a simAccess) written(ctx context.Context, what string, effect func() error) error {
	if a.life == nil {
		return effect()
	}
	if err := a.life.point(ctx, "before "+what); err != nil {
		return err
	}
	if a.world.during(a.world.diskFull) {
		a.world.faulty("disk full")
		return fmt.Errorf("write %s: %w", what, syscall.ENOSPC)
	}
	if err := effect(); err != nil {
		return err
	}
	if a.life.chance(a.world.lossy) {
		a.world.faulty("lost: " + what)
		return fmt.Errorf("%s: whether it was written is not known", what)
	}
	return a.life.point(ctx, "after "+what)
}

func (a simAccess) alive(ctx context.Context) error {
	if a.life != nil && a.life.dead.Load() {
		return errSimDead
	}
	return ctx.Err()
}

func (a simAccess) Entries(ctx context.Context, from int64) ([]ledger.Record, error) {
	return a.entries()[from:], a.alive(ctx)
}

func (a simAccess) AppendAll(ctx context.Context, s []ledger.Statement) (out []ledger.Entry, err error) {
	err = a.written(ctx, "record", func() (err error) { out, err = a.append(s, nil); return err })
	return out, err
}

func (a simAccess) Append(ctx context.Context, s ledger.Statement) (ledger.Entry, error) {
	return a.AppendIf(ctx, s, nil)
}

func (a simAccess) AppendIf(ctx context.Context, s ledger.Statement, ok func(ledger.View) error) (e ledger.Entry, err error) {
	err = a.written(ctx, "record", func() error {
		out, err := a.append([]ledger.Statement{s}, ok)
		if err == nil {
			e = out[0]
		}
		return err
	})
	return e, err
}

func (a simAccess) Request(ctx context.Context, _ string, q ledger.Request) (id string, err error) {
	err = a.written(ctx, "request", func() error { id = a.request(q, ""); return nil })
	return id, err
}

func (a simAccess) Requests(ctx context.Context, _ string) (out []ledger.RequestCommit, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.branch {
		if r.Settles == "" {
			out = append(out, r)
		}
	}
	return out, a.alive(ctx)
}

func (a simAccess) Tip(ctx context.Context, _ string) (tip ledger.RequestCommit, ok bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.branch) == 0 {
		return tip, false, a.alive(ctx)
	}
	return a.branch[len(a.branch)-1], true, a.alive(ctx)
}

func (a simAccess) Settle(ctx context.Context, _ string, tip ledger.RequestCommit, runs *ledger.Request, _ string) (id string, err error) {
	err = a.written(ctx, "settlement", func() error {
		if now, _, _ := a.Tip(context.WithoutCancel(ctx), ""); now.ID != tip.ID {
			return nil
		}
		if runs == nil {
			runs = &ledger.Request{}
		}
		id = a.request(*runs, tip.ID)
		return nil
	})
	return id, err
}

func (a simAccess) Sync(ctx context.Context, _ ledger.Resolver) (s ledger.Synced, err error) {
	if err := a.alive(ctx); err != nil {
		return s, err
	}
	wait, away := 7*time.Millisecond, a.world.during(a.world.remoteAway)
	if away {
		a.world.faulty("remote away")
		wait = 3123 * time.Millisecond
	}
	select {
	case <-ctx.Done():
		return s, ctx.Err()
	case <-time.After(wait):
	}
	if away {
		return s, fmt.Errorf("the remote does not answer")
	}
	return s, a.life.point(ctx, "after sync")
}

func (a simAccess) Trusted(ledger.Record, string, string) bool { return true }
func (a simAccess) TrustedFor([]string, string, string) bool   { return true }
func (a simAccess) Trust() *environments.Trust                 { return &environments.Trust{} }
func (a simAccess) Own() string                                { return simKey }
func (a simAccess) Remote() string                             { return a.world.remote }
