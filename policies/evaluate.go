package policies

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/smartcloudops/gate/environments"
)

// Required are the criteria without which a decision of a stage is no decision.
// Policies may judge by more, never by fewer.
var Required = map[Stage][]string{
	Admission: {"source", "tests", "scan", "config"},
	Readiness: {"source", "tests", "scan", "config", "load", "update", "rollback", "restart", "scaling", "migration", "backup", "tls", "network", "secrets"},
	Promotion: {"source", "tests", "scan", "config", "load", "update", "rollback", "restart", "scaling", "migration", "backup", "tls", "network", "secrets"},
	Serving:   {"source", "tests", "scan", "config", "load", "update", "backup", "tls", "network", "secrets"},
	Canary:    {"canary"},
	Proposal:  {"source", "change", "tests", "scan", "config", "load", "update", "rollback", "restart", "scaling", "migration", "backup", "tls", "network", "secrets"},
}

// patience is how long one decision may take: two orders of magnitude more than
// it does.
const patience = 5 * time.Second

// verdicts, the worst first.
var verdicts = []Verdict{Fail, Error, Inconclusive, Warn, Pass}

// Evaluate judges in. The decision depends on in and the policies alone; the
// only clock is in.At. Where it returns an error (ErrInput, ErrEvaluation, or
// the context's) the decision's verdict is Error.
func (p *Policies) Evaluate(ctx context.Context, in Input) (Decision, error) {
	in = Relevant(in)
	d := Decision{
		Release:      in.Release,
		Commit:       in.Commit,
		Environment:  in.Environment,
		Stage:        in.Stage,
		Verdict:      Error,
		At:           in.At,
		PolicyDigest: p.digest,
		Criteria:     []Criterion{},
	}
	v, digest, err := tree(in)
	if err != nil {
		return d, err
	}
	d.InputDigest = digest
	verdict, criteria, err := p.judge(ctx, v)
	if err == nil {
		err = believable(in.Stage, verdict, criteria, p.more.at(in.Stage)...)
	}
	if err == nil {
		err = waivedRightly(in, criteria)
	}
	if err == nil {
		d.Verdict, d.Criteria = verdict, criteria
	}
	id, idErr := d.Digest()
	if idErr != nil {
		d.Verdict = Error
		return d, idErr
	}
	d.ID = id
	return d, err
}

// judge runs the prepared query.
func (p *Policies) judge(ctx context.Context, input any) (Verdict, []Criterion, error) {
	value, err := ast.InterfaceToValue(input)
	if err != nil {
		return Error, nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	results, err := p.query.Eval(ctx, rego.EvalParsedInput(value))
	// The engine looks at the context now and then only, and may come to an end
	// after its time.
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Error, nil, fmt.Errorf("%w: %w", ErrEvaluation, err)
	}
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return Error, nil, fmt.Errorf("%w: %s is undefined", ErrEvaluation, entrypoint)
	}
	text, err := json.Marshal(results[0].Expressions[0].Value)
	if err != nil {
		return Error, nil, fmt.Errorf("%w: %w", ErrEvaluation, err)
	}
	var out struct {
		Verdict  Verdict     `json:"verdict"`
		Criteria []Criterion `json:"criteria"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&out); err != nil {
		return Error, nil, fmt.Errorf("%w: %s has the wrong shape: %w", ErrEvaluation, entrypoint, err)
	}
	return out.Verdict, out.Criteria, nil
}

// believable checks what the policies say against what any decision must be,
// whatever the policies are.
func believable(stage Stage, verdict Verdict, criteria []Criterion, more ...string) error {
	worst := Error
	seen := map[string]bool{}
	rank := len(verdicts)
	for _, c := range criteria {
		r := slices.Index(verdicts, c.Verdict)
		switch {
		case c.ID == "" || seen[c.ID]:
			return fmt.Errorf("%w: criterion %q is nameless or there twice", ErrEvaluation, c.ID)
		case r < 0:
			return fmt.Errorf("%w: criterion %s has the unknown verdict %q", ErrEvaluation, c.ID, c.Verdict)
		case c.Evidence == nil:
			return fmt.Errorf("%w: criterion %s has no list of evidence", ErrEvaluation, c.ID)
		}
		seen[c.ID] = true
		rank = min(rank, r)
	}
	for _, id := range slices.Concat(Required[stage], more) {
		if !seen[id] {
			return fmt.Errorf("%w: criterion %s is required and missing", ErrEvaluation, id)
		}
	}
	if rank < len(verdicts) {
		worst = verdicts[rank]
	}
	if verdict != worst {
		return fmt.Errorf("%w: the verdict is %q, but the worst of its criteria is %q", ErrEvaluation, verdict, worst)
	}
	return nil
}

// waivedRightly refuses a criterion that is excused by a waiver that there is
// not, or that must not be, whatever the policies are.
func waivedRightly(in Input, criteria []Criterion) error {
	for _, c := range criteria {
		if c.Waiver == "" {
			continue
		}
		at := slices.IndexFunc(in.Waivers, func(w Waiver) bool {
			return w.Name == c.Waiver && w.Criterion == c.ID && w.Environment == in.Environment
		})
		production := in.Stage == Promotion || in.Stage == Serving
		switch {
		case c.Verdict == Pass:
			return fmt.Errorf("%w: criterion %s passes by waiver %s", ErrEvaluation, c.ID, c.Waiver)
		case at < 0:
			return fmt.Errorf("%w: criterion %s is waived by %q, which does not exist", ErrEvaluation, c.ID, c.Waiver)
		case environments.Firm(c.ID, production):
			return fmt.Errorf("%w: criterion %s is waived, and must not be", ErrEvaluation, c.ID)
		}
	}
	return nil
}

// Digest is what d.ID must be: the digest of the canonical JSON of everything
// else in d.
func (d Decision) Digest() (string, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("digest of a decision: %w", err)
	}
	v, err := decode(text)
	if err != nil {
		return "", fmt.Errorf("digest of a decision: %w", err)
	}
	delete(v.(map[string]any), "decision")
	return canonicalDigest(v)
}
