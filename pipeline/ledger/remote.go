package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
)

// What a fetch brings is kept apart until it is verified: fetched holds the
// remote's branches as they came, seen those that were verified and believed.
const (
	fetchedRefs = "refs/gate/fetched/"
	seenRefs    = "refs/gate/seen/"
	envPrefix   = "env/"
	ledgerName  = "gate/ledger"
)

// networkPatience bounds one command that speaks with the remote.
const networkPatience = 5 * time.Minute

// errRaced: somebody else has written to the remote meanwhile. Nothing was
// pushed.
var errRaced = errors.New("somebody else was first")

// tips are the branches of a remote, by what they are at.
type tips struct {
	ledger string            // commit; empty: no such branch
	envs   map[string]string // environment → commit
}

// named are the tips by full names below a prefix.
func (t tips) named(prefix string) map[string]string {
	out := map[string]string{}
	if t.ledger != "" {
		out[prefix+ledgerName] = t.ledger
	}
	for env, id := range t.envs {
		out[prefix+envPrefix+env] = id
	}
	return out
}

// tipsBelow reads the tips that are kept below a prefix.
func (r *repository) tipsBelow(ctx context.Context, prefix string) (tips, error) {
	out, err := r.git(ctx, "for-each-ref", "--format=%(objectname) %(refname)", prefix)
	if err != nil {
		return tips{}, err
	}
	t := tips{envs: map[string]string{}}
	for line := range strings.Lines(string(out)) {
		id, ref, _ := strings.Cut(strings.TrimSpace(line), " ")
		name := strings.TrimPrefix(ref, prefix)
		if name == ledgerName {
			t.ledger = id
		} else if env, ok := strings.CutPrefix(name, envPrefix); ok && environmentName.MatchString(env) {
			t.envs[env] = id
		}
	}
	return t, nil
}

// network prepares a git command that speaks with a remote. Lock is handed to
// it, so that what outlives a killed gate is waited for.
func (r *repository) network(ctx context.Context, lock *os.File, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, networkPatience, fmt.Errorf("no end after %s", networkPatience))
	defer cancel()
	args = append([]string{
		"-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=30",
		"-c", "fetch.fsckObjects=true", "-c", "fetch.unpackLimit=1",
	}, args...)
	cmd := r.command(ctx, args...)
	cmd.Env = append(r.environment(slices.Concat(passed, passedToPush)), "GIT_ALLOW_PROTOCOL=https:ssh:file")
	if !slices.ContainsFunc(cmd.Env, func(kv string) bool { return strings.HasPrefix(kv, "GIT_SSH") }) {
		// Nobody is there to answer a question.
		cmd.Env = append(cmd.Env, "GIT_SSH_COMMAND=ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15")
	}
	cmd.ExtraFiles = []*os.File{lock}
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	if err = cmd.Run(); err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return o.String(), e.String(), err
}

// fetch brings the remote's branches below fetchedRefs and returns them.
func (r *repository) fetch(ctx context.Context, lock *os.File, remote string) (tips, error) {
	if err := checkRemote(remote); err != nil {
		return tips{}, err
	}
	_, said, err := r.network(ctx, lock, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
		"--no-recurse-submodules", "--prune", "--force", "--", remote,
		"+refs/heads/gate/*:"+fetchedRefs+"gate/*", "+refs/heads/env/*:"+fetchedRefs+"env/*")
	if err != nil {
		if ctx.Err() != nil {
			return tips{}, fmt.Errorf("fetch the ledger: %w", context.Cause(ctx))
		}
		if local := gitError("", said, err); errors.Is(local, ErrNoSpace) {
			return tips{}, fmt.Errorf("fetch the ledger: %w", local)
		}
		return tips{}, fmt.Errorf("%w: fetch the ledger from %s: %s: see that it is reachable and lets this machine read", ErrRemote, redact(remote), remoteSaid(said, err))
	}
	return r.tipsBelow(ctx, fetchedRefs)
}

// push moves branches at the remote, full name → commit, all or none and fast
// forward only. It fails with errRaced when another was first.
func (r *repository) push(ctx context.Context, lock *os.File, remote string, branches map[string]string) error {
	args := []string{"push", "--atomic", "--porcelain", "--no-verify", "--", remote}
	for _, ref := range sortedKeys(branches) {
		args = append(args, branches[ref]+":"+ref)
	}
	out, said, err := r.network(ctx, lock, args...)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("push the ledger: %w", context.Cause(ctx))
	}
	return pushError(redact(remote), out, said, err)
}

// races are the words of a push that only came too late.
var races = []string{
	"fetch first", "non-fast-forward", "stale info", "already exists", "needs force",
	"failed to update ref", "cannot lock ref", "failed to lock", "incorrect old value", "but expected", "atomic transaction failed",
}

// pushError tells a race from a refusal, and that from a remote that can't be
// reached.
func pushError(remote, stdout, stderr string, err error) error {
	raced := ""
	for line := range strings.Lines(stdout) {
		// "!\t<from>:<to>\t[rejected] (fetch first)"
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 3 || f[0] != "!" || strings.Contains(f[2], "atomic push fail") {
			continue
		}
		if slices.ContainsFunc(races, func(w string) bool { return strings.Contains(f[2], w) }) {
			raced = f[2]
			continue
		}
		_, to, _ := strings.Cut(f[1], ":")
		return fmt.Errorf("%w: %s refused %s: %s: let this machine push gate/ledger and env/* there", ErrRemote, remote, strings.TrimPrefix(to, "refs/heads/"), plain(f[2]+hookSaid(stderr)))
	}
	if raced != "" {
		return fmt.Errorf("%w: %s", errRaced, plain(raced))
	}
	return fmt.Errorf("%w: push the ledger to %s: %s: see that it is reachable and lets this machine push", ErrRemote, remote, remoteSaid(stderr, err))
}

// hookSaid is what the remote's hooks had to say.
func hookSaid(stderr string) string {
	var all []string
	for line := range strings.Lines(stderr) {
		if text, ok := strings.CutPrefix(line, "remote: "); ok && strings.TrimSpace(text) != "" {
			all = append(all, strings.TrimSpace(text))
		}
	}
	if len(all) == 0 {
		return ""
	}
	return ": " + strings.Join(all, " ")
}

// remoteSaid picks the line that tells why a remote could not be used.
func remoteSaid(stderr string, err error) string {
	for line := range strings.Lines(stderr) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "ssh: ") || strings.HasPrefix(line, "remote: ") && !strings.HasPrefix(line, "remote: Enumerating") {
			return plain(line)
		}
	}
	said := gitSaid(stderr)
	if said == "" {
		said = err.Error()
	}
	return plain(said)
}

// plain is what another machine said, as part of one line.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
	s = redact(strings.Join(strings.Fields(s), " "))
	if len(s) > 400 {
		s = strings.ToValidUTF8(s[:400], "") + "…"
	}
	return s
}

// checkRemote refuses what would put a secret into an argument list, and what
// git would take for an option.
func checkRemote(remote string) error {
	if strings.HasPrefix(remote, "-") || strings.ContainsFunc(remote, unicode.IsControl) {
		return fmt.Errorf("%w: %.80q is no address of a Git repository: mend remote in environments/trust.yaml", ErrRemote, remote)
	}
	u, err := url.Parse(remote)
	if err != nil {
		return nil // scp-like: git@host:path
	}
	_, password := u.User.Password()
	if password || u.User != nil && (u.Scheme == "https" || u.Scheme == "http") {
		return fmt.Errorf("%w: its address in environments/trust.yaml holds credentials: take them out, and use GIT_ASKPASS or an ssh key", ErrRemote)
	}
	return nil
}

// ancestor says whether the commit a is b or comes before it.
func (r *repository) ancestor(ctx context.Context, a, b string) (bool, error) {
	if a == b {
		return true, nil
	}
	cmd := r.command(ctx, "merge-base", "--is-ancestor", a, b)
	_, err := r.run(ctx, "compare commits", cmd)
	if err != nil && cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 1 {
		return false, nil
	}
	return err == nil, err
}

// setRef moves a ref from one commit to another; an empty one stands for none.
// It fails with errMoved when the ref is elsewhere.
func (r *repository) setRef(ctx context.Context, lock *os.File, ref, from, to string) error {
	const none = "0000000000000000000000000000000000000000"
	args := []string{"update-ref", "--no-deref", "-m", "gate", ref, to, from}
	if from == "" {
		args[len(args)-1] = none
	}
	if to == "" {
		args = []string{"update-ref", "--no-deref", "-m", "gate", "-d", ref, from}
	}
	cmd := r.command(ctx, args...)
	cmd.ExtraFiles = []*os.File{lock}
	_, err := r.run(ctx, "move "+ref, cmd)
	return err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
