package ledger

import (
	"slices"

	"github.com/smartcloudops/gate/environments"
)

// What a key may sign, as trust.yaml's "may" lists it.
const (
	Measure = "measure" // evidence
	Decide  = "decide"  // decisions
	Promote = "promote" // transitions of a promotion, holds
	Approve = "approve" // approvals, waivers
	Vouch   = "vouch"   // approvals by those whom GitHub says to have approved
	Daemon  = "daemon"  // what an environment's daemon observes and does
)

var actions = []string{Measure, Decide, Promote, Approve, Vouch, Daemon}

// Trust is what trust.yaml says.
func (l *Ledger) Trust() *environments.Trust { return &l.trust }

// TrustedFor says whether every one of signers may do action in environment; no
// signer, or an action that there is not, is never trusted. An empty
// environment asks for a key that is not bound to environments. The ledger's
// own key may do everything on a ledger without a remote, and elsewhere what
// trust.yaml lists.
func (l *Ledger) TrustedFor(signers []string, action, environment string) bool {
	if len(signers) == 0 || !slices.Contains(actions, action) {
		return false
	}
	for _, id := range signers {
		if !l.keyMay(id, action, environment) {
			return false
		}
	}
	return true
}

// Trusted is TrustedFor of those who signed the record's statement, provided
// that a known key put it into the ledger: otherwise whoever can write to the
// repository could record an old statement again.
func (l *Ledger) Trusted(r Record, action, environment string) bool {
	return l.known(r.EntrySigners) && l.TrustedFor(r.Signers, action, environment)
}

func (l *Ledger) keyMay(id, action, environment string) bool {
	if id == l.own && l.remote == "" {
		return true
	}
	for _, k := range l.trust.Keys {
		if k.ID == id && slices.Contains(k.May, action) &&
			(len(k.Environments) == 0 || slices.Contains(k.Environments, environment)) {
			return true
		}
	}
	return false
}

// known says whether every signer is listed, whatever it may do, or is the
// machine's own key. A retired key stays known while trust.yaml lists it with
// an empty "may".
func (l *Ledger) known(signers []string) bool {
	for _, id := range signers {
		if id != l.own && !l.listed(id) {
			return false
		}
	}
	return len(signers) > 0
}

// listed says whether trust.yaml lists the key, whatever it may do.
func (l *Ledger) listed(id string) bool {
	return slices.ContainsFunc(l.trust.Keys, func(k environments.Key) bool { return k.ID == id })
}
