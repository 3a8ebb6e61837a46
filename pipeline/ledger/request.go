package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	requestFile   = "request.json"
	maxRequest    = 64 << 10 // bytes
	gateCommitter = "gate <gate@localhost>"
)

// Request asks for a release in an environment.
type Request struct {
	Environment string `json:"environment,omitempty"` // the branch's
	Release     string `json:"release"`               // digest, "sha256:…"
	Commit      string `json:"commit,omitempty"`      // that the release was built from
	Record      string `json:"record,omitempty"`      // digest of the statement that says what the release is of; empty: any
	By          string `json:"by,omitempty"`
	Reason      string `json:"reason,omitempty"`
	Rollback    bool   `json:"rollback,omitempty"`
	Automatic   bool   `json:"automatic,omitempty"` // by a pipeline, without anybody's asking for it in person
}

// RequestCommit is a request as the branch env/<environment> has it.
type RequestCommit struct {
	// ID is the request's: each is consumed once, by it. It is that of the commit,
	// and stays the same when gate has to commit the request again.
	ID      string
	Commit  string // id of the commit that has it now
	Author  string // "name <address>"; gate's own for what gate wrote
	At      time.Time
	Reverts string // id of the request that this one undoes by git revert; empty: none
	Request Request
	// Settles is not empty for a commit by which gate says what runs: it is no
	// request, but the end of the one that Settles names, or "-".
	Settles string
	// Err says why the commit asks for nothing that could be done, and what to
	// do. Request is then empty. A bad commit does not hide the others: nobody
	// could take it away again from a branch that only grows.
	Err error
}

var (
	environmentName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
	releaseDigest   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	commitID        = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	revertOf        = regexp.MustCompile(`(?m)^This reverts commit ([0-9a-f]{40,64})\b`)
)

func environmentRef(env string) (string, error) {
	if !environmentName.MatchString(env) {
		return "", fmt.Errorf("environment %.80q: want lower-case letters, digits and hyphens, a letter first", env)
	}
	return "refs/heads/env/" + env, nil
}

// Request adds a request to the branch env/<env> and returns its id. Requests
// of others that come at the same time stay before or behind it.
func (l *Ledger) Request(ctx context.Context, env string, q Request) (id string, err error) {
	if q.Environment == "" {
		q.Environment = env
	}
	if err := q.validate(env); err != nil {
		return "", fmt.Errorf("request for %s: %w", env, err)
	}
	return l.commitOn(ctx, env, func(string) (*draft, error) {
		return &draft{message: q.summary(), request: &q}, nil
	})
}

func (q Request) summary() string {
	verb := "release"
	if q.Rollback {
		verb = "roll back to"
	}
	s := fmt.Sprintf("%s %s, asked by %s", verb, q.Release, q.By)
	if q.Reason != "" {
		s += "\n\n" + q.Reason
	}
	return s
}

func (q Request) validate(env string) error {
	switch {
	case q.Environment != "" && q.Environment != env:
		return fmt.Errorf("it says environment %.80q, but stands on env/%s", q.Environment, env)
	case !releaseDigest.MatchString(q.Release):
		return fmt.Errorf("release %.80q is not sha256: and 64 hexadecimal digits", q.Release)
	case q.Record != "" && !releaseDigest.MatchString(q.Record):
		return fmt.Errorf("record %.80q is not sha256: and 64 hexadecimal digits", q.Record)
	case q.Commit != "" && !commitID.MatchString(q.Commit):
		return fmt.Errorf("commit %.80q is no full commit id", q.Commit)
	case strings.TrimSpace(q.By) == "" || len(q.By) > 200 || strings.ContainsFunc(q.By, unicode.IsControl):
		return fmt.Errorf("by %.80q is not the name of who asks", q.By)
	case len(q.Reason) > 4000 || strings.ContainsFunc(q.Reason, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }):
		return errors.New("reason is longer than 4000 bytes or holds control characters")
	}
	return nil
}

// Requests returns the requests on env/<env>, oldest first. A merge counts as
// one, by what it brings; commits by which gate settles the branch are none. Each
// has its own Err; the error returned is about reading.
func (l *Ledger) Requests(ctx context.Context, env string) ([]RequestCommit, error) {
	ref, err := environmentRef(env)
	if err != nil {
		return nil, err
	}
	leave, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return l.requestsOf(ctx, env, ref)
}

// requestsOf returns the requests that the commit, or ref, has in its line.
func (l *Ledger) requestsOf(ctx context.Context, env, tip string) ([]RequestCommit, error) {
	var all []RequestCommit
	for name := tip; name != ""; {
		c, err := l.objects.one(ctx, name, "commit")
		if name == tip && errors.Is(err, errMissing) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the requests of %s: %w", env, err)
		}
		r, ok := l.requests[env+"/"+c.id]
		if !ok {
			if r, err = l.readRequest(ctx, env, c); err != nil {
				return nil, err
			}
			l.requests[env+"/"+c.id] = r
		}
		all = append(all, r)
		name = ""
		if parents := header(c.data, "parent"); len(parents) > 0 {
			name = parents[0]
		}
	}
	slices.Reverse(all)
	known := map[string]bool{}
	return slices.DeleteFunc(all, func(r RequestCommit) bool {
		again := known[r.ID]
		known[r.ID] = true
		return r.Settles != "" || again
	}), nil
}

// readRequest makes a request of a commit that gate or a person wrote.
func (l *Ledger) readRequest(ctx context.Context, env string, c object) (RequestCommit, error) {
	own := ownTrailers(c)
	r := RequestCommit{ID: c.id, Commit: c.id, Settles: own[settledTrailer]}
	if id := own[requestTrailer]; commitID.MatchString(id) {
		r.ID = id
	}
	for _, v := range header(c.data, "author") {
		r.Author, _, _ = cutSign(v)
	}
	for _, v := range header(c.data, "committer") {
		_, r.At, _ = cutSign(v)
	}
	_, message, _ := strings.Cut(string(c.data), "\n\n")
	if m := revertOf.FindStringSubmatch(message); m != nil {
		r.Reverts = m[1]
	}
	bad := func(err error) RequestCommit {
		r.Request = Request{}
		r.Err = fmt.Errorf("commit %s on env/%s: %w: undo it with git revert, or commit a %s that is right on top", c.id, env, err, requestFile)
		return r
	}
	blob, err := l.objects.one(ctx, c.id+":"+requestFile, "blob")
	switch {
	case errors.Is(err, errMissing), errors.Is(err, ErrBroken):
		return bad(fmt.Errorf("it has no file %s", requestFile)), nil
	case err != nil:
		return r, fmt.Errorf("read request %s of %s: %w", c.id, env, err)
	case len(blob.data) > maxRequest:
		return bad(fmt.Errorf("its %s has %d bytes, more than %d", requestFile, len(blob.data), maxRequest)), nil
	}
	if err := json.Unmarshal(blob.data, &r.Request); err != nil {
		return bad(fmt.Errorf("its %s is not a JSON object as expected: %w", requestFile, err)), nil
	}
	r.Request.fill(env, r, message)
	if err := r.Request.validate(env); err != nil {
		return bad(err), nil
	}
	return r, nil
}

// fill completes what people leave out. In a commit of their own it is they who
// ask, whatever name the file still has; a revert asks for what was before.
func (q *Request) fill(env string, r RequestCommit, message string) {
	if q.Environment == "" {
		q.Environment = env
	}
	if r.Author != gateCommitter {
		q.By, q.Automatic = r.Author, false
	}
	if r.Reverts != "" {
		q.Rollback = true
		q.Reason, _, _ = strings.Cut(message, "\n")
	}
}

// cutSign takes "name <address> seconds zone" apart.
func cutSign(v string) (who string, at time.Time, ok bool) {
	i := strings.LastIndexByte(v, '>')
	if i < 0 {
		return "", time.Time{}, false
	}
	f := strings.Fields(v[i+1:])
	if len(f) == 0 {
		return v[:i+1], time.Time{}, false
	}
	sec, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return v[:i+1], time.Time{}, false
	}
	return v[:i+1], time.Unix(sec, 0).UTC(), true
}
