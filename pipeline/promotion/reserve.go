package promotion

import (
	"bytes"
	"errors"
	"syscall"

	"github.com/smartcloudops/gate/pipeline/ledger"
)

// Reserve is space that a full disk still has for ways back. What goes forward
// waits until it is whole.
type Reserve interface {
	// Spend gives up a part of it, and says whether there was one.
	Spend() bool
	// Fill makes it whole again; the error says why that can't be, and what to do.
	Fill() error
}

// Forward is why nothing may go forward by reason of the disk.
func (j *Journal) Forward() error {
	if j.Reserve == nil {
		return nil
	}
	return j.Reserve.Fill()
}

// back does what must work on a full disk.
func (j *Journal) back(do func() error) error {
	err := do()
	for j.Reserve != nil && full(err) && j.Reserve.Spend() {
		err = do()
	}
	return err
}

func full(err error) bool {
	return errors.Is(err, ledger.ErrNoSpace) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// spending is back for a step of a way back, and for the end of any other, which
// a way back may wait for. The rest waits for space.
func (j *Journal) spending(t Transition, do func() error) error {
	switch {
	case t.Kind == Rollback, t.Step == Withdraw, t.Step == Soak, t.Step == Retire, t.Step == End:
		return j.back(do)
	}
	return do()
}

// recorded is the last entry of the very statement.
func recorded(records []ledger.Record, s ledger.Statement) (ledger.Entry, bool) {
	for i := len(records) - 1; i >= 0; i-- {
		if r := records[i]; r.Statement.Type == s.Type && bytes.Equal(r.Statement.Predicate, s.Predicate) {
			return r.Entry, true
		}
	}
	return ledger.Entry{}, false
}
