package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Mirror pushes gate/ledger and all env/ branches to the remote that trust.yaml
// declares, all or none, fast-forward only. Without a remote it does nothing.
// It fails with ErrDiverged when the remote has commits that are not here.
func (l *Ledger) Mirror(ctx context.Context) error {
	if l.trust.Remote == "" {
		return nil
	}
	if err := checkRemote(l.trust.Remote); err != nil {
		return err
	}
	// Nothing that this machine would not believe itself goes to the others.
	if _, _, err := l.Head(ctx); err != nil {
		return fmt.Errorf("mirror the ledger: %w", err)
	}
	// The lock is not taken: the network may be slow, and appending goes on.
	cmd := l.repo.command(ctx, "push", "--atomic", "--no-verify", "--", l.trust.Remote,
		ledgerRef+":"+ledgerRef, "refs/heads/env/*:refs/heads/env/*")
	cmd.Env = append(l.repo.environment(slices.Concat(passed, passedToPush)), "GIT_ALLOW_PROTOCOL=https:ssh:file")
	if !slices.ContainsFunc(cmd.Env, func(kv string) bool { return strings.HasPrefix(kv, "GIT_SSH") }) {
		// Nobody is there to answer a question.
		cmd.Env = append(cmd.Env, "GIT_SSH_COMMAND=ssh -o BatchMode=yes")
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("mirror the ledger: %w", context.Cause(ctx))
	}
	return pushError(redact(l.trust.Remote), stderr.String(), err)
}

func pushError(remote, stderr string, err error) error {
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		switch {
		case strings.Contains(line, "(fetch first)"), strings.Contains(line, "(non-fast-forward)"):
			branch := line
			if _, after, ok := strings.Cut(line, "-> "); ok {
				branch, _, _ = strings.Cut(after, " ")
			}
			return fmt.Errorf("%w: %s has commits on %s that this ledger lacks: see who else writes there; nothing was pushed", ErrDiverged, remote, branch)
		case strings.Contains(line, "[remote rejected]"):
			return fmt.Errorf("mirror the ledger: %s refused: %s: let this machine push gate/ledger and env/* there", remote, redact(line))
		}
	}
	said := gitSaid(stderr)
	if said == "" {
		said = err.Error()
	}
	return fmt.Errorf("mirror the ledger to %s: %s: see that the remote is reachable and lets this machine push", remote, said)
}

// checkRemote refuses what would put a secret into an argument list.
func checkRemote(remote string) error {
	u, err := url.Parse(remote)
	if err != nil {
		return nil // scp-like: git@host:path
	}
	_, password := u.User.Password()
	if password || u.User != nil && (u.Scheme == "https" || u.Scheme == "http") {
		return errors.New("mirror the ledger: the remote in environments/trust.yaml holds credentials: take them out, and use GIT_ASKPASS or an ssh key")
	}
	return nil
}
