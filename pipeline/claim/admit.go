package claim

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/smartcloudops/gate/checks"
)

// minNonce is the least length of a nonce: less could be met again by chance.
const minNonce = 8

// tolerance is by how much two machines' clocks may differ.
const tolerance = 5 * time.Second

// Asked is what was asked for: all that a claim must agree with.
type Asked struct {
	App     string
	Commit  string
	Release string // as this machine has built it from Commit
	Nonce   string
	// Since and Until bound the call: nothing was measured outside of it.
	Since, Until time.Time
	// Machines are the classes whose figures count.
	Machines []string
	// Change: code of the change ran where it was measured.
	Change bool
	Checks []checks.Check
	// Input is what a check would look at in the environment, "" for the first.
	Input func(environment string) (checks.Input, error)
}

// Admit is the folder's evidence as this machine would sign it. It is all or
// nothing: where anything is not as asked, the error is ErrRefused and names
// it. What was measured can't be computed again; everything that says what it is
// about is, and must be the same.
func (a Asked) Admit(f *Folder) ([]checks.Evidence, error) {
	if err := a.valid(); err != nil {
		return nil, err
	}
	c := f.Claim
	switch {
	case !equal(c.Nonce, a.Nonce):
		return nil, refused("it answers another call: its nonce is not the one that was given")
	case c.App != a.App:
		return nil, refused("it is about %.80q, not about %s", c.App, a.App)
	case c.Commit != a.Commit:
		return nil, refused("it is about commit %.80q, not %s", c.Commit, a.Commit)
	case c.Release != a.Release:
		return nil, refused("commit %.12s becomes release %s here, but %.80q there: the builds differ, or the claim is forged", a.Commit, a.Release, c.Release)
	case len(f.Evidence) == 0:
		return nil, refused("it has no evidence")
	}
	var out []checks.Evidence
	seen := map[string]bool{}
	for _, e := range f.Evidence {
		if err := a.admit(&e); err != nil {
			return nil, refused("evidence of check %.80q: %w", e.Check, err)
		}
		at := e.Check + " " + e.Environment
		if seen[at] {
			return nil, refused("evidence of check %s is there twice", e.Check)
		}
		seen[at] = true
		out = append(out, e)
	}
	return out, nil
}

func (a Asked) valid() error {
	switch {
	case len(a.Nonce) < minNonce:
		return fmt.Errorf("the nonce has %d characters, it needs %d or more that no other call has", len(a.Nonce), minNonce)
	case a.Since.IsZero() || a.Until.IsZero() || a.Until.Before(a.Since):
		return errors.New("the call has no beginning or no end, or ends before it begins")
	case a.Commit == "" || a.Release == "" || a.Input == nil:
		return errors.New("nothing says what the claim should be about")
	}
	return nil
}

func (a Asked) admit(e *checks.Evidence) error {
	i := slices.IndexFunc(a.Checks, func(c checks.Check) bool { return c.Name == e.Check })
	if i < 0 {
		return errors.New("this gate has no such check")
	}
	c := a.Checks[i]
	if e.Version != c.Version {
		return fmt.Errorf("it is of version %d of the check, this gate has %d", e.Version, c.Version)
	}
	if !equal(e.Nonce, a.Nonce) {
		return errors.New("it was measured for another call: its nonce is not the one that was given")
	}
	switch {
	case e.Started.Before(a.Since.Add(-tolerance)) || e.Finished.After(a.Until.Add(tolerance)):
		return fmt.Errorf("it was measured from %s to %s, outside of the call from %s to %s", stamp(e.Started), stamp(e.Finished), stamp(a.Since), stamp(a.Until))
	case e.Finished.Before(e.Started):
		return errors.New("it ends before it begins")
	}
	machine := e.Parameters["machine"]
	if !slices.Contains(a.Machines, machine) {
		return fmt.Errorf("it was measured on a machine of class %.80q, and only %v count: list the class under machines in environments/trust.yaml", machine, a.Machines)
	}
	in, err := a.Input(e.Environment)
	if err != nil {
		return err
	}
	in.Machine = machine
	want := checks.Taken{Started: e.Started, Finished: e.Finished}.Evidence(c, in)
	if (a.Change || in.Proposal) && e.Key != want.Key {
		// For a change alone it may have stopped early or not: the key says which.
		in.Proposal = !in.Proposal
		if other := (checks.Taken{Started: e.Started, Finished: e.Finished}).Evidence(c, in); e.Key == other.Key {
			want = other
		}
	}
	switch {
	case e.Environment != want.Environment:
		return fmt.Errorf("it is of environment %.80q, want %q", e.Environment, want.Environment)
	case e.Subject != want.Subject:
		return fmt.Errorf("its subject is %.80s %.80s, want %s %s", e.Subject.Name, e.Subject.Digest, want.Subject.Name, want.Subject.Digest)
	case !maps.Equal(e.Parameters, want.Parameters):
		return fmt.Errorf("its parameters are not what this machine computes: %s", differing(e.Parameters, want.Parameters))
	case e.Key != want.Key:
		return fmt.Errorf("its key is %.80q, want %s", e.Key, want.Key)
	}
	if err := e.Status.Valid(); err != nil {
		return err
	}
	if e.Status == checks.Completed && len(e.Payload) == 0 {
		return errors.New("it is completed, and says nothing")
	}
	if e.Trust != checks.TrustBase && e.Trust != checks.TrustChange {
		return fmt.Errorf("its trust %.80q is neither base nor change", e.Trust)
	}
	if a.Change {
		e.Trust = checks.TrustChange
	}
	return nil
}

func differing(got, want map[string]string) string {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if got[k] != want[k] {
			return fmt.Sprintf("%s is %.80q, want %q", k, got[k], want[k])
		}
	}
	return "there are more of them"
}

// equal takes as long whatever the difference.
func equal(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}
