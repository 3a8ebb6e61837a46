package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/rhysd/actionlint"
)

// job takes a job to its end. An error is something that this runner does not
// understand; a job that fails is none.
func (r *Runner) job(ctx context.Context, run *Run, p plan, j *Job, needs object) error {
	err := r.tryJob(ctx, run, p, j, needs)
	r.change(j, func() {
		if err != nil {
			j.Conclusion, j.Why = Failure, err.Error()
		}
		j.Status = Completed
		if j.Conclusion == "" {
			j.Conclusion = Cancelled
		}
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("job %s: %w", j.ID, err)
	}
	return nil
}

func (r *Runner) tryJob(ctx context.Context, run *Run, p plan, j *Job, needs object) error {
	s := scope{
		contexts: object{"github": r.githubContext(run, nil, ""), "inputs": p.inputs, "vars": texts(r.o.Vars), "needs": needs},
		status:   &outcome{cancelled: ctx.Err() != nil},
	}
	for _, n := range needs {
		result, _ := n.(object)["result"].(string)
		s.status.failed = s.status.failed || result != Success
	}
	if ok, err := s.condition(j.condition()); err != nil || !ok {
		if err == nil {
			r.change(j, func() { j.Conclusion = Skipped })
		}
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := r.permit(p, j); err != nil {
		return err
	}
	if j.src.WorkflowCall != nil {
		return r.call(ctx, run, p, j, s)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	name, cancels, err := concurrencyOf(s, j.src.Concurrency)
	if err != nil {
		return err
	}
	if labels := values(j.src.RunsOn.Labels); slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(r.o.Labels, l) }) {
		return fmt.Errorf("there is no machine with the labels %v: it would wait for ever", labels)
	}
	secrets, err := r.environment(ctx, run, j, s)
	if err != nil {
		return cancelledOr(ctx, err)
	}
	if j.Conclusion != "" {
		return nil
	}
	at := r.join(cancel, name, cancels)
	defer at.leave()
	if err := at.wait(ctx); err != nil {
		return cancelledOr(ctx, err)
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return nil
	}
	r.change(j, func() { j.Status = InProgress })
	ctx, stop := context.WithTimeoutCause(ctx, j.limit(r.o.Limit), errors.New("it took too long"))
	defer stop()
	return r.steps(ctx, run, p, j, s, secrets)
}

// cancelledOr is err unless that is only the job's end.
func cancelledOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (j *Job) condition() string {
	if j.src.If == nil {
		return ""
	}
	return j.src.If.Value
}

func (j *Job) limit(most time.Duration) time.Duration {
	minutes := 360.0 // GitHub's
	if j.src.TimeoutMinutes != nil {
		minutes = j.src.TimeoutMinutes.Value
	}
	return min(most, time.Duration(minutes*float64(time.Minute)))
}

// permit finds out what the job's token may do.
func (r *Runner) permit(p plan, j *Job) error {
	have := permissions(j.src.Permissions)
	if have == nil {
		have = permissions(p.w.Permissions)
	}
	if p.grant != nil && !within(have, p.grant) {
		return fmt.Errorf("it asks for %v, and its caller grants %v alone: GitHub would not start it", have, p.grant)
	}
	r.change(j, func() { j.Permissions = copied(have) })
	return nil
}

// call runs a reusable workflow of this repository.
func (r *Runner) call(ctx context.Context, run *Run, p plan, j *Job, s scope) error {
	at := j.src.WorkflowCall.Uses.Value
	where, ref, ok := strings.Cut(at, "@")
	file := path.Base(where)
	if !ok || p.prefix != "" || where != r.o.Repository+"/"+workflowDir+file {
		return fmt.Errorf("this runner does not know the reusable workflow %s", at)
	}
	commit, err := r.bare.tip(ref)
	if err != nil {
		return fmt.Errorf("%s: there is no branch %s: %w", at, ref, err)
	}
	w, err := r.load(commit, file)
	if err != nil {
		return err
	}
	on, ok := w.FindWorkflowCallEvent()
	if !ok {
		return fmt.Errorf("%s can't be called", at)
	}
	inputs := object{}
	for _, in := range on.Inputs {
		given := j.src.WorkflowCall.Inputs[in.ID]
		switch {
		case given == nil && in.IsRequired():
			return fmt.Errorf("%s needs the input %s", at, in.ID)
		case given == nil && in.Default != nil:
			inputs[in.ID] = in.Default.Value
		case given == nil:
			inputs[in.ID] = ""
		case in.Type != actionlint.WorkflowCallEventInputTypeString:
			return fmt.Errorf("%s: this runner does not know the type of the input %s", at, in.ID)
		default:
			v, err := s.value(given.Value.Value)
			if err != nil {
				return err
			}
			if inputs[in.ID], err = text(v); err != nil {
				return err
			}
		}
	}
	for id := range j.src.WorkflowCall.Inputs {
		if _, ok := inputs[id]; !ok {
			return fmt.Errorf("%s has no input %s", at, id)
		}
	}
	r.mu.Lock()
	first := len(run.Jobs)
	r.mu.Unlock()
	if err := r.jobsOf(ctx, run, plan{w: w, inputs: inputs, prefix: j.ID + " / ", grant: j.Permissions}); err != nil {
		return err
	}
	r.change(j, func() {
		j.Conclusion = Success
		for _, one := range run.Jobs[first:] {
			if strings.HasPrefix(one.ID, j.ID+" / ") && one.Conclusion != Success && one.Conclusion != Skipped {
				j.Conclusion = one.Conclusion
			}
		}
	})
	return nil
}

// environment waits for what guards the job's environment, and returns all
// secrets that the job may see. Where it may not, the job's conclusion is set.
func (r *Runner) environment(ctx context.Context, run *Run, j *Job, s scope) (map[string]string, error) {
	secrets := map[string]string{}
	if run.on.secrets {
		secrets = copied(r.o.Secrets)
	}
	if j.src.Environment == nil {
		return secrets, nil
	}
	name, err := s.interpolate(j.src.Environment.Name.Value)
	if err != nil || name == "" {
		return nil, cmp.Or(err, errors.New("the environment has no name"))
	}
	r.change(j, func() {
		j.Environment = name
		d := j.src.Environment.Deployment
		j.Deployed = d == nil || d.Expression != nil || d.Value
	})
	e, ok := r.o.Environments[name]
	if !ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !slices.Contains(r.made, name) {
			r.made = append(r.made, name)
		}
		return secrets, nil
	}
	branch, isBranch := strings.CutPrefix(run.Ref, "refs/heads/")
	if e.Branches != nil && !(isBranch && slices.ContainsFunc(e.Branches, func(p string) bool { return matches(p, branch) })) {
		r.change(j, func() {
			j.Conclusion = Failure
			j.Why = fmt.Sprintf("%s is not allowed to deploy to %s due to environment protection rules", run.Ref, name)
		})
		return nil, nil
	}
	if len(e.Reviewers) > 0 {
		r.change(j, func() { j.Status = Waiting })
		select {
		case why := <-j.verdict:
			r.change(j, func() {
				if j.Status = Queued; why != "" {
					j.Conclusion, j.Why = Failure, why
				}
			})
			if why != "" {
				return nil, nil
			}
		case <-ctx.Done():
			return nil, nil
		}
	}
	if run.on.secrets {
		for k, v := range e.Secrets {
			secrets[k] = v
		}
	}
	return secrets, nil
}

// matches knows branches and one * at the end.
func matches(pattern, branch string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		rest, under := strings.CutPrefix(branch, prefix)
		return under && !strings.Contains(rest, "/")
	}
	return pattern == branch
}

// Approve lets a job begin that waits for a reviewer of its environment.
func (r *Runner) Approve(run *Run, job, login string) error { return r.review(run, job, login, "") }

// Reject ends it.
func (r *Runner) Reject(run *Run, job, login string) error {
	return r.review(run, job, login, login+" has rejected it")
}

func (r *Runner) review(run *Run, job, login, why string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.runs {
		j := one.Job(job)
		if one.ID != run.ID || j == nil {
			continue
		}
		switch {
		case j.Status != Waiting:
			return fmt.Errorf("job %s is %s: it waits for nobody", job, j.Status)
		case !slices.Contains(r.o.Environments[j.Environment].Reviewers, login):
			return fmt.Errorf("%s is no reviewer of %s", login, j.Environment)
		}
		j.Status = Queued // it does not wait twice
		j.verdict <- why
		return nil
	}
	return fmt.Errorf("run %d has no job %s", run.ID, job)
}
