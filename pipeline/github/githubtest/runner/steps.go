package runner

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rhysd/actionlint"
)

// job's files and folders.
type files struct {
	dir, workspace, temp, home, tmp, tools      string
	event, env, path, output, summary, tracking string
}

// machine is where the steps of one job run.
type machine struct {
	*Runner
	run      *Run
	job      *Job
	files    *files
	scope    scope
	base     map[string]string // what every step has
	env      map[string]string // the job's, and what steps have added
	path     []string          // what steps have put before PATH
	masks    *masks
	given    map[string]string // secrets by name
	defaults []*actionlint.Defaults
}

// steps runs the job's steps on a machine of its own.
func (r *Runner) steps(ctx context.Context, run *Run, p plan, j *Job, s scope, secrets map[string]string) error {
	token := r.token(j, run)
	defer r.expire(token)
	given := copied(secrets)
	given["GITHUB_TOKEN"] = token
	f, err := r.layOut(run)
	if err != nil {
		return err
	}
	defer os.RemoveAll(f.dir)
	g := r.githubContext(run, j, token)
	g["workspace"], g["event_path"] = f.workspace, f.event
	m := &machine{
		Runner: r, run: run, job: j, files: f, base: r.variables(g, f), env: map[string]string{}, masks: r.hide(given), given: given,
		defaults: []*actionlint.Defaults{j.src.Defaults, p.w.Defaults},
	}
	m.base["GITHUB_JOB"] = j.src.ID.Value
	m.scope = scope{status: &outcome{}, contexts: object{
		"github": g, "inputs": p.inputs, "vars": texts(r.o.Vars), "secrets": texts(given), "needs": s.contexts["needs"], "steps": object{},
		"runner": object{"temp": f.temp, "os": "Linux", "arch": "X64", "tool_cache": f.tools, "name": "rehearsal", "environment": "github-hosted"},
		"job":    object{"status": "success"}, "env": object{},
	}}
	for _, env := range []*actionlint.Env{p.w.Env, j.src.Env} {
		if err := m.evaluate(env, m.env); err != nil {
			return err
		}
		m.scope.contexts["env"] = texts(m.env)
	}
	err = m.all(ctx)
	left := m.leave()
	summary, serr := m.readSummary()
	r.change(j, func() {
		j.Left, j.Summary = left, summary
		switch {
		case m.scope.status.cancelled:
			j.Conclusion = Cancelled
			if c := context.Cause(ctx); c != nil {
				j.Why = c.Error()
			}
		case m.scope.status.failed:
			j.Conclusion = Failure
		default:
			j.Conclusion = Success
		}
	})
	return errors.Join(err, serr)
}

// layOut makes the job's folders, and the file of its event.
func (r *Runner) layOut(run *Run) (*files, error) {
	r.mu.Lock()
	r.jobs++
	n := r.jobs
	r.mu.Unlock()
	dir := r.folder(fmt.Sprint(n))
	f := &files{
		dir: dir, workspace: filepath.Join(dir, "w"), temp: filepath.Join(dir, "temp"), home: filepath.Join(dir, "home"), tmp: filepath.Join(dir, "t"), tools: filepath.Join(dir, "tools"),
		event: filepath.Join(dir, "event.json"), env: filepath.Join(dir, "files", "env"), path: filepath.Join(dir, "files", "path"),
		output: filepath.Join(dir, "files", "output"), summary: filepath.Join(dir, "files", "summary"),
		// Several runners of one process count their runs alike.
		tracking: "gate-rehearsal-" + rand.Text(),
	}
	for _, d := range []string{f.workspace, f.temp, f.home, f.tmp, f.tools, filepath.Dir(f.env)} {
		if err := os.MkdirAll(d, 0o755); err != nil { // #nosec G301 -- PostgreSQL and apps run as other users
			return nil, err
		}
	}
	event, err := json.MarshalIndent(run.on.payload, "", "  ")
	if err != nil {
		return nil, err
	}
	return f, os.WriteFile(f.event, event, 0o600)
}

// evaluate adds the variables of env to into.
func (m *machine) evaluate(env *actionlint.Env, into map[string]string) error {
	if env == nil {
		return nil
	}
	found := map[string]string{}
	for _, v := range env.Vars {
		value, err := m.scope.interpolate(v.Value.Value)
		if err != nil {
			return fmt.Errorf("env %s: %w", v.Name.Value, err)
		}
		found[v.Name.Value] = value
	}
	for name, value := range found {
		into[name] = value
	}
	return nil
}

// all runs step by step. After the job is cancelled, those run that say so.
func (m *machine) all(ctx context.Context) error {
	var errs []error
	for _, s := range m.job.src.Steps {
		m.scope.status.cancelled = m.scope.status.cancelled || ctx.Err() != nil
		at := ctx
		if ctx.Err() != nil {
			var stop context.CancelFunc
			at, stop = context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer stop()
		}
		if err := m.step(at, s); err != nil {
			errs = append(errs, fmt.Errorf("step %s: %w", nameOf(s), err))
			m.scope.status.failed = true
		}
	}
	m.scope.status.cancelled = m.scope.status.cancelled || ctx.Err() != nil
	return errors.Join(errs...)
}

func nameOf(s *actionlint.Step) string {
	if s.Name != nil {
		return s.Name.Value
	}
	switch e := s.Exec.(type) {
	case *actionlint.ExecAction:
		return "Run " + e.Uses.Value
	case *actionlint.ExecRun:
		first, _, _ := strings.Cut(e.Run.Value, "\n")
		return "Run " + first
	}
	return "?"
}

// step runs one. An error is what this runner does not understand; a step that
// fails is none.
func (m *machine) step(ctx context.Context, s *actionlint.Step) error {
	record := Step{Name: nameOf(s), Conclusion: Skipped}
	out := newLog(m.masks, func(name string) {
		m.t.Errorf("%s, job %s: the log of step %q holds the secret %s", m.run.File, m.job.ID, nameOf(s), name)
	})
	began := time.Now()
	defer func() {
		record.Log, record.Errors, record.Began, record.Took = out.String(), out.errors, began, time.Since(began)
		m.change(m.job, func() { m.job.Steps = append(m.job.Steps, record) })
	}()
	env := copied(m.env)
	if err := m.evaluate(s.Env, env); err != nil {
		return err
	}
	at := m.scope
	at.contexts = object{}
	for k, v := range m.scope.contexts {
		at.contexts[k] = v
	}
	at.contexts["env"] = texts(env)
	condition := ""
	if s.If != nil {
		condition = s.If.Value
	}
	ok, err := at.condition(condition)
	if err != nil || !ok {
		return err
	}
	outputs := map[string]string{}
	switch e := s.Exec.(type) {
	case *actionlint.ExecRun:
		err = m.script(ctx, e, at, env, out)
		if rerr := m.readFiles(outputs); rerr != nil {
			err = errors.Join(err, rerr)
		}
	case *actionlint.ExecAction:
		err = m.action(ctx, e, at, out)
	default:
		return fmt.Errorf("this runner does not know %T", e)
	}
	var odd *notUnderstood
	switch {
	case err == nil && out.err != nil:
		err = out.err
		record.Conclusion = Failure
	case err == nil:
		record.Conclusion = Success
	case errors.As(err, &odd):
		record.Conclusion = Failure
	case ctx.Err() != nil:
		record.Conclusion = Cancelled
		out.say("##[error]The operation was canceled: %v", context.Cause(ctx))
		err = nil
	default:
		record.Conclusion = Failure
		out.say("##[error]%v", err)
		m.scope.status.failed = true
		err = nil
	}
	if s.ID != nil {
		m.scope.contexts["steps"].(object)[s.ID.Value] = object{"outputs": texts(outputs), "outcome": record.Conclusion, "conclusion": record.Conclusion}
	}
	return err
}

// notUnderstood is what GitHub would do, and this runner does not know.
type notUnderstood struct{ what string }

func (n *notUnderstood) Error() string { return "this runner does not know " + n.what }

func unknownf(format string, args ...any) error { return &notUnderstood{fmt.Sprintf(format, args...)} }

// script runs bash as GitHub does.
func (m *machine) script(ctx context.Context, e *actionlint.ExecRun, at scope, env map[string]string, out *log) error {
	text, err := at.interpolate(e.Run.Value)
	if err != nil {
		return unknownf("%v", err)
	}
	shell, dir := "", m.files.workspace
	if e.Shell != nil {
		shell = e.Shell.Value
	}
	where := e.WorkingDirectory
	for _, d := range m.defaults {
		if d == nil || d.Run == nil {
			continue
		}
		if d.Run.Shell != nil {
			shell = cmp.Or(shell, d.Run.Shell.Value)
		}
		where = cmp.Or(where, d.Run.WorkingDirectory)
	}
	if where != nil {
		sub, err := at.interpolate(where.Value)
		if err != nil {
			return unknownf("%v", err)
		}
		if !filepath.IsAbs(sub) {
			sub = filepath.Join(dir, sub)
		}
		dir = sub
	}
	args := []string{"-e"}
	switch shell {
	case "":
	case "bash":
		args = []string{"--noprofile", "--norc", "-eo", "pipefail"}
	default:
		return unknownf("the shell %s", shell)
	}
	file := filepath.Join(m.files.temp, fmt.Sprintf("step-%d.sh", len(m.job.Steps)))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	defer os.Remove(file)
	return execute(ctx, dir, m.environ(env), out, append(append([]string{"bash"}, args...), file)...)
}
