package ledger

import "context"

// Resolver decides what becomes of what was recorded here while others recorded
// at the remote. Its methods are called while nobody can append, and must not
// call the ledger's, but for Trusted, TrustedFor and Own.
type Resolver interface {
	// Again returns what is to be recorded on top of theirs, in order: ours, which
	// keep their signatures, and new statements in place of what has lost. With an
	// error that is ErrBusy, all stays as it is until the next Sync.
	Again(ctx context.Context, theirs View, ours []Record) ([]Again, error)
	// Consumed says whether the request has come to its end, by what is recorded.
	Consumed(ctx context.Context, v View, environment, id string) (bool, error)
}

// Again is one statement to be recorded: one of ours, or a new one.
type Again struct {
	Ours *Record
	New  *Statement
}

// KeepAll is the resolver of a ledger in which no statement depends on another.
type KeepAll struct{}

// Again keeps all.
func (KeepAll) Again(_ context.Context, _ View, ours []Record) ([]Again, error) {
	var all []Again
	for i := range ours {
		all = append(all, Again{Ours: &ours[i]})
	}
	return all, nil
}

// Consumed says no.
func (KeepAll) Consumed(context.Context, View, string, string) (bool, error) { return false, nil }

func viewOf(records []Record) View {
	last := records[len(records)-1]
	return View{Records: records, Seq: last.Entry.Seq, Digest: last.EntryDigest}
}
