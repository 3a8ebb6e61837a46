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

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/target/local/backup"
)

const (
	pathBackup = "/v1/backup"
	pathCopies = "/v1/copies"
)

// restored is the answer to a restore. The connection stays open after it: a
// copy lives as long as whoever asked for it.
type restored struct {
	ID       string              `json:"id,omitempty"`
	OwnerURL string              `json:"owner_url,omitempty"`
	AppURL   string              `json:"app_url,omitempty"`
	Facts    checks.RestoreFacts `json:"facts"`
	Fault    *checks.BackupFault `json:"fault,omitempty"`
}

// Answers that are one value.
type (
	amchecked struct {
		Complaint string `json:"complaint"`
	}
	served struct {
		Address string `json:"address"`
	}
	sessions struct {
		Sessions int64 `json:"sessions"`
	}
	inspected struct {
		Facts checks.CopyFacts    `json:"facts"`
		Fault *checks.BackupFault `json:"fault,omitempty"`
	}
	marked struct {
		Mark  checks.BackupMark   `json:"mark"`
		Fault *checks.BackupFault `json:"fault,omitempty"`
	}
)

// copied is a restored copy with who asked for it.
type copied struct {
	*backup.Copy
	gone chan struct{} // closed by who has ended it

	mu   sync.Mutex
	apps []*apart
}

func (d *Daemon) backupRoutes(ctx context.Context, mux *http.ServeMux) {
	mux.HandleFunc("POST "+pathCopies, func(w http.ResponseWriter, r *http.Request) { d.restore(ctx, w, r) })
	mux.HandleFunc("GET "+pathBackup, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, d.backupFacts(), nil)
	})
	mux.HandleFunc("POST "+pathBackup+"/mark", func(w http.ResponseWriter, r *http.Request) {
		k, err := d.keeper()
		var m marked
		if err == nil {
			m.Mark, err = k.Mark(r.Context())
		}
		if errors.As(err, &m.Fault) {
			err = nil
		}
		answer(w, m, err)
	})
	mux.HandleFunc("POST "+pathCopies+"/{id}/inspect", ofCopy(d, func(ctx context.Context, c *copied, m checks.BackupMark) (any, error) {
		var is inspected
		f, err := c.Inspect(ctx, m)
		if is.Facts = f; errors.As(err, &is.Fault) {
			err = nil
		}
		return is, err
	}))
	mux.HandleFunc("POST "+pathCopies+"/{id}/amcheck", ofCopy(d, func(ctx context.Context, c *copied, _ struct{}) (any, error) {
		said, err := c.Amcheck(ctx)
		return amchecked{said}, err
	}))
	mux.HandleFunc("POST "+pathCopies+"/{id}/serve", ofCopy(d, func(ctx context.Context, c *copied, _ struct{}) (any, error) {
		rev, err := d.asServing("")
		if err != nil {
			return nil, err
		}
		a, err := d.startApart(ctx, rev, c.AppURL(), c.Aside())
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		c.apps = append(c.apps, a)
		c.mu.Unlock()
		return served{a.address}, nil
	}))
	mux.HandleFunc("POST "+pathCopies+"/{id}/sessions", ofCopy(d, func(ctx context.Context, c *copied, _ struct{}) (any, error) {
		n, err := c.Sessions(ctx)
		return sessions{n}, err
	}))
	mux.HandleFunc("DELETE "+pathCopies+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, d.discard(context.WithoutCancel(r.Context()), r.PathValue("id")))
	})
}

// ofCopy answers a question about a copy.
func ofCopy[Q any](d *Daemon, f func(context.Context, *copied, Q) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<20)).Decode(&q); err != nil && !errors.Is(err, io.EOF) {
			answer(w, nil, err)
			return
		}
		d.backups.mu.Lock()
		c := d.backups.copies[r.PathValue("id")]
		d.backups.mu.Unlock()
		if c == nil {
			answer(w, nil, errors.New("the copy is gone"))
			return
		}
		v, err := f(r.Context(), c, q)
		answer(w, v, err)
	}
}

// keeper is what keeps the backups, or why there is none.
func (d *Daemon) keeper() (*backup.Keeper, error) {
	if d.backups.keeper == nil {
		return nil, errors.New(d.backups.why)
	}
	return d.backups.keeper, nil
}

// restore answers with a copy, and ends it when the client has gone, or the
// daemon's ctx ends.
func (d *Daemon) restore(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	var p checks.BackupPoint
	k, err := d.keeper()
	if err == nil {
		err = json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&p)
	}
	if err == nil {
		// Only behind the end of the question is it noticed when who asked goes.
		_, err = io.Copy(io.Discard, io.LimitReader(r.Body, 4096))
	}
	if err != nil {
		answer(w, nil, err)
		return
	}
	rctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	c, err := k.Restore(rctx, p)
	var fault *checks.BackupFault
	if errors.As(err, &fault) {
		answer(w, restored{Fault: fault}, nil)
		return
	}
	if err != nil {
		answer(w, nil, err)
		return
	}
	own := &copied{Copy: c, gone: make(chan struct{})}
	d.backups.mu.Lock()
	d.backups.copies[c.ID()] = own
	d.backups.mu.Unlock()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), copyPatience)
		defer cancel()
		if err := d.discard(ctx, c.ID()); err != nil {
			d.opt.Log.Error("backup: remove a copy", "error", err)
		}
	}()
	answer(w, restored{ID: c.ID(), OwnerURL: c.OwnerURL(), AppURL: c.AppURL(), Facts: c.Facts()}, nil)
	if http.NewResponseController(w).Flush() != nil {
		return
	}
	select {
	case <-rctx.Done(): // who asked is gone, kill -9 included
	case <-own.gone:
	case <-d.downAsked:
	}
}

// copyPatience is how long the end of a copy may take.
const copyPatience = 30 * time.Second

// discard ends a copy; one that is not there has been ended.
func (d *Daemon) discard(ctx context.Context, id string) error {
	d.backups.mu.Lock()
	c := d.backups.copies[id]
	delete(d.backups.copies, id)
	d.backups.mu.Unlock()
	if c == nil {
		return nil
	}
	defer close(c.gone)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.apps {
		a.stop()
	}
	c.apps = nil
	return c.Close(ctx)
}

// Copy is a restored copy in the hands of who asked for it.
type Copy struct {
	c      *Client
	is     restored
	cancel context.CancelFunc
	body   interface{ Close() error }
}

// Restore implements checks.Restorer: the daemon restores, and removes the copy
// when it is closed or the caller is gone.
func (c *Client) Restore(ctx context.Context, at time.Time) (checks.DatabaseCopy, error) {
	n, err := c.restore(ctx, checks.BackupPoint{At: at})
	if err != nil {
		return nil, err // and no typed nil
	}
	return n, nil
}

func (c *Client) restore(ctx context.Context, p checks.BackupPoint) (*Copy, error) {
	// ctx bounds the restore; the connection then lasts until Close.
	hold, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	body, err := c.ask(hold, http.MethodPost, pathCopies, p)
	if err != nil {
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	n := &Copy{c: c, cancel: cancel, body: body}
	err = json.NewDecoder(body).Decode(&n.is)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil && n.is.Fault != nil {
		err = n.is.Fault
	} else if err != nil {
		err = fmt.Errorf("daemon of %s: the restore ended: %w", c.paths.Environment, err)
	}
	if err != nil {
		cancel()
		body.Close()
		return nil, err
	}
	return n, nil
}

// OwnerURL implements checks.DatabaseCopy.
func (n *Copy) OwnerURL() string { return n.is.OwnerURL }

// AppURL implements checks.DatabaseCopy.
func (n *Copy) AppURL() string { return n.is.AppURL }

// Facts implements checks.BackupCopy.
func (n *Copy) Facts() checks.RestoreFacts { return n.is.Facts }

// Close implements checks.DatabaseCopy.
func (n *Copy) Close(ctx context.Context) error {
	err := n.c.call(ctx, http.MethodDelete, n.path(), nil, nil)
	n.cancel()
	n.body.Close()
	return err
}

func (n *Copy) path(parts ...string) string {
	p := pathCopies + "/" + url.PathEscape(n.is.ID)
	for _, s := range parts {
		p += "/" + s
	}
	return p
}

// Inspect implements checks.BackupCopy.
func (n *Copy) Inspect(ctx context.Context, m checks.BackupMark) (checks.CopyFacts, error) {
	m.Database = checks.DatabaseDigest{} // may be long, and who compares has it
	var is inspected
	if err := n.c.call(ctx, http.MethodPost, n.path("inspect"), m, &is); err != nil {
		return is.Facts, err
	}
	if is.Fault != nil {
		return is.Facts, is.Fault
	}
	return is.Facts, nil
}

// Amcheck implements checks.BackupCopy.
func (n *Copy) Amcheck(ctx context.Context) (string, error) {
	var a amchecked
	err := n.c.call(ctx, http.MethodPost, n.path("amcheck"), nil, &a)
	return a.Complaint, err
}

// Serve implements checks.BackupCopy.
func (n *Copy) Serve(ctx context.Context) (string, error) {
	var a served
	err := n.c.call(ctx, http.MethodPost, n.path("serve"), nil, &a)
	return a.Address, err
}

// Sessions implements checks.BackupCopy.
func (n *Copy) Sessions(ctx context.Context) (int64, error) {
	var a sessions
	err := n.c.call(ctx, http.MethodPost, n.path("sessions"), nil, &a)
	return a.Sessions, err
}

// BackupFacts implements checks.Backups.
func (c *Client) BackupFacts(ctx context.Context) (f checks.BackupFacts, err error) {
	err = c.call(ctx, http.MethodGet, pathBackup, nil, &f)
	return f, err
}

// MarkBackup implements checks.Backups.
func (c *Client) MarkBackup(ctx context.Context) (checks.BackupMark, error) {
	var m marked
	if err := c.call(ctx, http.MethodPost, pathBackup+"/mark", nil, &m); err != nil {
		return m.Mark, err
	}
	if m.Fault != nil {
		return m.Mark, m.Fault
	}
	return m.Mark, nil
}

// RestoreBackup implements checks.Backups.
func (c *Client) RestoreBackup(ctx context.Context, p checks.BackupPoint) (checks.BackupCopy, error) {
	n, err := c.restore(ctx, p)
	if err != nil {
		return nil, err // and no typed nil
	}
	return n, nil
}

var (
	_ checks.Restorer = (*Client)(nil)
	_ checks.Backups  = (*Client)(nil)
)
