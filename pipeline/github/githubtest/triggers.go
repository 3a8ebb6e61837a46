package githubtest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Event is something that can start workflows.
type Event struct {
	Name     string // push, pull_request, pull_request_target, merge_group, workflow_run, issue_comment, schedule, workflow_dispatch
	Action   string // opened, synchronize, completed, created, …; empty: the usual one
	SHA      string // pushed commit, head of the pull request or of the merge group
	MergeSHA string // pull_request: the merge commit that GitHub made; empty: it conflicts, nothing starts
	Ref      string // push: refs/heads/…; workflow_dispatch: the branch
	Base     string // pull_request: the base branch
	Workflow string // workflow_run: name of the workflow that ran; workflow_dispatch: the file
	Branch   string // workflow_run: its head branch
	Cron     string // schedule
	Fork     bool   // the pull request comes from a fork
	ByToken  bool   // caused with a workflow's own GITHUB_TOKEN
	Files    []string
}

// Started is a workflow that an event starts.
type Started struct {
	Path    string
	Name    string
	At      string // commit whose file it is
	Secrets bool   // it may see secrets, and its token may write if it says so
}

// Triggers are the workflows that GitHub would start. It reads them where GitHub
// does: of the merge commit, of the pushed commit, or of the default branch.
func (s *Server) Triggers(e Event) ([]Started, error) {
	if e.ByToken && e.Name != "workflow_dispatch" && e.Name != "repository_dispatch" {
		return nil, nil
	}
	at := e.SHA
	switch e.Name {
	case "pull_request":
		if e.MergeSHA == "" {
			return nil, nil
		}
		at = e.MergeSHA
	case "pull_request_target", "workflow_run", "issue_comment", "schedule":
		at = s.git.resolve(s.options.DefaultBranch)
	case "workflow_dispatch":
		at = s.git.resolve(e.Ref)
	}
	if at == "" {
		return nil, fmt.Errorf("the event %s is at no commit", e.Name)
	}
	var out []Started
	for _, file := range s.git.workflows(at) {
		src, found := s.git.file(at, file)
		if !found {
			continue
		}
		w, err := parseWorkflow(file, src)
		if err != nil {
			return nil, err
		}
		if w.starts(e) {
			out = append(out, Started{Path: file, Name: w.Name, At: at, Secrets: e.Name != "pull_request" || !e.Fork})
		}
	}
	return out, nil
}

// workflow is what triggers need of a file.
type workflow struct {
	File    string
	Name    string
	RunName string
	on      map[string]map[string]any
	crons   []string
}

func parseWorkflow(file, src string) (*workflow, error) {
	var raw struct {
		Name    string `yaml:"name"`
		RunName string `yaml:"run-name"`
		On      any    `yaml:"on"`
	}
	if err := yaml.Unmarshal([]byte(src), &raw); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	w := &workflow{File: file, Name: raw.Name, RunName: raw.RunName, on: map[string]map[string]any{}}
	if w.Name == "" {
		w.Name = file
	}
	switch on := raw.On.(type) {
	case string:
		w.on[on] = nil
	case []any:
		for _, name := range on {
			w.on[fmt.Sprint(name)] = nil
		}
	case map[string]any:
		for name, filter := range on {
			m, _ := filter.(map[string]any)
			w.on[name] = m
			if list, ok := filter.([]any); ok && name == "schedule" {
				for _, one := range list {
					m, _ := one.(map[string]any)
					w.crons = append(w.crons, fmt.Sprint(m["cron"]))
				}
			}
		}
	default:
		return nil, fmt.Errorf("%s: it has no on:", file)
	}
	return w, nil
}

func (w *workflow) has(event string) bool {
	_, found := w.on[event]
	return found
}

// inputs are the declared ones of a manual start, and whether each is required.
func (w *workflow) inputs() map[string]bool {
	out := map[string]bool{}
	all, _ := w.on["workflow_dispatch"]["inputs"].(map[string]any)
	for name, one := range all {
		m, _ := one.(map[string]any)
		required, _ := m["required"].(bool)
		_, hasDefault := m["default"]
		out[name] = required && !hasDefault
	}
	return out
}

// usual are the activity types that start a workflow which names none.
var usual = map[string][]string{
	"pull_request":        {"opened", "synchronize", "reopened"},
	"pull_request_target": {"opened", "synchronize", "reopened"},
	"merge_group":         {"checks_requested"},
	"issue_comment":       {"created", "edited", "deleted"},
	"workflow_run":        {"requested", "in_progress", "completed"},
}

func (w *workflow) starts(e Event) bool {
	filter, found := w.on[e.Name]
	if !found {
		return false
	}
	if types := usual[e.Name]; types != nil {
		if named := list(filter, "types"); named != nil {
			types = named
		}
		action := e.Action
		if action == "" {
			action = map[string]string{"pull_request": "opened", "pull_request_target": "opened", "merge_group": "checks_requested", "issue_comment": "created", "workflow_run": "completed"}[e.Name]
		}
		if !slices.Contains(types, action) {
			return false
		}
	}
	switch e.Name {
	case "push":
		branch, isBranch := strings.CutPrefix(e.Ref, "refs/heads/")
		if !isBranch {
			tag := strings.TrimPrefix(e.Ref, "refs/tags/")
			return passes(filter, "tags", tag, list(filter, "branches") == nil) && passes(filter, "tags-ignore", tag, true)
		}
		return passes(filter, "branches", branch, list(filter, "tags") == nil) && passes(filter, "branches-ignore", branch, true) && w.paths(filter, e)
	case "pull_request", "pull_request_target", "merge_group":
		return passes(filter, "branches", e.Base, true) && passes(filter, "branches-ignore", e.Base, true) && w.paths(filter, e)
	case "workflow_run":
		return slices.Contains(list(filter, "workflows"), e.Workflow) && passes(filter, "branches", e.Branch, true) && passes(filter, "branches-ignore", e.Branch, true)
	case "schedule":
		return slices.Contains(w.crons, e.Cron)
	case "workflow_dispatch":
		return strings.HasSuffix(w.File, "/"+e.Workflow)
	}
	return true
}

// paths holds the files of the event against the filters; an event that names
// none passes, as GitHub lets one through whose files it can't tell.
func (w *workflow) paths(filter map[string]any, e Event) bool {
	if len(e.Files) == 0 {
		return true
	}
	if want := list(filter, "paths"); want != nil && !slices.ContainsFunc(e.Files, func(f string) bool { return matches(want, f) }) {
		return false
	}
	ignored := list(filter, "paths-ignore")
	return ignored == nil || slices.ContainsFunc(e.Files, func(f string) bool { return !matches(ignored, f) })
}

func passes(filter map[string]any, key, name string, unless bool) bool {
	patterns := list(filter, key)
	if patterns == nil {
		return unless
	}
	return matches(patterns, name) != strings.HasSuffix(key, "-ignore")
}

func list(filter map[string]any, key string) []string {
	switch v := filter[key].(type) {
	case string:
		return []string{v}
	case []any:
		out := []string{}
		for _, one := range v {
			out = append(out, fmt.Sprint(one))
		}
		return out
	}
	return nil
}

// matches is GitHub's: the last pattern that fits says, and ! turns it around.
func matches(patterns []string, name string) bool {
	hit := false
	for _, p := range patterns {
		rest, not := strings.CutPrefix(p, "!")
		if glob(rest).MatchString(name) {
			hit = !not
		}
	}
	return hit
}

func glob(pattern string) *regexp.Regexp {
	q := regexp.QuoteMeta(pattern)
	q = strings.ReplaceAll(q, `\*\*`, "\x00")
	q = strings.ReplaceAll(q, `\*`, `[^/]*`)
	q = strings.ReplaceAll(q, "\x00", `.*`)
	return regexp.MustCompile("^" + q + "$")
}
