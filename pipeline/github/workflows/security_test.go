package workflows

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// granted is what each job may do with GitHub's token. It stands here again so
// that nobody grants more without two files telling.
var granted = map[string]map[string]any{
	"commit.yml measure":    {"contents": "read"},
	"drills.yml drill":      {"contents": "read"},
	"publish.yml change":    {"actions": "read", "checks": "write", "contents": "read", "pull-requests": "write", "security-events": "write"},
	"publish.yml protected": {"actions": "read", "checks": "write", "contents": "write", "security-events": "write"},
	"promote.yml promote":   {"contents": "write", "deployments": "write"},
	"rollback.yml rollback": {"contents": "write", "deployments": "write"},
	"hold.yml hold":         {"contents": "write"},
	"hold.yml lift":         {"contents": "write"},
	"explain.yml explain":   {"contents": "read"},
	"commands.yml command":  {"actions": "write", "contents": "read", "pull-requests": "write"},
	"request.yml follow":    {"contents": "read", "deployments": "write"},
	"env.yml request":       {"contents": "read", "deployments": "write"},
	"ci.yaml ci":            {"contents": "read"}, // this repository's own, not rendered
}

// secretsOf is which secrets each job sees, and in which of GitHub's
// environments.
var secretsOf = map[string]struct {
	environment string
	secrets     []string
}{
	"publish.yml change":    {"gate-app", []string{"GATE_APP_KEY"}},
	"publish.yml protected": {"evidence", []string{"GATE_APP_KEY", "GATE_SIGNING_KEY"}},
	"promote.yml promote":   {"${{ inputs.environment }}", []string{"GATE_SIGNING_KEY"}},
	"rollback.yml rollback": {"${{ inputs.environment }}-back", []string{"GATE_SIGNING_KEY"}},
	"hold.yml hold":         {"${{ inputs.environment }}-back", []string{"GATE_SIGNING_KEY"}},
	"hold.yml lift":         {"${{ inputs.environment }}", []string{"GATE_SIGNING_KEY"}},
}

// triggers are all events that start one of ours.
var triggers = map[string][]string{
	"commit.yml":   {"merge_group", "pull_request", "push"},
	"drills.yml":   {"schedule", "workflow_dispatch"},
	"publish.yml":  {"workflow_dispatch", "workflow_run"},
	"promote.yml":  {"workflow_dispatch"},
	"rollback.yml": {"workflow_dispatch"},
	"hold.yml":     {"workflow_dispatch"},
	"explain.yml":  {"workflow_dispatch"},
	"commands.yml": {"issue_comment"},
	"request.yml":  {"workflow_call"},
	"env.yml":      {"push"},
	"ci.yaml":      {"pull_request", "push"},
}

// insecure lists what is wrong with a workflow of ours. The file's name says
// what it may.
func insecure(t *testing.T, p Params, name string, data []byte) (wrong []string) {
	t.Helper()
	w := parse(t, data)
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }

	if m, ok := w.Permissions.(map[string]any); !ok || len(m) > 0 {
		say("top: permissions are %v, not {}", w.Permissions)
	}
	if w.Defaults.Run.Shell != "bash" {
		say("top: the shell is %q", w.Defaults.Run.Shell)
	}
	if got := slices.Sorted(maps.Keys(w.On)); !slices.Equal(got, triggers[name]) {
		say("top: starts on %v", got)
	}
	for _, line := range strings.Split(string(data), "\n") {
		if m := uses.FindStringSubmatch(line); m != nil && !pinned.MatchString(m[1]) && !strings.HasSuffix(m[1], "/request.yml@"+p.Protected) {
			say("%q is not pinned by a commit with its version beside", m[1])
		}
	}
	if regexp.MustCompile(`actions/cache|id-token|pull_request_target|secrets: inherit|write-all|continue-on-error|allow-unsafe`).Match(data) {
		say("it has what no workflow of ours may have")
	}
	if w.Concurrency == nil {
		for id, j := range w.Jobs {
			if id != "refuse" && j.Concurrency == nil && j.Uses == "" {
				say("%s: no concurrency group", id)
			}
		}
	}
	groups := []*concurrency{w.Concurrency}
	for _, j := range w.Jobs {
		groups = append(groups, j.Concurrency)
	}
	for _, c := range groups {
		newest := slices.Contains(triggers[name], "pull_request") && c != nil && c.Cancel == "${{ github.event_name == 'pull_request' }}"
		if c != nil && c.Cancel != false && !newest {
			say("runs of group %s are cancelled", c.Group)
		}
	}
	for id, j := range w.Jobs {
		at := name + " " + id
		if id == "refuse" {
			if j.Permissions != nil || j.If != "github.ref != 'refs/heads/"+p.Protected+"'" || j.Environment != nil {
				say("%s: does more than to refuse", at)
			}
		} else if m, _ := j.Permissions.(map[string]any); granted[at] == nil || !cmp.Equal(m, granted[at]) {
			say("%s: may do %v", at, j.Permissions)
		}
		if id != "refuse" && (w.On["workflow_dispatch"] != nil) && id != "protected" && !strings.Contains(j.If, "github.ref == 'refs/heads/"+p.Protected+"'") {
			say("%s: starts on any branch", at)
		}
		if j.Uses == "" && (j.Timeout == 0 || j.Timeout > 120) {
			say("%s: timeout of %d minutes", at, j.Timeout)
		}
		if len(j.Env) > 0 && strings.Contains(fmt.Sprint(j.Env), "secrets.") || strings.Contains(fmt.Sprint(w.Env), "secrets.") || strings.Contains(fmt.Sprint(j.With), "secrets.") || j.Secrets != nil {
			say("%s: a secret reaches more than one step", at)
		}
		if j.Container != nil || j.Services != nil {
			say("%s: runs images that are not pinned", at)
		}
		wrong = append(wrong, insecureSteps(p, at, j)...)
	}
	return wrong
}

var (
	uses   = regexp.MustCompile(`^\s*(?:- )?uses: (.*)$`)
	pinned = regexp.MustCompile(`^[a-z0-9-]+/[a-z0-9-]+@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+(-node20)?$`)
	secret = regexp.MustCompile(`secrets\.([A-Za-z_]+)`)
)

func insecureSteps(p Params, at string, j job) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, at+": "+fmt.Sprintf(format, args...)) }
	seen := map[string]bool{}
	head, token := false, false
	for _, s := range j.Steps {
		if e := expressions(s.Run); len(e) > 0 {
			say("%v is pasted into a script", e)
		}
		if s.Shell != "" || s.ContinueOnError != nil {
			say("a step has a shell or a failure of its own")
		}
		all := fmt.Sprint(s.Env, s.With, s.Run, s.If)
		for _, m := range secret.FindAllStringSubmatch(all, -1) {
			seen[m[1]] = true
			if !strings.HasPrefix(s.Run, "gate ") {
				say("secret %s goes to what is not gate: %q %q", m[1], s.Uses, s.Run)
			}
		}
		token = token || strings.Contains(all, "github.token") || strings.Contains(all, "GITHUB_TOKEN")
		switch repo, _, _ := strings.Cut(s.Uses, "@"); repo {
		case "":
		case "actions/checkout":
			if s.With["persist-credentials"] != false {
				say("a checkout leaves the token behind")
			}
			if s.With["submodules"] != nil || s.With["lfs"] != nil || s.With["repository"] != nil || s.With["token"] != nil || s.With["ssh-key"] != nil {
				say("a checkout of more than the repository's own files")
			}
			head = head || s.With["ref"] != p.Protected
		case "actions/setup-go":
			if s.With["cache"] != false {
				say("a cache that others can write")
			}
		case "actions/upload-artifact":
			if s.With["if-no-files-found"] != "error" || s.If != "always()" || s.With["include-hidden-files"] != nil {
				say("an artefact may be missing or hold too much")
			}
		case "dagger/dagger-for-github":
			// It pastes its inputs into scripts.
			if len(expressions(fmt.Sprint(s.With))) > 0 || len(s.With) != 1 {
				say("Dagger is given more than its version")
			}
		default:
			say("%s is an action that nobody has looked at", repo)
		}
	}
	want := secretsOf[at]
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want.secrets) {
		say("sees the secrets %v", got)
	}
	environment := ""
	if j.Environment != nil {
		environment = j.Environment.Name
	}
	if environment != want.environment {
		say("stands in the environment %q", environment)
	}
	if head && (token || len(seen) > 0 || environment != "") {
		say("the code of a change meets a secret, a token or an environment")
	}
	return wrong
}

func TestWorkflowsAreSecure(t *testing.T) {
	seen := map[string]bool{}
	each(t, func(t *testing.T, p Params, path string, data []byte) {
		name := strings.TrimPrefix(path, Dir+"/")
		for _, w := range insecure(t, p, name, data) {
			t.Error(w)
		}
		for id := range parse(t, data).Jobs {
			seen[name+" "+id] = true
		}
	})
	for at := range granted {
		if !seen[at] && at != "ci.yaml ci" {
			t.Errorf("there is no job %s any more", at)
		}
	}
}

// TestWhatMakesAWorkflowInsecureIsFound breaks every rule once.
func TestWhatMakesAWorkflowInsecureIsFound(t *testing.T) {
	p := kinds()["own"].WithDefaults()
	files := render(t, p)
	for _, c := range []struct{ file, old, new, want string }{
		{Commit, "permissions: {}", "permissions: read-all", "top: permissions"},
		{Commit, "permissions: {}\n", "", "top: permissions"},
		{Commit, "      contents: read\n", "      contents: write\n", "may do"},
		{Commit, "      contents: read\n", "      contents: read\n      id-token: write\n", "no workflow of ours"},
		{Commit, "  pull_request:\n", "  pull_request_target:\n", "starts on"},
		{Commit, "shell: bash", "shell: sh", "the shell"},
		{Commit, "# v7.0.1", "", "not pinned"},
		{Commit, "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7", "not pinned"},
		{Commit, "persist-credentials: false", "persist-credentials: true", "leaves the token"},
		{Commit, "          persist-credentials: false\n", "", "leaves the token"},
		{Commit, "cache: false", "cache: true", "cache"},
		{Commit, `"$COMMIT"`, `"${{ github.head_ref }}"`, "pasted into a script"},
		{Commit, "timeout-minutes: 60", "timeout-minutes: 600", "timeout"},
		{Commit, "version: 0.19.7", "version: 0.19.7\n          call: ${{ github.head_ref }}", "more than its version"},
		{Commit, "if-no-files-found: error", "if-no-files-found: warn", "artefact"},
		{Commit, "        if: always()\n", "", "artefact"},
		{Commit, "cancel-in-progress: ${{ github.event_name == 'pull_request' }}", "cancel-in-progress: true", "cancelled"},
		{Commit, "      COMMIT: ", "      TOKEN: ${{ secrets.GATE_APP_KEY }}\n      COMMIT: ", "more than one step"},
		{Commit, "        run: |\n          dagger", "        env:\n          GITHUB_TOKEN: x\n        run: |\n          dagger", "meets"},
		{Commit, "    timeout-minutes: 60\n", "    timeout-minutes: 60\n    environment:\n      name: evidence\n", "meets"},
		{Publish, "          ref: main\n", "          ref: ${{ github.event.workflow_run.head_sha }}\n", "meets"},
		{Publish, "      name: gate-app\n", "      name: evidence\n", "stands in"},
		{Publish, "          GATE_APP_KEY: ${{ secrets.GATE_APP_KEY }}\n", "          GATE_APP_KEY: ${{ secrets.GATE_APP_KEY }}\n          K: ${{ secrets.GATE_SIGNING_KEY }}\n", "sees the secrets"},
		{Publish, "          cache: false\n", "", "cache"},
		{Promote, "    if: github.ref == 'refs/heads/main'\n", "", "any branch"},
		{Promote, "      name: ${{ inputs.environment }}\n", "      name: staging\n", "stands in"},
		{Promote, "      cancel-in-progress: false\n", "      cancel-in-progress: true\n", "cancelled"},
		{Promote, `-- "$RELEASE"`, `-- "${{ inputs.release }}"`, "pasted into a script"},
		{Promote, `run: gate promote`, `run: sh gate promote`, "not gate"},
		{"env.yml", "uses: smartcloudops/gate/.github/workflows/request.yml@main", "uses: other/gate/.github/workflows/request.yml@v1", "not pinned"},
		{"env.yml", "    with:\n", "    secrets: inherit\n    with:\n", "no workflow of ours"},
	} {
		data := string(files[Dir+"/"+c.file])
		if !strings.Contains(data, c.old) {
			t.Errorf("%s holds no %q", c.file, c.old)
			continue
		}
		got := insecure(t, p, c.file, []byte(strings.Replace(data, c.old, c.new, 1)))
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, c.want) }) {
			t.Errorf("%s with %q for %q: found %q, want something about %q", c.file, c.new, c.old, got, c.want)
		}
	}
}

// TestNoOtherWorkflowOfThisRepositoryIsLooser: what is not rendered keeps the
// same rules.
func TestNoOtherWorkflowOfThisRepositoryIsLooser(t *testing.T) {
	p := kinds()["own"].WithDefaults()
	rendered := render(t, p)
	entries, err := os.ReadDir(filepath.Join(root, Dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if rendered[Dir+"/"+e.Name()] != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join(root, Dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range insecure(t, p, e.Name(), data) {
			t.Errorf("%s: %s", e.Name(), w)
		}
	}
}
