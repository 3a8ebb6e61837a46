package runner

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// git runs Git in one folder, by nobody's configuration.
type git struct {
	dir string
	env []string // beside the least
}

func (g git) command(args ...string) *exec.Cmd {
	cmd := exec.Command("git", append([]string{"-C", g.dir}, args...)...) // #nosec G204 -- a test's own
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=GitHub", "GIT_AUTHOR_EMAIL=noreply@github.com", "GIT_COMMITTER_NAME=GitHub", "GIT_COMMITTER_EMAIL=noreply@github.com",
	}, g.env...)
	return cmd
}

func (g git) output(args ...string) ([]byte, error) {
	cmd := g.command(args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return out, nil
}

func (g git) line(args ...string) (string, error) {
	out, err := g.output(args...)
	return strings.TrimSpace(string(out)), err
}

// tip is the commit of a branch.
func (g git) tip(branch string) (string, error) {
	return g.line("rev-parse", "--verify", "--quiet", "refs/heads/"+branch+"^{commit}")
}
