package runner

import (
	"fmt"
	"time"

	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

// pull is a pull request of this repository.
type pull struct {
	number       int
	branch, base string
	author       string
	title        string
	open         bool
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }

// OpenPull proposes a branch for another one, and returns the number.
func (r *Runner) OpenPull(branch, base, author, title string) int {
	r.t.Helper()
	head, err := r.bare.tip(branch)
	if err != nil {
		r.t.Fatalf("there is no branch %s: %v", branch, err)
	}
	p := &pull{branch: branch, base: base, author: author, title: title, open: true}
	p.number = r.o.GitHub.AddPull(githubtest.Pull{HeadBranch: branch, HeadSHA: head, BaseBranch: base, Author: author, Title: title})
	r.mu.Lock()
	r.pulls[p.number] = p
	r.mu.Unlock()
	r.pullEvent(p, "opened", head, pusher{login: author})
	return p.number
}

// pullEvent makes the merge commit, as GitHub does, and starts what it starts.
func (r *Runner) pullEvent(p *pull, action, head string, by pusher) {
	base, err := r.bare.tip(p.base)
	if err != nil {
		r.t.Errorf("pull request %d: %v", p.number, err)
		return
	}
	ref := fmt.Sprintf("refs/pull/%d/", p.number)
	merge, err := r.mergeCommit(base, head, fmt.Sprintf("Merge %s into %s", head, base))
	if err == nil {
		for name, commit := range map[string]string{ref + "head": head, ref + "merge": merge} {
			if _, err := r.bare.output("update-ref", name, commit); err != nil {
				r.t.Error(err)
			}
		}
	}
	on := occasion{
		event: "pull_request", sha: merge, ref: ref + "merge", baseRef: p.base, headRef: p.branch, headSHA: head, headBranch: p.branch, actor: by.login, title: p.title, secrets: true,
		payload: object{
			"action": action, "number": float64(p.number), "repository": r.repositoryObject(), "sender": person(by.login),
			"pull_request": object{
				"number": float64(p.number), "user": person(p.author), "title": p.title,
				"head": object{"sha": head, "ref": p.branch, "repo": object{"full_name": r.o.Repository}},
				"base": object{"sha": base, "ref": p.base, "repo": object{"full_name": r.o.Repository}},
			},
		},
	}
	r.begin(githubtest.Event{Name: "pull_request", Action: action, SHA: head, MergeSHA: merge, Base: p.base, ByToken: by.workflow}, on)
}

// mergeCommit is one of both; an error says that they conflict.
func (r *Runner) mergeCommit(base, head, message string) (string, error) {
	tree, err := r.bare.line("merge-tree", "--write-tree", base, head)
	if err != nil {
		return "", err
	}
	return r.bare.line("commit-tree", tree, "-p", base, "-p", head, "-m", message)
}

// Merge merges a pull request where the rules of its base let it, and returns
// the merge commit.
func (r *Runner) Merge(number int, login string) (string, error) {
	r.mu.Lock()
	p := r.pulls[number]
	r.mu.Unlock()
	if p == nil || !p.open {
		return "", fmt.Errorf("there is no open pull request %d", number)
	}
	head, err := r.bare.tip(p.branch)
	if err != nil {
		return "", err
	}
	base, err := r.bare.tip(p.base)
	if err != nil {
		return "", err
	}
	for _, c := range r.o.GitHub.Required(head, p.base) {
		if !c.Holds {
			return "", fmt.Errorf("the check %s is required: %s", c.Name, c.Why)
		}
	}
	merge, err := r.mergeCommit(base, head, fmt.Sprintf("Merge pull request #%d from %s\n\n%s", number, p.branch, p.title))
	if err != nil {
		return "", fmt.Errorf("it conflicts: %w", err)
	}
	if _, err := r.bare.output("update-ref", "refs/heads/"+p.base, merge, base); err != nil {
		return "", err
	}
	r.mu.Lock()
	p.open = false
	r.mu.Unlock()
	r.pushed("refs/heads/"+p.base, base, merge, pusher{login: login})
	return merge, nil
}

// Dispatch starts a workflow by hand, by the API as a person.
func (r *Runner) Dispatch(login, ref, file string, inputs map[string]string) error {
	in := object{}
	for k, v := range inputs {
		in[k] = v
	}
	return r.post(r.o.GitHub.UserToken(login), "/actions/workflows/"+file+"/dispatches", object{"ref": ref, "inputs": in})
}
