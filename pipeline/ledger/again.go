package ledger

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
)

// requestAgain commits the requests that ours has and theirs lacks on top of
// theirs, and returns the commit, which no branch has yet. A request keeps its
// id and its meaning: its request.json, its author, its words, and what else it
// changed. What is consumed, or no request, is left out.
func (l *Ledger) requestAgain(ctx context.Context, lock *os.File, env, ours, theirs string, r Resolver) (string, error) {
	known := map[string]bool{}
	list := []string{"rev-list", "--first-parent", "--reverse", ours}
	if theirs != "" {
		have, err := l.requestsOf(ctx, env, theirs)
		if err != nil {
			return "", err
		}
		for _, q := range have {
			known[q.ID] = true
		}
		list = append(list, "--not", theirs)
	}
	line, err := l.repo.git(ctx, list...)
	if err != nil {
		return "", err
	}
	var all []commit
	for _, id := range strings.Fields(string(line)) {
		c, err := l.objects.one(ctx, id, "commit")
		if err != nil {
			return "", err
		}
		q, err := l.readRequest(ctx, env, c)
		if err != nil {
			return "", err
		}
		if q.Settles != "" || known[q.ID] {
			continue
		}
		if done, err := r.Consumed(ctx, viewOf(l.records), env, q.ID); err != nil {
			return "", err
		} else if done {
			continue
		}
		known[q.ID] = true
		one, err := l.recommit(ctx, c, q.ID)
		if err != nil {
			return "", err
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return theirs, nil
	}
	if err := l.repo.clearRefLocks(ctx, nextRef, staleAfter); err != nil {
		return "", err
	}
	all[0].parent = theirs
	return l.repo.writeAll(ctx, lock, all, "--force")
}

// recommit is the commit c with what it changed, for another place.
func (l *Ledger) recommit(ctx context.Context, c object, request string) (commit, error) {
	out := commit{branch: nextRef}
	for _, v := range header(c.data, "author") {
		out.author = v
	}
	for _, v := range header(c.data, "committer") {
		_, out.at, _ = cutSign(v)
	}
	if out.at.IsZero() {
		out.at = l.opt.Now()
	}
	_, message, _ := strings.Cut(string(c.data), "\n\n")
	if ownTrailers(c) != nil {
		message = withoutTrailers(message)
	}
	trailers := []trailer{{requestTrailer, request}}
	if m, ok := l.fixed(); ok {
		trailers = append(trailers, trailer{markTrailer, m.String()})
	}
	out.message = withTrailers(message, trailers...)

	parent := "4b825dc642cb6eb9a060e54bf8d69288fbee4904" // the empty tree
	if parents := header(c.data, "parent"); len(parents) > 0 {
		parent = parents[0]
	}
	diff, err := l.repo.git(ctx, "diff-tree", "-r", "-z", "--no-renames", parent, c.id)
	if err != nil {
		return out, err
	}
	// ":<mode> <mode> <id> <id> <status>\0<path>\0"
	fields := bytes.Split(bytes.TrimSuffix(diff, []byte{0}), []byte{0})
	for i := 0; i+1 < len(fields); i += 2 {
		f := strings.Fields(string(fields[i]))
		if len(f) != 5 {
			return out, fmt.Errorf("%w: what commit %s changed can't be read", ErrBroken, c.id)
		}
		one := file{path: string(fields[i+1])}
		if f[4] != "D" {
			one.mode, one.blob = f[1], f[3]
		}
		out.files = append(out.files, one)
	}
	// Also where it is no change here: it may be one on top of the others.
	blob, err := l.objects.one(ctx, c.id+":"+requestFile, "blob")
	if err == nil {
		out.files = append(out.files, file{path: requestFile, mode: "100644", blob: blob.id})
	} else if !isAny(err, errMissing, ErrBroken) {
		return out, err
	}
	return out, nil
}
