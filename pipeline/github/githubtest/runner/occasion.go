package runner

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// occasion is what a run is started by.
type occasion struct {
	event      string
	sha, ref   string // github.sha, github.ref
	baseRef    string // of a pull request
	headRef    string
	headSHA    string // as the API tells it
	headBranch string
	actor      string
	title      string // unless the workflow says one
	payload    object // github.event
	inputs     object // of a manual start; nil: none
	secrets    bool   // may be seen
	run        int64  // the run's id, where there is one already; 0: none yet
	attempt    int
}

// fixed is where all answers of GitHub say that it is.
const server = "https://github.example.org"

// githubContext is the context github; job and token are empty outside of one.
func (r *Runner) githubContext(run *Run, j *Job, token string) object {
	on := run.on
	owner, _, _ := strings.Cut(r.o.Repository, "/")
	r.mu.Lock()
	repository := r.repository
	r.mu.Unlock()
	o := object{
		"actor": on.actor, "triggering_actor": on.actor, "api_url": r.URL, "base_ref": on.baseRef, "head_ref": on.headRef,
		"event": on.payload, "event_name": on.event, "ref": on.ref, "ref_name": refName(on.ref), "ref_type": refType(on.ref), "repository": r.o.Repository,
		"repository_id": strconv.FormatInt(repository, 10), "repository_owner": owner, "run_attempt": strconv.Itoa(run.Attempt), "run_id": strconv.FormatInt(run.ID, 10),
		"run_number": strconv.FormatInt(run.ID, 10), "server_url": server, "sha": on.sha, "workflow": run.w.name,
		"workflow_ref": r.o.Repository + "/" + workflowDir + run.File + "@" + on.ref, "workflow_sha": run.w.commit,
	}
	if j != nil {
		o["job"], o["token"] = j.ID, token
	}
	return o
}

func refName(ref string) string {
	for _, prefix := range []string{"refs/heads/", "refs/tags/", "refs/pull/"} {
		if rest, ok := strings.CutPrefix(ref, prefix); ok {
			return rest
		}
	}
	return ref
}

func refType(ref string) string {
	if strings.HasPrefix(ref, "refs/tags/") {
		return "tag"
	}
	return "branch"
}

// variables are those that every step has.
func (r *Runner) variables(g object, f *files) map[string]string {
	out := map[string]string{
		"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": f.event, "GITHUB_ENV": f.env, "GITHUB_PATH": f.path, "GITHUB_OUTPUT": f.output,
		"GITHUB_STEP_SUMMARY": f.summary, "GITHUB_WORKSPACE": f.workspace, "RUNNER_TEMP": f.temp, "RUNNER_OS": "Linux", "RUNNER_ARCH": "X64", "RUNNER_NAME": "rehearsal",
		"RUNNER_ENVIRONMENT": "github-hosted", "RUNNER_TOOL_CACHE": f.tools, "RUNNER_TRACKING_ID": f.tracking, "HOME": f.home, "LANG": "C.UTF-8", "USER": "runner", "TMPDIR": f.tmp,
		"GITHUB_ACTION": "__run", "GITHUB_RETENTION_DAYS": "90", "GITHUB_REF_PROTECTED": "false", "GITHUB_GRAPHQL_URL": r.URL + "/graphql",
	}
	for name, v := range g {
		if s, ok := v.(string); ok && name != "token" {
			out["GITHUB_"+strings.ToUpper(name)] = s
		}
	}
	return out
}

// objectOf is v as an event's payload.
func objectOf(v any) (object, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	var m any
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	o, ok := deepObject(m).(object)
	if !ok {
		return nil, fmt.Errorf("payload: %T is no object", v)
	}
	return o, nil
}

func deepObject(v any) any {
	switch v := v.(type) {
	case map[string]any:
		o := object{}
		for k, one := range v {
			o[k] = deepObject(one)
		}
		return o
	case []any:
		for i := range v {
			v[i] = deepObject(v[i])
		}
	}
	return v
}
