package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// draft is a commit that gate is about to write on an env branch.
type draft struct {
	message  string
	trailers []trailer
	request  *Request // nil: the branch is to have none
}

// checkEnvFiles refuses what is no path below a branch's root.
func checkEnvFiles(files map[string][]byte) error {
	for name := range files {
		if name == "" || path.Clean(name) != name || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") || name == requestFile ||
			slices.Contains(strings.Split(name, "/"), ".git") {
			return fmt.Errorf("open ledger: file %.100q can't be put on an env branch", name)
		}
	}
	return nil
}

// commitOn writes a commit on env/<env>, on top of what is there, with the
// branch's other files, and returns its id. The draft is planned by the branch's
// tip, empty for none; a nil one writes nothing, and the id is empty.
func (l *Ledger) commitOn(ctx context.Context, env string, plan func(tip string) (*draft, error)) (id string, err error) {
	if l.opt.ReadOnly {
		return "", fmt.Errorf("%w: the ledger was opened for reading", ErrReadOnly)
	}
	ref, err := environmentRef(env)
	if err != nil {
		return "", err
	}
	leave, err := l.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	lock, err := acquire(ctx, l.path(lockName))
	if err != nil {
		return "", err
	}
	defer lock.Close()
	for range attempts {
		if id, err = l.tryCommitOn(ctx, lock, env, ref, plan); !errors.Is(err, errMoved) {
			return id, err
		}
	}
	return "", fmt.Errorf("write to env/%s: gave up after %d attempts, something else writes there: %w", env, attempts, err)
}

func (l *Ledger) tryCommitOn(ctx context.Context, lock *os.File, env, ref string, plan func(tip string) (*draft, error)) (string, error) {
	tip, err := l.objects.one(ctx, ref, "commit")
	if err != nil && !errors.Is(err, errMissing) {
		return "", err
	}
	d, err := plan(tip.id)
	if err != nil || d == nil {
		return "", err
	}
	c, err := l.compose(ctx, env, *d)
	if err != nil {
		return "", err
	}
	c.branch, c.parent = ref, tip.id
	if err := l.repo.clearRefLocks(ctx, ref, staleAfter); err != nil {
		return "", err
	}
	return l.repo.write(context.WithoutCancel(ctx), lock, c)
}

// compose makes the commit: the request, the files that every commit brings,
// and how far the ledger was seen.
func (l *Ledger) compose(ctx context.Context, env string, d draft) (commit, error) {
	c := commit{at: l.opt.Now()}
	if d.request == nil {
		c.files = append(c.files, file{path: requestFile})
	} else {
		data, err := json.MarshalIndent(*d.request, "", "  ")
		if err != nil {
			return c, fmt.Errorf("request for %s: %w", env, err)
		}
		c.files = append(c.files, file{path: requestFile, data: append(data, '\n')})
	}
	for _, name := range sortedKeys(l.opt.EnvFiles) {
		c.files = append(c.files, file{path: name, data: append([]byte{}, l.opt.EnvFiles[name]...)})
	}
	if err := l.refresh(ctx); err != nil {
		return c, err
	}
	trailers := append([]trailer{{envTrailer, env}}, d.trailers...)
	if m, ok := l.fixed(); ok {
		trailers = append(trailers, trailer{markTrailer, m.String()})
	}
	c.message = withTrailers(d.message, trailers...)
	return c, nil
}

// Seed begins env/<env> with the files that every commit of gate brings, and no
// request, so that people can ask for something there. A branch that exists is
// left as it is.
func (l *Ledger) Seed(ctx context.Context, env string) error {
	_, err := l.commitOn(ctx, env, func(tip string) (*draft, error) {
		if tip != "" {
			return nil, nil
		}
		return &draft{message: "begin env/" + env, trailers: []trailer{{settledTrailer, "-"}}}, nil
	})
	return err
}

// Tip is what env/<env> says now, also where that is no request; ok is false
// when there is no such branch.
func (l *Ledger) Tip(ctx context.Context, env string) (tip RequestCommit, ok bool, err error) {
	ref, err := environmentRef(env)
	if err != nil {
		return tip, false, err
	}
	leave, err := l.enter(ctx)
	if err != nil {
		return tip, false, err
	}
	defer leave()
	c, err := l.objects.one(ctx, ref, "commit")
	if errors.Is(err, errMissing) {
		return tip, false, nil
	} else if err != nil {
		return tip, false, fmt.Errorf("read what env/%s says: %w", env, err)
	}
	tip, err = l.readRequest(ctx, env, c)
	return tip, err == nil, err
}

// Settle makes env/<env> say what runs, nil for nothing, after the request at
// its tip came to something else: cause says to what. That commit is no request.
// When the branch is no longer at tip, nothing is written and the id is empty:
// somebody has asked for something else meanwhile.
func (l *Ledger) Settle(ctx context.Context, env string, tip RequestCommit, runs *Request, cause string) (id string, err error) {
	if runs != nil {
		q := *runs
		q.Environment = env
		if err := q.validate(env); err != nil {
			return "", fmt.Errorf("settle env/%s: %w", env, err)
		}
		runs = &q
	}
	return l.commitOn(ctx, env, func(now string) (*draft, error) {
		if now != tip.Commit {
			return nil, nil
		}
		return &draft{message: cause, request: runs, trailers: []trailer{{settledTrailer, tip.ID}}}, nil
	})
}

// Retract takes a request back that nobody else can have seen: it is the last on
// env/<env>, and has not reached the remote. ok is false when it can't be.
func (l *Ledger) Retract(ctx context.Context, env, id string) (ok bool, err error) {
	ref, err := environmentRef(env)
	if err != nil {
		return false, err
	}
	leave, err := l.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	lock, err := acquire(ctx, l.path(lockName))
	if err != nil {
		return false, err
	}
	defer lock.Close()
	tip, err := l.objects.one(ctx, ref, "commit")
	if err != nil {
		return false, fmt.Errorf("take request %.12s back: %w", id, err)
	}
	r, err := l.readRequest(ctx, env, tip)
	if err != nil || r.ID != id || r.Settles != "" {
		return false, err
	}
	for _, prefix := range []string{seenRefs, fetchedRefs} {
		known, err := l.repo.tipsBelow(ctx, prefix)
		if err != nil {
			return false, err
		}
		if theirs := known.envs[env]; theirs != "" {
			if has, err := l.repo.ancestor(ctx, tip.id, theirs); err != nil || has {
				return false, err
			}
		}
	}
	parent := ""
	if parents := header(tip.data, "parent"); len(parents) > 0 {
		parent = parents[0]
	}
	return true, l.move(ctx, lock, ref, tip.id, parent)
}
