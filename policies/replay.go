package policies

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// Replay makes the decision d on in again, by the policies that were kept with
// it, and says everything that differs; nothing: it reproduces bit for bit. The
// error means that it could not be tried.
func Replay(ctx context.Context, d Decision, in Input, kept Kept) (differs []string, err error) {
	if id, err := d.Digest(); err != nil {
		return nil, err
	} else if id != d.ID {
		differs = append(differs, fmt.Sprintf("decision: what it says has the digest %s, not %s", id, d.ID))
	}
	if _, digest, err := tree(Relevant(in)); err != nil {
		return nil, err
	} else if digest != d.InputDigest {
		differs = append(differs, fmt.Sprintf("input: what was kept has the digest %s, not %s", digest, d.InputDigest))
	}
	if kept.Digest != d.PolicyDigest {
		differs = append(differs, fmt.Sprintf("policies: those that were kept have the digest %s, not %s", kept.Digest, d.PolicyDigest))
	}
	p, err := kept.Policies(ctx)
	if err != nil {
		return differs, err
	}
	again, err := p.Evaluate(ctx, in)
	if err != nil {
		return append(differs, "evaluation: "+err.Error()), nil
	}
	// What the engine's version alone makes different is no difference between
	// decisions: that they are the same on another engine is what is shown.
	again.PolicyDigest = d.PolicyDigest
	if again.ID, err = again.Digest(); err != nil {
		return differs, err
	}
	return append(differs, Diff(d, again)...), nil
}

// Diff says what the decision b says otherwise than a, one line each.
func Diff(a, b Decision) (differs []string) {
	say := func(what string, x, y any) {
		if s, t := fmt.Sprint(x), fmt.Sprint(y); s != t {
			differs = append(differs, fmt.Sprintf("%s: %s, now %s", what, s, t))
		}
	}
	say("release", a.Release, b.Release)
	say("environment", a.Environment, b.Environment)
	say("stage", a.Stage, b.Stage)
	say("clock", a.At, b.At)
	say("input", a.InputDigest, b.InputDigest)
	say("verdict", a.Verdict, b.Verdict)
	find := func(d Decision, id string) *Criterion {
		if i := slices.IndexFunc(d.Criteria, func(c Criterion) bool { return c.ID == id }); i >= 0 {
			return &d.Criteria[i]
		}
		return nil
	}
	for _, c := range a.Criteria {
		o := find(b, c.ID)
		if o == nil {
			differs = append(differs, c.ID+": is not judged any more")
			continue
		}
		say(c.ID+": verdict", c.Verdict, o.Verdict)
		say(c.ID+": got", c.Got, o.Got)
		say(c.ID+": want", c.Want, o.Want)
		say(c.ID+": why", c.Why, o.Why)
		say(c.ID+": next", c.Next, o.Next)
		say(c.ID+": title", c.Title, o.Title)
		say(c.ID+": waiver", c.Waiver, o.Waiver)
		say(c.ID+": evidence", c.Evidence, o.Evidence)
	}
	for _, c := range b.Criteria {
		if find(a, c.ID) == nil {
			differs = append(differs, fmt.Sprintf("%s: was not judged, now %s", c.ID, c.Verdict))
		}
	}
	if len(differs) == 0 {
		x, err1 := json.Marshal(a)
		y, err2 := json.Marshal(b)
		if err1 != nil || err2 != nil || string(x) != string(y) {
			differs = append(differs, "decision: the same words, but not the same bytes")
		}
	}
	return differs
}
