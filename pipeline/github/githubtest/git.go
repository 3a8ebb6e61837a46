package githubtest

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// repository is a bare one, or nothing.
type repository struct{ path string }

func (r repository) run(args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"--git-dir=" + r.path}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C")
	out, err := cmd.Output()
	return strings.TrimRight(string(out), "\n"), err
}

var hash = regexp.MustCompile(`^[0-9a-f]{40}$`)

// has says whether there is such a commit.
func (r repository) has(sha string) bool {
	if r.path == "" || !hash.MatchString(sha) {
		return hash.MatchString(sha)
	}
	_, err := r.run("cat-file", "-e", sha+"^{commit}")
	return err == nil
}

// resolve is the commit of a ref; without a repository, some hash.
func (r repository) resolve(ref string) string {
	if r.path == "" {
		return "00000000000000000000000000000000000000aa"
	}
	for _, name := range []string{ref, "refs/heads/" + ref, "refs/tags/" + ref} {
		if out, err := r.run("rev-parse", "--verify", "--quiet", name+"^{commit}"); err == nil {
			return out
		}
	}
	return ""
}

// changes are lines of git diff --name-status since the merge base.
func (r repository) changes(base, head string) []string {
	out, err := r.run("diff", "--name-status", "-M", base+"..."+head)
	if err != nil || out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}

// file is a file's text at a commit or ref.
func (r repository) file(rev, path string) (string, bool) {
	out, err := r.run("show", rev+":"+path)
	return out, err == nil
}

// workflows are the files of a commit that can be workflows.
func (r repository) workflows(rev string) []string {
	out, err := r.run("ls-tree", "--name-only", rev, ".github/workflows/")
	if err != nil || out == "" {
		return nil
	}
	var files []string
	for f := range strings.SplitSeq(out, "\n") {
		if strings.HasSuffix(f, ".yml") || strings.HasSuffix(f, ".yaml") {
			files = append(files, f)
		}
	}
	return files
}
