package runner

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/rhysd/actionlint"

	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

// begin starts the workflows that GitHub starts for the event.
func (r *Runner) begin(e githubtest.Event, on occasion) {
	if r.ctx.Err() != nil {
		return
	}
	if err := r.tryBegin(e, on); err != nil {
		r.t.Errorf("%s of %.40s: %v", e.Name, e.SHA, err)
	}
}

func (r *Runner) tryBegin(e githubtest.Event, on occasion) error {
	if (e.Name == "push" || e.Name == "pull_request") && r.skipped(on.headSHA) {
		return nil
	}
	started, err := r.o.GitHub.Triggers(e)
	if err != nil {
		return err
	}
	for _, s := range started {
		w, err := r.load(s.At, path.Base(s.Path))
		if err != nil {
			return err
		}
		if on.secrets != s.Secrets {
			return fmt.Errorf("%s: a pull request from a fork: this runner does not know those", s.Path)
		}
		one := on
		if e.Name == "workflow_dispatch" {
			if one.inputs, err = w.inputs(on.payload); err != nil {
				return fmt.Errorf("%s: %w", s.Path, err)
			}
		}
		r.start(w, one)
	}
	return nil
}

// skipped says whether the commit's message asks for no workflows.
func (r *Runner) skipped(commit string) bool {
	message, err := r.bare.output("log", "-1", "--format=%B", commit)
	return err == nil && slices.ContainsFunc([]string{"[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]", "\nskip-checks:"}, func(s string) bool {
		return strings.Contains(string(message), s)
	})
}

// inputs are those of a manual start, checked as GitHub does, with defaults.
func (w *workflow) inputs(payload object) (object, error) {
	on, ok := w.on("workflow_dispatch").(*actionlint.WorkflowDispatchEvent)
	if !ok {
		return nil, fmt.Errorf("it can't be started by hand")
	}
	given, _ := payload["inputs"].(object)
	out := object{}
	for _, in := range on.Inputs {
		name := in.Name.Value
		value := ""
		if in.Default != nil {
			value = in.Default.Value
		}
		if v, ok := given[name]; ok {
			var err error
			if value, err = text(v); err != nil {
				return nil, fmt.Errorf("input %s: %w", name, err)
			}
		}
		switch in.Type {
		case actionlint.WorkflowDispatchEventInputTypeBoolean:
			if value != "" && value != "true" && value != "false" {
				return nil, fmt.Errorf("input %s: %q is no boolean", name, value)
			}
			out[name] = value == "true"
			continue
		case actionlint.WorkflowDispatchEventInputTypeChoice:
			if value != "" && !slices.Contains(values(in.Options), value) {
				return nil, fmt.Errorf("input %s: %q is none of %v", name, value, values(in.Options))
			}
		}
		if value == "" && in.Required != nil && in.Required.Value {
			return nil, fmt.Errorf("input %s is required", name)
		}
		out[name] = value
	}
	return out, nil
}

// pushed is what happens after a push.
func (r *Runner) pushed(ref, before, after string, by pusher) {
	if strings.Trim(after, "0") == "" || !strings.HasPrefix(ref, "refs/heads/") && !strings.HasPrefix(ref, "refs/tags/") {
		return
	}
	branch := refName(ref)
	on := occasion{
		event: "push", sha: after, ref: ref, headSHA: after, headBranch: branch, actor: by.login, title: r.subject(after), secrets: true,
		payload: object{"ref": ref, "before": before, "after": after, "repository": r.repositoryObject(), "sender": person(by.login)},
	}
	r.begin(githubtest.Event{Name: "push", SHA: after, Ref: ref, ByToken: by.workflow}, on)
	r.mu.Lock()
	var moved []*pull
	for _, p := range r.pulls {
		if p.open && ref == "refs/heads/"+p.branch {
			moved = append(moved, p)
		}
	}
	r.mu.Unlock()
	for _, p := range moved {
		r.o.GitHub.Push(p.number, after)
		r.pullEvent(p, "synchronize", after, by)
	}
}

func (r *Runner) subject(commit string) string {
	s, err := r.bare.line("log", "-1", "--format=%s", commit)
	if err != nil {
		return ""
	}
	return s
}

// completed starts what waits for the end of a run.
func (r *Runner) completed(run *Run) {
	tip, err := r.bare.tip(r.o.Branch)
	if err != nil {
		r.t.Errorf("%s: %v", r.o.Branch, err)
		return
	}
	payload := object{
		"action": "completed", "repository": r.repositoryObject(), "sender": person(run.Actor), "workflow": object{"name": run.Name, "path": workflowDir + run.File},
		"workflow_run": object{
			"id": float64(run.ID), "name": run.Name, "event": run.Event, "status": Completed, "conclusion": run.Conclusion, "head_sha": run.HeadSHA, "head_branch": run.HeadBranch,
			"run_attempt": float64(run.Attempt), "path": workflowDir + run.File, "head_repository": object{"full_name": r.o.Repository}, "repository": object{"full_name": r.o.Repository},
		},
	}
	r.begin(githubtest.Event{Name: "workflow_run", Action: "completed", Workflow: run.Name, Branch: run.HeadBranch}, occasion{
		event: "workflow_run", sha: tip, ref: "refs/heads/" + r.o.Branch, headSHA: tip, headBranch: r.o.Branch, actor: run.Actor, title: run.Name, payload: payload, secrets: true,
	})
}

// Schedule is the moment of a cron line.
func (r *Runner) Schedule(cron string) {
	r.t.Helper()
	tip, err := r.bare.tip(r.o.Branch)
	if err != nil {
		r.t.Fatal(err)
	}
	r.begin(githubtest.Event{Name: "schedule", Cron: cron}, occasion{
		event: "schedule", sha: tip, ref: "refs/heads/" + r.o.Branch, headSHA: tip, headBranch: r.o.Branch, actor: "scheduler", payload: object{"schedule": cron}, secrets: true,
	})
}

// Comment lets somebody comment on a pull request, and returns the comment's id.
func (r *Runner) Comment(number int, login, body string) int64 {
	r.t.Helper()
	id := r.o.GitHub.SayComment(number, login, body)
	tip, err := r.bare.tip(r.o.Branch)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	p := r.pulls[number]
	r.mu.Unlock()
	if p == nil {
		r.t.Fatalf("there is no pull request %d", number)
	}
	url := fmt.Sprintf("%s/%s/pull/%d", server, r.o.Repository, number)
	r.begin(githubtest.Event{Name: "issue_comment", Action: "created"}, occasion{
		event: "issue_comment", sha: tip, ref: "refs/heads/" + r.o.Branch, headSHA: tip, headBranch: r.o.Branch, actor: login, title: p.title, secrets: true,
		payload: object{
			"action": "created", "repository": r.repositoryObject(), "sender": person(login),
			"issue":   object{"number": float64(number), "pull_request": object{"url": url}, "title": p.title, "user": person(p.author)},
			"comment": object{"id": float64(id), "body": body, "user": person(login), "created_at": now(), "html_url": fmt.Sprintf("%s#issuecomment-%d", url, id), "performed_via_github_app": nil},
		},
	})
	return id
}

func person(login string) object {
	kind := "User"
	if strings.HasSuffix(login, "[bot]") {
		kind = "Bot"
	}
	return object{"login": login, "type": kind}
}

func (r *Runner) repositoryObject() object {
	r.mu.Lock()
	id := r.repository
	r.mu.Unlock()
	return object{"full_name": r.o.Repository, "id": float64(id), "default_branch": r.o.Branch}
}

// dispatches starts what was dispatched by the API since the last look.
func (r *Runner) dispatches() {
	all := r.o.GitHub.View().Dispatches
	r.mu.Lock()
	fresh := all[r.dispatched:]
	r.dispatched = len(all)
	r.mu.Unlock()
	for _, d := range fresh {
		tip, err := r.bare.tip(d.Ref)
		if err != nil {
			r.t.Errorf("dispatch of %s: there is no branch %q", d.Workflow, d.Ref)
			continue
		}
		inputs, err := objectOf(d.Inputs)
		if err != nil {
			inputs = object{}
		}
		r.begin(githubtest.Event{Name: "workflow_dispatch", Ref: d.Ref, Workflow: d.Workflow}, occasion{
			event: "workflow_dispatch", sha: tip, ref: "refs/heads/" + d.Ref, headSHA: tip, headBranch: d.Ref, actor: d.Who, run: d.Run, title: d.Workflow, secrets: true,
			payload: object{"inputs": inputs, "repository": r.repositoryObject(), "sender": person(d.Who)},
		})
	}
}
