package promotion

import (
	"context"
	"fmt"
	"strings"

	"github.com/smartcloudops/gate/pipeline/ledger"
)

// settle makes the tip of the env branch say what runs, once every request on it
// has come to its end. It looks at what is, not at what was done before, and so
// is done once, whatever it was interrupted by: what it writes is no request, and
// after it there is nothing to settle.
func (e *Engine) settle(ctx context.Context, v *View) error {
	if err := e.Journal.settle(ctx, v, e.Environment); err != nil {
		return fmt.Errorf("say on env/%s what runs: %w", e.Environment, err)
	}
	return nil
}

func (j *Journal) settle(ctx context.Context, v *View, environment string) error {
	tip, ok, err := j.records().Tip(ctx, environment)
	if err != nil || !ok {
		return err
	}
	ev := v.Environment(environment)
	if tip.Settles == "" && ev.Consumed[tip.ID] == nil {
		return nil // somebody has asked for something just now
	}
	desired := v.Releases[ev.Desired]
	if says(tip, ev.Desired, desired) {
		return nil
	}
	var runs *ledger.Request
	if desired != nil {
		runs = &ledger.Request{Release: desired.Release, Commit: desired.Commit, Record: ev.Desired, By: "gate", Reason: "what runs"}
	}
	id, err := j.records().Settle(ctx, environment, tip, runs, settling(environment, tip, ev.Consumed[tip.ID], desired))
	if id == "" {
		return err
	}
	return j.told(err)
}

// says is whether the tip of a branch speaks of what is desired; nil: nothing.
func says(tip ledger.RequestCommit, record string, desired *ReleaseRecord) bool {
	q := tip.Request
	if desired == nil {
		return tip.Settles != "" && q.Release == ""
	}
	return tip.Err == nil && q.Release == desired.Release &&
		(q.Commit == "" || q.Commit == desired.Commit) && (q.Record == "" || q.Record == record)
}

// settling is the message of the commit: what runs, and what became of the
// request that stood there.
func settling(environment string, tip ledger.RequestCommit, ended *Transition, desired *ReleaseRecord) string {
	what := "nothing runs"
	if desired != nil {
		what = fmt.Sprintf("release %s runs", short(desired.Release))
	}
	if ended == nil {
		return fmt.Sprintf("%s in %s", what, environment)
	}
	became := strings.ReplaceAll(string(ended.State), "_", " ")
	subject := fmt.Sprintf("%s in %s: request %.12s was %s", what, environment, ended.Request, became)
	switch ended.State {
	case Failed, Errored:
		subject = fmt.Sprintf("%s in %s: request %.12s has %s", what, environment, ended.Request, became)
	case Succeeded:
		// Something else was done after it.
		return fmt.Sprintf("%s in %s", what, environment)
	}
	body := fmt.Sprintf("Request %s", ended.Request)
	if ended.By != "" {
		body += " by " + ended.By
	}
	if ended.Release != "" {
		body += " for release " + ended.Release
	}
	return subject + "\n\n" + body + ": " + ended.Why
}
