package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	gh "github.com/google/go-github/v60/github"
)

// checkRun is one of gate's own.
type checkRun struct {
	id          int64
	name        string
	stamp       stamp
	status      string
	conclusion  string
	url         string
	annotations int
	output      *gh.CheckRunOutput
}

// runs are gate's own check runs of the commit by name, oldest first; of one
// name alone when it is given. Other Apps' runs are not gate's, whatever they
// call themselves.
func (p *publisher) runs(ctx context.Context, name string) (map[string][]checkRun, error) {
	c := p.c
	opts := &gh.ListCheckRunsOptions{Filter: gh.String("all"), ListOptions: gh.ListOptions{PerPage: 100}}
	if c.Authority() == App {
		opts.AppID = &c.tokens.appID
	}
	if name != "" {
		opts.CheckName = &name
	}
	found := map[string][]checkRun{}
	seen := map[int64]bool{}
	for {
		list, resp, err := c.api.Checks.ListCheckRunsForRef(ctx, c.owner, c.repo, p.v.Commit, opts)
		if err != nil {
			return nil, c.fail("list the check runs of "+p.v.Commit, err)
		}
		for _, r := range list.CheckRuns {
			ours := r.GetApp().GetSlug() == actionsSlug
			if c.Authority() == App {
				ours = r.GetApp().GetID() == c.tokens.appID
			}
			s, ok := parseStamp(r.GetExternalID())
			// Pages move when runs are added while they are read.
			if !ours || !ok || seen[r.GetID()] || r.GetHeadSHA() != p.v.Commit {
				continue
			}
			seen[r.GetID()] = true
			found[r.GetName()] = append(found[r.GetName()], checkRun{
				id: r.GetID(), name: r.GetName(), stamp: s, status: r.GetStatus(), conclusion: r.GetConclusion(), url: r.GetHTMLURL(),
				annotations: r.GetOutput().GetAnnotationsCount(), output: r.Output,
			})
		}
		if resp.NextPage == 0 {
			break
		}
		opts.Page = resp.NextPage
	}
	for _, all := range found {
		slices.SortFunc(all, func(a, b checkRun) int { return cmp.Compare(a.id, b.id) })
	}
	return found, nil
}

func (p *publisher) details() *string {
	if p.v.DetailsURL == "" {
		return nil
	}
	return &p.v.DetailsURL
}

// create makes the run in progress, with the first annotations: so nobody else
// can have added them, too.
func (p *publisher) create(ctx context.Context, s sheet) error {
	started := gh.Timestamp{Time: p.c.now().UTC()}
	_, _, err := p.c.api.Checks.CreateCheckRun(ctx, p.c.owner, p.c.repo, gh.CreateCheckRunOptions{
		Name: s.name, HeadSHA: p.v.Commit, DetailsURL: p.details(), ExternalID: gh.String(p.mine.String()),
		Status: gh.String("in_progress"), StartedAt: &started,
		Output: &gh.CheckRunOutput{
			Title: gh.String(p.v.title("being published")), Summary: gh.String("The verdict is being published. Until it is, there is none."),
			Annotations: requests(s.annotations[:min(maxPerRequest, len(s.annotations))]),
		},
	})
	return p.c.fail("create the check run "+s.name, err)
}

// annotate adds what the run lacks. It looks first what is there, since each
// update adds to it.
func (p *publisher) annotate(ctx context.Context, r checkRun, s sheet) error {
	if r.annotations >= len(s.annotations) {
		return nil
	}
	for range maxAttempts + maxAnnotations/maxPerRequest {
		have, err := p.annotationsOf(ctx, r.id)
		if err != nil {
			return err
		}
		missing := slices.DeleteFunc(slices.Clone(s.annotations), func(a annotation) bool { return have[a] })
		if len(missing) == 0 {
			return nil
		}
		_, _, err = p.c.api.Checks.UpdateCheckRun(once(ctx), p.c.owner, p.c.repo, r.id, gh.UpdateCheckRunOptions{
			Name: s.name,
			Output: &gh.CheckRunOutput{
				Title: gh.String(p.v.title("being published")), Summary: gh.String("The verdict is being published. Until it is, there is none."),
				Annotations: requests(missing[:min(maxPerRequest, len(missing))]),
			},
		})
		if err = p.c.fail("annotate the check run "+s.name, err); err != nil && !errors.Is(err, ErrUnknownOutcome) {
			return err
		}
	}
	return fmt.Errorf("GitHub: annotate the check run %s: the annotations never came to be there: %w", s.name, ErrUnavailable)
}

func (p *publisher) annotationsOf(ctx context.Context, id int64) (map[annotation]bool, error) {
	have := map[annotation]bool{}
	opts := &gh.ListOptions{PerPage: 100}
	for {
		list, resp, err := p.c.api.Checks.ListCheckRunAnnotations(ctx, p.c.owner, p.c.repo, id, opts)
		if err != nil {
			return nil, p.c.fail("list annotations", err)
		}
		for _, a := range list {
			have[annotationOf(a)] = true
		}
		if resp.NextPage == 0 {
			return have, nil
		}
		opts.Page = resp.NextPage
	}
}

// complete says the verdict.
func (p *publisher) complete(ctx context.Context, r checkRun, s sheet) error {
	out := &gh.CheckRunOutput{Title: &s.title, Summary: &s.summary}
	if s.text != "" {
		out.Text = &s.text
	}
	return p.finish(ctx, r, p.mine, s.conclusion, out)
}

// supersede ends a run that a newer decision's stands above.
func (p *publisher) supersede(ctx context.Context, r, newer checkRun) error {
	return p.finish(ctx, r, p.mine, cancelled, &gh.CheckRunOutput{
		Title: gh.String(p.v.title("superseded")), Summary: gh.String("A newer decision on this commit is published: " + code(newer.stamp.decision) + "."),
	})
}

// repeat makes a run that was created after the newer decision's one say what
// that says. When that is still to come, its publisher finds this run as one of
// its own and completes it.
func (p *publisher) repeat(ctx context.Context, r, newer checkRun) error {
	c := p.c
	_, _, err := c.api.Checks.UpdateCheckRun(ctx, c.owner, c.repo, r.id, gh.UpdateCheckRunOptions{Name: r.name, ExternalID: gh.String(newer.stamp.String())})
	if err != nil {
		return c.fail("hand over the check run "+r.name, err)
	}
	now, _, err := c.api.Checks.GetCheckRun(ctx, c.owner, c.repo, newer.id)
	if err != nil {
		return c.fail("read the check run "+r.name, err)
	}
	if now.GetStatus() != "completed" {
		return nil
	}
	out := &gh.CheckRunOutput{Title: now.GetOutput().Title, Summary: now.GetOutput().Summary, Text: now.GetOutput().Text}
	if out.GetTitle() == "" || out.GetSummary() == "" {
		out.Title, out.Summary = gh.String("see the newer decision"), gh.String("Repeats "+code(newer.stamp.decision)+".")
	}
	return p.finish(ctx, r, newer.stamp, repeated(now.GetConclusion()), out)
}

// finish is the only request that concludes a run.
func (p *publisher) finish(ctx context.Context, r checkRun, s stamp, conclusion string, out *gh.CheckRunOutput) error {
	completed := gh.Timestamp{Time: p.c.now().UTC()}
	_, _, err := p.c.api.Checks.UpdateCheckRun(ctx, p.c.owner, p.c.repo, r.id, gh.UpdateCheckRunOptions{
		Name: r.name, ExternalID: gh.String(s.String()), DetailsURL: p.details(),
		Status: gh.String("completed"), Conclusion: &conclusion, CompletedAt: &completed, Output: out,
	})
	return p.c.fail("complete the check run "+r.name, err)
}
