package runner

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/rhysd/actionlint"
)

const workflowDir = ".github/workflows/"

// workflow is a file as it is at one commit.
type workflow struct {
	file   string // without its folder
	name   string
	commit string
	*actionlint.Workflow
}

// load reads a workflow's file, and refuses one that GitHub would not take or
// that holds what this runner does not know.
func (r *Runner) load(commit, file string) (*workflow, error) {
	src, err := r.bare.output("show", commit+":"+workflowDir+file)
	if err != nil {
		return nil, fmt.Errorf("workflow %s is not in commit %.12s: %w", file, commit, err)
	}
	w, err := parse(file, src)
	if err != nil {
		return nil, err
	}
	w.commit = commit
	return w, nil
}

func parse(file string, src []byte) (*workflow, error) {
	lint, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		return nil, err
	}
	found, err := lint.Lint(file, src, nil)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, f := range found {
		errs = append(errs, f)
	}
	parsed, problems := actionlint.Parse(src)
	for _, p := range problems {
		errs = append(errs, p)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("workflow %s: %w", file, err)
	}
	w := &workflow{file: file, name: path.Join(workflowDir, file), Workflow: parsed}
	if parsed.Name != nil {
		w.name = parsed.Name.Value
	}
	errs = append(errs, w.unknown()...)
	for _, id := range sorted(w.Jobs) {
		errs = append(errs, unknownOfJob(id, w.Jobs[id])...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("workflow %s: %w", file, err)
	}
	return w, nil
}

// unknown is what the file holds that this runner does not know.
func (w *workflow) unknown() []error {
	var errs []error
	no := func(what string, there bool) {
		if there {
			errs = append(errs, fmt.Errorf("this runner does not know %s", what))
		}
	}
	for _, e := range w.On {
		switch e := e.(type) {
		case *actionlint.WebhookEvent:
			known := []string{"push", "pull_request", "merge_group", "workflow_run", "issue_comment"}
			no("the event "+e.EventName(), !slices.Contains(known, e.EventName()))
			no("filters by path", !e.Paths.IsEmpty() || !e.PathsIgnore.IsEmpty())
			if types := values(e.Types); e.EventName() == "workflow_run" || e.EventName() == "issue_comment" {
				// Of these, it makes one kind alone.
				want := map[string]string{"workflow_run": "completed", "issue_comment": "created"}[e.EventName()]
				no(fmt.Sprintf("types %v of %s", types, e.EventName()), !slices.Equal(types, []string{want}))
			}
		case *actionlint.WorkflowCallEvent:
			no("secrets and outputs of reusable workflows", len(e.Secrets) > 0 || len(e.Outputs) > 0)
		case *actionlint.WorkflowDispatchEvent:
			for name, in := range e.Inputs {
				switch in.Type {
				case actionlint.WorkflowDispatchEventInputTypeNumber, actionlint.WorkflowDispatchEventInputTypeEnvironment:
					no("the type of the input "+name, true)
				}
			}
		case *actionlint.ScheduledEvent:
		default:
			no("the event "+e.EventName(), true)
		}
	}
	no("env as one expression", w.Env != nil && w.Env.Expression != nil)
	no("permissions for all at once", w.Permissions != nil && w.Permissions.All != nil)
	no("workflows that don't limit permissions", w.Permissions == nil)
	return errs
}

func unknownOfJob(id string, j *actionlint.Job) []error {
	var errs []error
	no := func(what string, there bool) {
		if there {
			errs = append(errs, fmt.Errorf("job %s: this runner does not know %s", id, what))
		}
	}
	no("strategy", j.Strategy != nil)
	no("container", j.Container != nil)
	no("services", j.Services != nil)
	no("snapshot", j.Snapshot != nil)
	no("continue-on-error", j.ContinueOnError != nil)
	no("outputs", len(j.Outputs) > 0)
	no("env as one expression", j.Env != nil && j.Env.Expression != nil)
	no("permissions for all at once", j.Permissions != nil && j.Permissions.All != nil)
	no("an environment with an address", j.Environment != nil && j.Environment.URL != nil)
	no("timeout-minutes as an expression", j.TimeoutMinutes != nil && j.TimeoutMinutes.Expression != nil)
	if call := j.WorkflowCall; call != nil {
		no("secrets for reusable workflows", call.InheritSecrets || len(call.Secrets) > 0)
		return errs
	}
	no("runs-on but labels", j.RunsOn == nil || j.RunsOn.LabelsExpr != nil || j.RunsOn.Group != nil)
	for n, s := range j.Steps {
		no(fmt.Sprintf("continue-on-error (step %d)", n+1), s.ContinueOnError != nil)
		no(fmt.Sprintf("timeout-minutes (step %d)", n+1), s.TimeoutMinutes != nil)
		no(fmt.Sprintf("env as one expression (step %d)", n+1), s.Env != nil && s.Env.Expression != nil)
		if run, ok := s.Exec.(*actionlint.ExecRun); ok {
			no(fmt.Sprintf("another shell than bash (step %d)", n+1), run.Shell != nil && run.Shell.Value != "bash")
		}
	}
	return errs
}

func values(all []*actionlint.String) []string {
	var out []string
	for _, s := range all {
		out = append(out, s.Value)
	}
	return out
}

// on is the file's event of that name, nil without one.
func (w *workflow) on(name string) actionlint.Event {
	for _, e := range w.On {
		if e.EventName() == name {
			return e
		}
	}
	return nil
}

// permissions are what the file or a job says, in the words of the API; nil: it
// says nothing.
func permissions(p *actionlint.Permissions) map[string]string {
	if p == nil {
		return nil
	}
	out := map[string]string{}
	for _, scope := range p.Scopes {
		if scope.Value.Value != "none" {
			out[strings.ReplaceAll(scope.Name.Value, "-", "_")] = scope.Value.Value
		}
	}
	return out
}

// within says whether all of inner is granted by outer.
func within(inner, outer map[string]string) bool {
	rank := map[string]int{"": 0, "read": 1, "write": 2}
	for name, level := range inner {
		if rank[level] > rank[outer[name]] {
			return false
		}
	}
	return true
}
