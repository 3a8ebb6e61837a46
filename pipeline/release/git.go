package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// git runs Git in one folder.
type git struct {
	bin     string
	dir     string
	environ []string
}

// gitSettings keep Git from running hooks and daemons and from writing beside
// the files that it was told to write. The rest of the user's configuration
// stays in force: whether a tree is dirty, and what git add would make of it,
// is what the user's own Git says. The bytes of a commit do not depend on it.
var gitSettings = []string{
	"-c", "core.fsmonitor=false",
	"-c", "core.hooksPath=/dev/null",
	"-c", "core.splitIndex=false",
	"-c", "core.untrackedCache=false",
	"-c", "core.safecrlf=false",
	"-c", "submodule.recurse=false",
	"-c", "gc.auto=0",
	"-c", "maintenance.auto=false",
}

// newGit makes a git of the user's environment. Variables that would point Git
// to another repository, as they are set inside a hook, are left out;
// GIT_CONFIG… stay, because safe.directory may be given so.
func newGit(environ []string, dir string) (git, error) {
	bin, err := program(environ, "git")
	if err != nil {
		return git{}, fmt.Errorf("cannot read the clone: install Git: %w", err)
	}
	var env []string
	for _, v := range environ {
		if !strings.HasPrefix(v, "GIT_") || strings.HasPrefix(v, "GIT_CONFIG") {
			env = append(env, v)
		}
	}
	env = append(env,
		"LC_ALL=C", // messages are recognised by their English words
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_NO_LAZY_FETCH=1",
		"GIT_TERMINAL_PROMPT=0",
	)
	return git{bin: bin, dir: dir, environ: env}, nil
}

// with returns a git with more variables.
func (g git) with(vars ...string) git {
	g.environ = append(append([]string(nil), g.environ...), vars...)
	return g
}

func (g git) args(args []string) []string {
	return append(append([]string{"--no-pager", "--literal-pathspecs"}, gitSettings...), args...)
}

// gitError is a Git command that failed.
type gitError struct {
	command string
	message string // the last telling line of stderr
	stderr  string
	err     error
}

func (e *gitError) Error() string { return "git " + e.command + ": " + e.message }
func (e *gitError) Unwrap() error { return e.err }

// output runs Git and returns what it printed.
func (g git) output(ctx context.Context, args ...string) ([]byte, error) {
	return g.feed(ctx, nil, args...)
}

// feed is output of a Git command that reads.
func (g git) feed(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	cmd := command(ctx, g.environ, g.dir, g.bin, g.args(args)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, g.failed(ctx, args[0], stderr.String(), err)
	}
	return stdout.Bytes(), nil
}

// line runs Git for one line.
func (g git) line(ctx context.Context, args ...string) (string, error) {
	b, err := g.output(ctx, args...)
	return strings.TrimSuffix(string(b), "\n"), err
}

func (g git) failed(ctx context.Context, what, stderr string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("git %s: %w", what, context.Cause(ctx))
	}
	if _, after, ok := strings.Cut(stderr, "detected dubious ownership in repository at '"); ok {
		dir, _, _ := strings.Cut(after, "'")
		return fmt.Errorf("%w: %s: if you trust it, run: git config --global --add safe.directory %s", ErrOwner, dir, dir)
	}
	message := err.Error()
	for line := range strings.Lines(stderr) {
		if l := strings.TrimSpace(line); strings.HasPrefix(l, "fatal: ") || strings.HasPrefix(l, "error: ") {
			message = l
			break
		}
	}
	return &gitError{command: what, message: message, stderr: stderr, err: err}
}

// says tells whether err is a Git command that complained with these words.
func says(err error, words string) bool {
	var e *gitError
	return errors.As(err, &e) && strings.Contains(e.stderr, words)
}
