package runner

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rhysd/actionlint"
)

// action runs the double of somebody else's action.
func (m *machine) action(ctx context.Context, e *actionlint.ExecAction, at scope, out *log) error {
	name, commit, _ := strings.Cut(e.Uses.Value, "@")
	if !commitHash.MatchString(commit) {
		return unknownf("%s, which is not pinned by a commit", e.Uses.Value)
	}
	if e.Entrypoint != nil || e.Args != nil {
		return unknownf("entrypoint and args of %s", name)
	}
	with := map[string]string{}
	for id, in := range e.Inputs {
		v, err := at.interpolate(in.Value.Value)
		if err != nil {
			return unknownf("%v", err)
		}
		with[id] = v
	}
	double, ok := map[string]struct {
		inputs []string
		run    func(context.Context, map[string]string, *log) error
	}{
		"actions/checkout":         {[]string{"ref", "path", "fetch-depth", "persist-credentials"}, m.checkout},
		"actions/setup-go":         {[]string{"go-version", "cache"}, m.setupGo},
		"actions/upload-artifact":  {[]string{"name", "path", "if-no-files-found", "retention-days"}, m.upload},
		"dagger/dagger-for-github": {[]string{"version"}, func(context.Context, map[string]string, *log) error { return nil }},
	}[name]
	if !ok {
		return unknownf("the action %s", name)
	}
	for in := range with {
		found := false
		for _, known := range double.inputs {
			found = found || known == in
		}
		if !found {
			return unknownf("the input %s of %s", in, name)
		}
	}
	return double.run(ctx, with, out)
}

var commitHash = regexp.MustCompile(`^[0-9a-f]{40}$`)

// setupGo finds that the Go on this machine is the one that is asked for: gate
// and Go itself get another one where it is not.
func (m *machine) setupGo(ctx context.Context, with map[string]string, out *log) error {
	if with["cache"] != "false" {
		return unknownf("a cache of setup-go")
	}
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION") // #nosec G204
	cmd.Dir, cmd.Env = m.files.workspace, append(m.environ(nil), "GOTOOLCHAIN=go"+with["go-version"]+"+auto")
	b, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go %s is not to be had: %w", with["go-version"], err)
	}
	if got := strings.TrimSpace(string(b)); got != "go"+with["go-version"] {
		return fmt.Errorf("go is %s, want %s", got, with["go-version"])
	}
	out.say("go %s", with["go-version"])
	return nil
}

// checkout clones as actions/checkout does.
func (m *machine) checkout(_ context.Context, with map[string]string, out *log) error {
	if with["persist-credentials"] != "false" {
		return unknownf("a checkout that keeps the token")
	}
	if m.job.Permissions["contents"] == "" {
		return fmt.Errorf("repository not found: the token may not read contents")
	}
	dir := filepath.Join(m.files.workspace, with["path"])
	if !filepath.IsLocal(filepath.Join(".", with["path"])) {
		return unknownf("a checkout to %q", with["path"])
	}
	if have, err := os.ReadDir(dir); err == nil && len(have) > 0 {
		return unknownf("a checkout into a folder that is not empty")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { // #nosec G301 -- PostgreSQL and apps run as other users
		return err
	}
	whole := false
	switch with["fetch-depth"] {
	case "":
	case "0":
		whole = true
	default:
		return unknownf("fetch-depth %s", with["fetch-depth"])
	}
	g, ref := git{dir: dir}, with["ref"]
	fetch := []string{"fetch", "--quiet", "--no-tags"}
	commit := commitHash.MatchString(ref)
	switch {
	case ref == "" || strings.HasPrefix(ref, "refs/"):
		return unknownf("a checkout of %q", ref)
	case whole:
		fetch = []string{"fetch", "--quiet", "--prune", "origin", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"}
	case commit:
		fetch = append(fetch, "--depth=1", "origin", ref)
	default:
		fetch = append(fetch, "--depth=1", "origin", "+refs/heads/"+ref+":refs/remotes/origin/"+ref)
	}
	var also, to []string
	if commit {
		also, to = []string{"fetch", "--quiet", "--no-tags", "origin", ref}, []string{"checkout", "--quiet", "--force", "--detach", ref}
	} else {
		to = []string{"checkout", "--quiet", "--force", "-B", ref, "refs/remotes/origin/" + ref}
	}
	for _, args := range [][]string{{"init", "--quiet"}, {"remote", "add", "origin", m.o.Git}, fetch} {
		if _, err := g.output(args...); err != nil {
			return err
		}
	}
	if commit && whole {
		if _, err := g.line("cat-file", "-e", ref+"^{commit}"); err != nil {
			if _, err := g.output(also...); err != nil {
				return err
			}
		}
	}
	if _, err := g.output(to...); err != nil {
		return err
	}
	head, err := g.line("log", "-1", "--format=%H %s")
	out.say("HEAD is now at %s", head)
	return err
}
