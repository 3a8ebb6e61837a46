package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/checks"
)

const pathLeft = "/v1/left"

// startedApart is the answer to whoever asked for an instance on a copy. The
// connection stays open after it: the instance lives as long.
type startedApart struct {
	Address string `json:"address"`
	PID     int    `json:"pid"`
}

// crashed is the answer to a crash: where the copy answers now.
type crashed struct {
	OwnerURL string `json:"owner_url"`
	AppURL   string `json:"app_url"`
}

type ofRelease struct {
	Release string `json:"release"`
}

func (d *Daemon) rehearsalRoutes(ctx context.Context, mux *http.ServeMux) {
	mux.HandleFunc("GET "+pathLeft, func(w http.ResponseWriter, r *http.Request) {
		answer(w, d.left(r.URL.Query().Get("release")), nil)
	})
	mux.HandleFunc("POST "+pathCopies+"/{id}/crash", func(w http.ResponseWriter, r *http.Request) {
		c, err := d.copyOf(r)
		if err == nil {
			err = c.Crash(r.Context())
		}
		if err != nil {
			answer(w, nil, err)
			return
		}
		answer(w, crashed{c.OwnerURL(), c.AppURL()}, nil)
	})
	mux.HandleFunc("POST "+pathCopies+"/{id}/migrate", d.migrateCopy)
	mux.HandleFunc("POST "+pathCopies+"/{id}/instances", func(w http.ResponseWriter, r *http.Request) { d.serveCopy(ctx, w, r) })
}

// copyOf is the copy that the request is about.
func (d *Daemon) copyOf(r *http.Request) (*copied, error) {
	d.backups.mu.Lock()
	defer d.backups.mu.Unlock()
	c := d.backups.copies[r.PathValue("id")]
	if c == nil {
		return nil, errors.New("there is no such copy any more")
	}
	return c, nil
}

// asked reads which release the request is about. It reads to the end, behind
// which alone it is noticed when who asked goes.
func asked(w http.ResponseWriter, r *http.Request) (string, error) {
	var q ofRelease
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&q); err != nil {
		return "", err
	}
	_, err := io.Copy(io.Discard, io.LimitReader(r.Body, 4096))
	return q.Release, err
}

func (d *Daemon) migrateCopy(w http.ResponseWriter, r *http.Request) {
	c, err := d.copyOf(r)
	if err != nil {
		answer(w, nil, err)
		return
	}
	release, err := asked(w, r)
	if err != nil {
		answer(w, nil, err)
		return
	}
	rev, err := d.asServing(release)
	if err == nil {
		_, err = d.migrateOn(r.Context(), rev, c.OwnerURL(), rehearsed)
	}
	answer(w, struct{}{}, err)
}

// serveCopy starts an instance and ends it when who asked has gone, or the copy.
func (d *Daemon) serveCopy(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	c, err := d.copyOf(r)
	if err != nil {
		answer(w, nil, err)
		return
	}
	release, err := asked(w, r)
	if err != nil {
		answer(w, nil, err)
		return
	}
	rev, err := d.asServing(release)
	if err != nil {
		answer(w, nil, err)
		return
	}
	a, err := d.startApart(r.Context(), rev, c.AppURL(), c.Aside())
	if err != nil {
		answer(w, nil, err)
		return
	}
	defer a.stop()
	answer(w, startedApart{a.address, a.pid}, nil)
	if http.NewResponseController(w).Flush() != nil {
		return
	}
	select {
	case <-r.Context().Done():
	case <-ctx.Done():
	case <-a.ended:
	case <-c.gone:
	case <-d.downAsked:
	}
}

// Left implements checks.Rehearser.
func (c *Client) Left(ctx context.Context, release string) (time.Time, error) {
	var at time.Time
	err := c.call(ctx, http.MethodGet, pathLeft+"?release="+url.QueryEscape(release), nil, &at)
	return at, err
}

// MigrateCopy implements checks.Rehearser.
func (c *Client) MigrateCopy(ctx context.Context, of checks.DatabaseCopy, release string) error {
	n, err := ownCopy(of)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, n.path("migrate"), ofRelease{release}, nil)
}

// Crash implements checks.CrashingCopy.
func (n *Copy) Crash(ctx context.Context) error {
	var now crashed
	if err := n.c.call(ctx, http.MethodPost, n.path("crash"), struct{}{}, &now); err != nil {
		return err
	}
	n.is.OwnerURL, n.is.AppURL = now.OwnerURL, now.AppURL
	return nil
}

// CopyInstance is an instance on a copy in the hands of who asked for it.
type CopyInstance struct {
	is     startedApart
	handle int // of its process
	cancel context.CancelFunc
	body   io.Closer
	once   sync.Once
	err    error
}

// ServeCopy implements checks.Rehearser.
func (c *Client) ServeCopy(ctx context.Context, of checks.DatabaseCopy, release string) (checks.CopyInstance, error) {
	n, err := ownCopy(of)
	if err != nil {
		return nil, err
	}
	// ctx bounds the start; the connection then lasts until Kill.
	hold, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	body, err := c.ask(hold, http.MethodPost, n.path("instances"), ofRelease{release})
	if err != nil {
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	i := &CopyInstance{cancel: cancel, body: body}
	err = json.NewDecoder(body).Decode(&i.is)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		i.handle, err = unix.PidfdOpen(i.is.PID, 0)
	}
	if err != nil {
		cancel()
		body.Close()
		return nil, fmt.Errorf("daemon of %s: the instance on the copy ended: %w", c.paths.Environment, err)
	}
	return i, nil
}

// Address implements checks.CopyInstance.
func (i *CopyInstance) Address() string { return i.is.Address }

// Kill implements checks.CopyInstance.
func (i *CopyInstance) Kill() error {
	i.once.Do(func() {
		defer unix.Close(i.handle)
		defer i.body.Close()
		defer i.cancel()
		if err := unix.PidfdSendSignal(i.handle, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			i.err = fmt.Errorf("kill the instance on the copy, process %d: %w", i.is.PID, err)
			return
		}
		for deadline := time.Now().Add(copyPatience); ; {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(i.handle), Events: unix.POLLIN}}, 1000) // #nosec G115 -- a file descriptor
			if n > 0 {
				return
			}
			if err != nil && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
				i.err = fmt.Errorf("the instance on the copy, process %d, has not ended", i.is.PID)
				return
			}
		}
	})
	return i.err
}

// ownCopy is a copy that this package has made.
func ownCopy(of checks.DatabaseCopy) (*Copy, error) {
	n, ok := of.(*Copy)
	if !ok {
		return nil, fmt.Errorf("a copy of another kind: %T", of)
	}
	return n, nil
}

var (
	_ checks.Rehearser    = (*Client)(nil)
	_ checks.CrashingCopy = (*Copy)(nil)
)

// databaseSize is what was found last.
type databaseSize struct {
	sync.Mutex
	at    time.Time
	bytes int64
}

// databaseBytes is the size of the database, or 0. A status is asked for often,
// so that the figure may be some seconds old.
func (d *Daemon) databaseBytes(ctx context.Context) int64 {
	d.size.Lock()
	defer d.size.Unlock()
	if time.Since(d.size.at) < sizeFor {
		return d.size.bytes
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	n, err := d.database().Bytes(ctx)
	if err != nil {
		n = 0
	}
	d.size.bytes, d.size.at = n, time.Now()
	return n
}

// sizeFor is how long a size is good for.
const sizeFor = 10 * time.Second
