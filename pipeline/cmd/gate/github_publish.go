package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/workflows"
	"github.com/smartcloudops/gate/pipeline/plan"
	"github.com/smartcloudops/gate/pipeline/promotion"
	"github.com/smartcloudops/gate/pipeline/report"
	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/policies"
)

// GithubPublishCmd judges what a workflow has measured and shows it on GitHub.
type GithubPublishCmd struct {
	ID int64 `name:"run" required:"" placeholder:"ID" help:"The workflow run that has measured."`
}

// Run never runs code of the change: what the run uploaded is data that anybody
// may have made. Whatever becomes of it, the commit gets a verdict, and one that
// nothing bears out is no pass.
func (c *GithubPublishCmd) Run(ctx context.Context, g *Globals) error {
	client, err := g.github()
	if err != nil {
		return err
	}
	measured, err := client.Run(ctx, c.ID)
	if err != nil {
		return err
	}
	p := &publication{Globals: g, client: client, run: *measured}
	if err := p.admissible(); err != nil {
		return err
	}
	if p.run.Event == "pull_request" || p.run.Event == "merge_group" {
		return p.change(ctx)
	}
	return p.protected(ctx)
}

// github is the client that the environment of a workflow describes.
func (g *Globals) github() (*github.Client, error) {
	opt, err := github.OptionsFrom(g.Getenv)
	if err == nil {
		var c *github.Client
		if c, err = github.New(opt); err == nil {
			return c, nil
		}
	}
	return nil, &Exit{promotion.CodeUsage, err}
}

// publication is one measured commit on its way to GitHub.
type publication struct {
	*Globals
	client *github.Client
	run    github.Run
	pull   *github.PullRequest // nil: the commit is of none
}

// admissible refuses runs that are not a measurement of this repository's own
// workflows.
func (p *publication) admissible() error {
	if want := p.Getenv("GITHUB_REPOSITORY_ID"); want != "" && want != strconv.FormatInt(p.run.Repository, 10) {
		return fmt.Errorf("run %d is of another repository", p.run.ID)
	}
	switch p.run.Path {
	case workflows.Dir + "/" + workflows.Commit, workflows.Dir + "/" + workflows.Drills:
	default:
		return fmt.Errorf("run %d is of workflow %.100q, which measures nothing for gate", p.run.ID, p.run.Path)
	}
	if p.run.Status != "completed" {
		return &Exit{promotion.CodeApproval, fmt.Errorf("run %d is %s: publish it when it is over", p.run.ID, p.run.Status)}
	}
	return nil
}

// nonce is what the workflow gave the call: no other run, attempt or commit has
// it.
func (p *publication) nonce() string {
	return fmt.Sprintf("%d-%d-%d-%s", p.run.Repository, p.run.ID, p.run.Attempt, p.run.Head.SHA)
}

// change judges a proposal apart, by the protected branch's policies.
func (p *publication) change(ctx context.Context) error {
	pulls, err := p.pulls(ctx)
	if err != nil {
		return err
	}
	if len(pulls) == 0 {
		fmt.Fprintf(p.Err, "gate: no open pull request has the head %s: nothing is waiting for a verdict\n", p.run.Head.SHA)
		return nil
	}
	p.pull = &pulls[0]
	at, done, err := p.makeApart(ctx, ApartFlags{Base: "HEAD"})
	if err != nil {
		return err
	}
	defer func() {
		if derr := done(); derr != nil {
			say(p.Err, derr)
		}
	}()
	p.Globals = at
	s, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.clone.Fetch(ctx, p.run.Head.SHA); err != nil {
		return err
	}
	if s.judge.Change, err = s.base.change(ctx, s.clone, p.run.Head.SHA); err != nil {
		return err
	}
	s.judge.Change.Author = p.pull.Author
	if s.judge.Change.Approvals, err = p.approvals(ctx, s); err != nil {
		return err
	}
	return p.judge(ctx, s, policies.Proposal)
}

// pulls are the open pull requests that the measured commit is the head of, or
// that it would merge.
func (p *publication) pulls(ctx context.Context) ([]github.PullRequest, error) {
	if p.run.Event != "merge_group" {
		return p.client.PullRequestsOf(ctx, p.run.Head)
	}
	n, err := github.QueuedPullRequest(p.run.Head.Branch)
	if err != nil {
		return nil, err
	}
	pull, err := p.client.PullRequest(ctx, n)
	if err != nil {
		return nil, err
	}
	return []github.PullRequest{*pull}, nil
}

// approvals are those of people whom the base lists, for exactly the commit
// that was measured. One of a queue's commit is that of the pull request whose
// owned files it has, byte by byte.
func (p *publication) approvals(ctx context.Context, s *session) ([]policies.Approval, error) {
	out := []policies.Approval{}
	if len(s.judge.Change.Owned) == 0 {
		return out, nil
	}
	if p.run.Head.SHA != p.pull.Head.SHA {
		same, err := s.sameOwned(ctx, p.pull.Head.SHA, p.run.Head.SHA)
		if err != nil || !same {
			return out, err
		}
	}
	all, err := p.client.Approvals(ctx, p.pull.Number, p.pull.Head.SHA)
	if err != nil {
		return nil, err
	}
	first := s.base.Declarations.Environments[0].Name
	for _, a := range all {
		if s.base.Declarations.Trust.Approver(a.Login, first) {
			out = append(out, policies.Approval{By: a.Login, Commit: p.run.Head.SHA})
		}
	}
	return out, nil
}

// sameOwned says whether both commits have the same content in every owned file
// that either touches.
func (s *session) sameOwned(ctx context.Context, a, b string) (bool, error) {
	if err := s.clone.Fetch(ctx, a); err != nil {
		return false, err
	}
	var paths []string
	for _, head := range []string{a, b} {
		touched, err := s.clone.Touched(ctx, s.base.Commit, head)
		if err != nil {
			return false, err
		}
		for _, path := range touched {
			if s.trust().OwnedKind(path) != "" {
				paths = append(paths, path)
			}
		}
	}
	return s.clone.SameFiles(ctx, a, b, paths)
}

// protected signs what was measured of a commit of the protected branch, and
// judges whether it is ready in the first environment.
func (p *publication) protected(ctx context.Context) error {
	s, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.fetched(ctx); err != nil {
		return err
	}
	branch := s.decl.Trust.Protected
	switch {
	case branch == "":
		return &Exit{promotion.CodeUsage, errors.New("no branch is protected: declare protected in environments/trust.yaml")}
	case p.run.Head.Branch != branch:
		return fmt.Errorf("run %d is of branch %.100q, and only %s is signed for", p.run.ID, p.run.Head.Branch, branch)
	}
	if err := s.clone.Fetch(ctx, p.run.Head.SHA); err != nil {
		return err
	}
	if on := s.onBranch(branch)(ctx, p.run.Head.SHA); on.Contains != "yes" {
		return fmt.Errorf("commit %s is not known to be on %s: only what was merged is signed for", p.run.Head.SHA, branch)
	}
	if err := p.remembered(ctx, s, branch); err != nil {
		return err
	}
	if s.decl.Trust.Remote == "" {
		fmt.Fprintln(p.Err, "gate: the ledger has no remote (environments/trust.yaml): the verdict is published, and its evidence is kept nowhere")
	}
	if err := p.judge(ctx, s, policies.Readiness); err != nil {
		return err
	}
	return s.tidy(ctx)
}

// memory is how many commits of the protected branch are asked for the mark that
// their check runs repeat.
const memory = 20

// remembered refuses a ledger that lacks what a check run says was in it: a
// runner begins with an empty state, and has no mark of its own.
func (p *publication) remembered(ctx context.Context, s *session, branch string) error {
	if s.ledger.Remote() == "" {
		return nil
	}
	commits, err := s.clone.Ancestors(ctx, "refs/remotes/origin/"+branch, memory)
	if err != nil {
		return err
	}
	for _, commit := range commits {
		m, err := p.client.PublishedMark(ctx, commit)
		if err != nil {
			return err
		}
		if m.Seq > 0 {
			return s.ledger.CheckMark(ctx, s.ledger.ID(), m.Seq, m.Digest)
		}
	}
	return nil
}

// judge takes the evidence over, decides, and publishes.
func (p *publication) judge(ctx context.Context, s *session, stage policies.Stage) error {
	first := s.decl.Environments[0].Name
	taken, problem := p.take(ctx, s, stage == policies.Proposal)
	if problem != nil {
		say(p.Err, problem)
	}
	var d policies.Decision
	res := &run.Result{App: s.decl.App.Name, Commit: p.run.Head.SHA, Through: first, Started: p.run.Started, Finished: p.run.Updated}
	var planned *report.Plan
	switch {
	case taken.record != nil:
		v, err := s.journal.View(ctx)
		if err != nil {
			return err
		}
		rec, err := s.judge.Decide(ctx, v, taken.record, first, stage)
		if err != nil {
			return err
		}
		if stage != policies.Proposal {
			if _, err := s.journal.Decision(ctx, rec); err != nil {
				return err
			}
		}
		d = rec.Decision
		res.Release, res.Decisions = taken.record.Release, []promotion.DecisionRecord{rec}
		for _, e := range taken.Evidence {
			res.Evidence = append(res.Evidence, run.Measured{Digest: e.Digest, Runs: 1, Evidence: e.evidence})
		}
		m := plan.Make(ctx, s.clone, v, taken.record, "")
		planned = &m
	default:
		var err error
		if d, err = s.judge.Policies.Unbuilt(p.run.Head.SHA, first, stage, time.Now(), toBlame(problem), problem.Error()); err != nil {
			return err
		}
		res.Decisions = []promotion.DecisionRecord{{Decision: d}}
		res.Findings = buildFindings(problem)
	}
	res.Exit, res.Summary = promotion.CodeOf(d.Verdict), string(d.Verdict)
	if problem != nil {
		res.Summary += ": " + problem.Error()
	}
	if err := p.publish(ctx, s, d, res, planned, problem); err != nil {
		return err
	}
	if s.Output == "json" {
		if err := report.JSON(s.Out, d); err != nil {
			return err
		}
	} else if err := report.Decision(s.Out, d); err != nil {
		return err
	}
	return nil
}

// take downloads the run's evidence and takes it over. Without it there still is
// the release, to be judged by no evidence. The error says what is missing.
func (p *publication) take(ctx context.Context, s *session, change bool) (*takenOver, error) {
	dir, err := os.MkdirTemp("", "gate-evidence-")
	if err != nil {
		return &takenOver{}, err
	}
	defer os.RemoveAll(dir)
	problem := p.download(ctx, dir)
	if problem == nil {
		var taken *takenOver
		taken, problem = s.importEvidence(ctx, imported{
			Dir: dir, Commit: p.run.Head.SHA, Nonce: p.nonce(), Since: p.run.Started, Until: p.run.Updated, Change: change,
		})
		if problem == nil {
			return taken, nil
		}
	}
	rec, err := s.buildOnly(ctx, p.run.Head.SHA)
	if err != nil {
		return &takenOver{}, err
	}
	return &takenOver{record: rec, Release: rec.Release, Commit: rec.Commit}, problem
}

func (p *publication) download(ctx context.Context, dir string) error {
	a, err := p.client.Evidence(ctx, p.run)
	if err != nil {
		return err
	}
	return p.client.Download(ctx, *a, dir, github.DefaultLimits)
}

// publish writes check runs, comment, findings and summary. The check runs are
// what a branch can require, so only they must succeed.
func (p *publication) publish(ctx context.Context, s *session, d policies.Decision, res *run.Result, planned *report.Plan, problem error) error {
	mark, err := s.mark(ctx)
	if err != nil {
		return err
	}
	published, err := p.client.PublishVerdict(ctx, github.Verdict{
		Commit: p.run.Head.SHA, Environment: d.Environment, Decision: d, Findings: report.Findings(res),
		DetailsURL: p.run.URL, Mark: mark,
	})
	if err != nil {
		return err
	}
	for _, r := range published.Runs {
		fmt.Fprintf(p.Err, "%-24s %s\n", r.Name, r.Conclusion)
	}
	var soft []error
	if p.pull != nil && p.run.Event == "pull_request" {
		var b bytes.Buffer
		data := report.CommentData{
			Commit: p.run.Head.SHA, Binding: p.client.Authority() == github.App, Decision: &d, Plan: planned, Report: p.run.URL,
		}
		if problem != nil {
			data.Problem = problem.Error()
		}
		soft = append(soft, report.Comment(&b, data))
		_, err := p.client.UpdateComment(ctx, github.Comment{
			PullRequest: p.pull.Number, Commit: p.run.Head.SHA, Decision: d, Mark: mark, Body: b.String(), DetailsURL: p.run.URL,
		})
		soft = append(soft, err)
	}
	soft = append(soft, p.codeScanning(ctx, res), p.summary(res))
	if err := errors.Join(soft...); err != nil {
		say(p.Err, fmt.Errorf("the verdict is published, but: %w", err))
	}
	return nil
}

func (p *publication) codeScanning(ctx context.Context, res *run.Result) error {
	if gaps := report.Unmeasured(res); len(gaps) > 0 {
		// GitHub would take what is not found for mended.
		fmt.Fprintf(p.Err, "gate: code scanning is left as it is: not measured: %v\n", gaps)
		return nil
	}
	ref := "refs/heads/" + p.run.Head.Branch
	if p.pull != nil {
		ref = fmt.Sprintf("refs/pull/%d/head", p.pull.Number)
	}
	if p.run.Event == "merge_group" {
		return nil // a commit that is gone in a moment
	}
	var b bytes.Buffer
	if err := report.SARIF(&b, res); err != nil {
		return err
	}
	out, err := p.client.UploadSARIF(ctx, p.run.Head.SHA, ref, b.Bytes())
	if err == nil && out.Why != "" {
		fmt.Fprintln(p.Err, "gate:", out.Why)
	}
	return err
}

func (p *publication) summary(res *run.Result) error {
	file := p.Getenv("GITHUB_STEP_SUMMARY")
	if file == "" {
		return nil
	}
	var b bytes.Buffer
	if err := report.Summary(&b, res, p.run.URL); err != nil {
		return err
	}
	return github.JobSummary(file, b.String())
}

// toBlame says whether the commit is at fault, and not what happened here.
func toBlame(err error) bool {
	var u *unbuilt
	var p environments.Problems
	return errors.As(err, &u) || errors.As(err, &p) || errors.Is(err, environments.ErrNotDeclared)
}

// buildFindings are the places that a build that failed complains of.
func buildFindings(err error) []checks.Finding {
	if b, ok := errors.AsType[*unbuilt](err); ok {
		return b.findings
	}
	return nil
}
