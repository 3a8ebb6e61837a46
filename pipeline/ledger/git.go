package ledger

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// repository runs git on one bare repository, untouched by anybody's
// configuration: what it needs is in the repository's own config or here.
type repository struct {
	dir string // of the bare repository
	bin string // git
	env []string
}

// passed are the variables that git gets from the environment for every
// command; passedToPush those that it needs to reach a remote.
var (
	passed       = []string{"PATH", "TMPDIR"}
	passedToPush = []string{
		"HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "GIT_SSH", "GIT_SSH_COMMAND",
		"GIT_ASKPASS", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
	}
)

func newRepository(dir string, env []string) (*repository, error) {
	bin, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("git is not on PATH, and the ledger is kept in Git: install git 2.32 or newer: %w", err)
	}
	return &repository{dir: dir, bin: bin, env: env}, nil
}

func (r *repository) environment(names []string) []string {
	out := []string{
		"LC_ALL=C", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_NO_REPLACE_OBJECTS=1", "GIT_DEFAULT_REF_FORMAT=files",
	}
	for _, kv := range r.env {
		if name, _, ok := strings.Cut(kv, "="); ok && slices.Contains(names, name) {
			out = append(out, kv)
		}
	}
	return out
}

// command prepares a git command inside the repository. It gets a process group
// of its own: an interrupt at the terminal is for gate, which lets a write that
// has begun come to its end.
func (r *repository) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.bin, append([]string{"--git-dir=.", "-c", "core.hooksPath=/dev/null"}, args...)...)
	cmd.Dir = r.dir
	cmd.Env = r.environment(passed)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run runs a prepared command and returns its standard output.
func (r *repository) run(ctx context.Context, what string, cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
		return nil, gitError(what, stderr.String(), err)
	}
	return stdout.Bytes(), nil
}

func (r *repository) git(ctx context.Context, args ...string) ([]byte, error) {
	return r.run(ctx, "git "+args[0], r.command(ctx, args...))
}

// file is what a commit changes: to data, to the blob of a commit that exists
// already, or with neither it is removed.
type file struct {
	path string
	data []byte
	blob string // id
	mode string // of the blob
}

// commit describes one commit. parent is empty for the first of a branch.
type commit struct {
	branch  string // full name of the ref
	parent  string // id
	author  string // "name <address> seconds zone"; empty: gate
	message string
	at      time.Time
	files   []file
}

// write makes the commit and moves the branch to it in one process, or leaves
// everything as it was. It fails with errMoved when the branch is not at its
// parent or behind it.
//
// lock is handed to git: a git that outlives a killed gate still holds the
// ledger's lock, so that nobody takes its ref lock for a dead one's.
func (r *repository) write(ctx context.Context, lock *os.File, c commit) (id string, err error) {
	return r.writeAll(ctx, lock, []commit{c})
}

// writeAll is write of several commits on one branch, each on the one before;
// the first alone names its parent. With an option --force the branch is moved
// wherever it was.
func (r *repository) writeAll(ctx context.Context, lock *os.File, commits []commit, options ...string) (id string, err error) {
	var in bytes.Buffer
	for i, c := range commits {
		fmt.Fprintf(&in, "commit %s\nmark :%d\n", c.branch, i+1)
		if c.author != "" {
			fmt.Fprintf(&in, "author %s\n", c.author)
		}
		fmt.Fprintf(&in, "committer %s %d +0000\ndata %d\n%s\n", gateCommitter, c.at.Unix(), len(c.message), c.message)
		if c.parent != "" {
			fmt.Fprintf(&in, "from %s\n", c.parent)
		}
		for _, f := range c.files {
			f.write(&in)
		}
		in.WriteByte('\n')
	}
	fmt.Fprintf(&in, "get-mark :%d\ndone\n", len(commits))

	// --done: the stream of a gate that was killed ends early, and must not count.
	cmd := r.command(ctx, append([]string{"fast-import", "--quiet", "--done"}, options...)...)
	cmd.Stdin = &in
	cmd.ExtraFiles = []*os.File{lock}
	out, err := r.run(ctx, "write to "+commits[0].branch, cmd)
	return strings.TrimSpace(string(out)), err
}

func (f file) write(in *bytes.Buffer) {
	path := quotePath(f.path)
	switch {
	case f.data != nil:
		fmt.Fprintf(in, "M 100644 inline %s\ndata %d\n", path, len(f.data))
		in.Write(f.data)
		in.WriteByte('\n')
	case f.blob != "":
		fmt.Fprintf(in, "M %s %s %s\n", f.mode, f.blob, path)
	default:
		fmt.Fprintf(in, "D %s\n", path)
	}
}

// quotePath is the path as fast-import reads it, whatever bytes it has.
func quotePath(path string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(path) {
		switch c := path[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20 || c >= 0x7f:
			fmt.Fprintf(&b, "\\%03o", c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// config is the repository's own, beside what git init writes. Objects come as
// one small pack for each append, since a pack is two files to make durable
// where loose objects are eight; Pack joins them.
const config = `[core]
	fsync = committed,reference
	fsyncMethod = fsync
	logAllRefUpdates = always
	compression = 1
[gc]
	auto = 0
	reflogExpire = never
	reflogExpireUnreachable = never
[maintenance]
	auto = false
[receive]
	autogc = false
	denyNonFastForwards = true
	denyDeletes = true
	fsckObjects = true
[fastimport]
	unpackLimit = 1
[pack]
	compression = 6
`

// initialise makes the bare repository, whose folder must exist and be empty.
// For lock see write.
func (r *repository) initialise(ctx context.Context, lock *os.File) error {
	cmd := r.command(ctx, "init", "--quiet", "--bare", "--template=", "--object-format=sha1", "--initial-branch="+strings.TrimPrefix(ledgerRef, "refs/heads/"))
	cmd.ExtraFiles = []*os.File{lock}
	if _, err := r.run(ctx, "create the ledger's repository", cmd); err != nil {
		return err
	}
	f, err := os.OpenFile(r.dir+"/config", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return storageError("configure the ledger's repository", err)
	}
	_, err = f.WriteString(config)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return storageError("configure the ledger's repository", err)
}
