package checks

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/smartcloudops/gate/environments"
)

const (
	compatUsers  = 4
	compatRounds = 8 // of every endpoint, for each user
)

// copyUser sends declared requests to an instance on a copy.
type copyUser struct {
	client  *http.Client
	address string
	run     string
	seq     atomic.Int64
}

func newCopyUser(address string) *copyUser {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails
	return &copyUser{
		address: address, run: hex.EncodeToString(id),
		client: &http.Client{Timeout: loadTimeout, Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext, MaxIdleConnsPerHost: acidWriters, DisableCompression: true,
		}},
	}
}

func (u *copyUser) close() { u.client.CloseIdleConnections() }

func (u *copyUser) expand(user int, seq int64) func(string) string {
	return strings.NewReplacer("${USER}", strconv.Itoa(user), "${SEQ}", strconv.FormatInt(seq, 10), "${RUN}", u.run,
		"${NOW}", time.Now().UTC().Format(time.RFC3339Nano)).Replace
}

// send sends one request. Why is empty when the answer is right; answered says
// that there was one at all.
func (u *copyUser) send(ctx context.Context, e environments.Endpoint, user int, seq int64) (body []byte, why string, answered bool) {
	fill := u.expand(user, seq)
	req, err := http.NewRequestWithContext(ctx, e.Method, "http://"+u.address+fill(e.Path), strings.NewReader(fill(e.Body)))
	if err != nil {
		return nil, "bad request", false
	}
	req.GetBody = nil // nothing is sent twice
	for k, v := range e.Headers {
		req.Header.Set(k, fill(v))
	}
	res, err := u.client.Do(req)
	if err != nil {
		return nil, loadNetwork, false
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, loadBodyLimit))
	if err != nil {
		return nil, loadClosed, false
	}
	return body, loadJudge(e.Expect, res.StatusCode, body), true
}

// every sends every endpoint's request again and again.
func (u *copyUser) every(ctx context.Context, endpoints []environments.Endpoint, rounds int, into *ReleaseRun) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for user := range compatUsers {
		wg.Go(func() {
			for range rounds {
				for _, e := range endpoints {
					if ctx.Err() != nil {
						return
					}
					_, why, _ := u.send(ctx, e, user, u.seq.Add(1))
					if ctx.Err() != nil {
						return
					}
					mu.Lock()
					into.Requests++
					if why != "" {
						into.Failed++
						into.Failures = loadAddCounts(into.Failures, map[string]int{e.Name + ": " + why: 1})
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
}

// compatible starts the release on the copy and uses it.
func compatible(ctx context.Context, r Rehearser, copied DatabaseCopy, release string, endpoints []environments.Endpoint) (*ReleaseRun, error) {
	run := &ReleaseRun{Release: release}
	i, err := r.ServeCopy(ctx, copied, release)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		run.Problem = err.Error()
		return run, nil
	}
	run.Ready = true
	u := newCopyUser(i.Address())
	defer u.close()
	u.every(ctx, endpoints, compatRounds, run)
	if err := i.Kill(); err != nil {
		return nil, fmt.Errorf("end the instance on the copy: %w", err)
	}
	return run, ctx.Err()
}

// usersAtWork is a release in use until it is stopped.
type usersAtWork struct {
	instance CopyInstance
	user     *copyUser
	run      *ReleaseRun
	cancel   context.CancelFunc
	done     chan struct{}
}

// startUsers has the release in use on the copy; a release that does not come
// up is said in its run.
func startUsers(ctx context.Context, r Rehearser, copied DatabaseCopy, release string, endpoints []environments.Endpoint) (*usersAtWork, error) {
	w := &usersAtWork{run: &ReleaseRun{Release: release}, done: make(chan struct{})}
	i, err := r.ServeCopy(ctx, copied, release)
	if err != nil {
		close(w.done)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		w.run.Problem = err.Error()
		return w, nil
	}
	w.instance, w.run.Ready, w.user = i, true, newCopyUser(i.Address())
	within, cancel := context.WithCancel(ctx)
	w.cancel = cancel
	first := make(chan struct{})
	go func() {
		defer close(w.done)
		w.user.every(within, endpoints, 1, w.run)
		close(first)
		for within.Err() == nil {
			w.user.every(within, endpoints, 1, w.run)
		}
	}()
	<-first
	return w, nil
}

// stop ends the use, and the instance. It may be called again.
func (w *usersAtWork) stop() error {
	if w.instance == nil {
		return nil
	}
	w.cancel()
	<-w.done
	w.user.close()
	i := w.instance
	w.instance = nil
	return i.Kill()
}

// write is one request that was answered.
type appWrite struct {
	user int
	seq  int64
}

// runAppWrites has writers store through the release's app, kills its instance
// in the middle, and reads everything back from another.
func runAppWrites(ctx context.Context, r Rehearser, copied DatabaseCopy, release string, w *environments.Write, d time.Duration) (*ACIDFigures, error) {
	f := &ACIDFigures{Writers: acidWriters}
	began := time.Now()
	endpoint := w.Endpoint(1)
	// Users, and so what is read back, are the same for both instances.
	var all []appWrite
	var run string
	for part := range 2 {
		i, err := r.ServeCopy(ctx, copied, release)
		if err != nil {
			return nil, fmt.Errorf("the release does not come up on the copy: %w", err)
		}
		u := newCopyUser(i.Address())
		if part == 0 {
			run = u.run
		} else {
			u.run = run
		}
		acked, unsure, err := u.writeUntilKilled(ctx, i, endpoint, int64(part)*1_000_000, d/2)
		u.close()
		if err != nil {
			return nil, err
		}
		f.Kills++
		f.Unanswered += unsure
		all = append(all, acked...)
	}
	if crashing, ok := copied.(CrashingCopy); ok {
		if err := crashing.Crash(ctx); err != nil {
			return nil, fmt.Errorf("crash the copy's server: %w", err)
		}
		f.Crashes++
	}
	i, err := r.ServeCopy(ctx, copied, release)
	if err != nil {
		return nil, fmt.Errorf("the release does not come up on the copy after a crash: %w", err)
	}
	u := newCopyUser(i.Address())
	u.run = run
	defer u.close()
	bodies := map[int][]byte{}
	for user := range acidWriters {
		body, why, _ := u.send(ctx, environments.Endpoint{Method: http.MethodGet, Path: w.Read, Expect: environments.Expect{Status: http.StatusOK}}, user, 0)
		if why != "" {
			_ = i.Kill()
			return nil, fmt.Errorf("read back what user %d stored: %s", user, why)
		}
		bodies[user] = body
	}
	for _, a := range all {
		f.Acknowledged++
		switch n := bytes.Count(bodies[a.user], []byte(u.expand(a.user, a.seq)(w.Holds))); {
		case n == 0:
			f.Lost++
		case n > 1:
			f.Found, f.Twice = f.Found+1, f.Twice+1
		default:
			f.Found++
		}
	}
	f.Reads = int64(len(bodies))
	f.Seconds = time.Since(began).Seconds()
	return f, i.Kill()
}

// writeUntilKilled has all writers at work until the instance is killed.
func (u *copyUser) writeUntilKilled(ctx context.Context, i CopyInstance, e environments.Endpoint, first int64, d time.Duration) (acked []appWrite, unsure int64, err error) {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	u.seq.Store(first)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for user := range acidWriters {
		wg.Go(func() {
			// What can be read back of one user is bounded by the answer.
			for range appWritesEach {
				if within.Err() != nil {
					return
				}
				seq := u.seq.Add(1)
				_, why, answered := u.send(ctx, e, user, seq)
				mu.Lock()
				switch {
				case why == "":
					acked = append(acked, appWrite{user, seq})
				case !answered:
					unsure++
				}
				mu.Unlock()
				if !answered || migrationPause(within, appWritePause) != nil {
					return
				}
			}
		})
	}
	_ = migrationPause(ctx, d)
	err = i.Kill()
	cancel()
	wg.Wait()
	if err != nil {
		return nil, 0, fmt.Errorf("kill the instance on the copy: %w", err)
	}
	return acked, unsure, ctx.Err()
}

const (
	appWritesEach = 400
	appWritePause = 5 * time.Millisecond
)
