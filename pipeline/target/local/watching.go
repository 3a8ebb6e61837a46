package local

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target/local/balancer"
	"github.com/smartcloudops/gate/pipeline/target/local/certs"
	"github.com/smartcloudops/gate/pipeline/target/local/notify"
	"github.com/smartcloudops/gate/pipeline/target/local/watch"
)

const (
	beatEvery = time.Minute
	diskSpan  = 10 * time.Minute // a shorter growth may be a build
)

// watching is the watch over the environment, and whom it tells.
type watching struct {
	d        *Daemon
	watcher  *watch.Watcher
	notifier *notify.Notifier

	mu     sync.Mutex
	using  *environments.Environment // whose routes are in use
	beat   *notify.Webhook           // nil: none is declared
	disks  []watch.DiskUse
	sized  time.Time // when disks were last looked at
	walked time.Time

	readyOf, readyPath string // release, and its path for readiness

	exercise   *exercise // nil: none is under way
	heard      *exercise // the one before, until heardUntil
	heardUntil time.Time
}

func (p Paths) alerts(parts ...string) string { return p.dir(append([]string{"alerts"}, parts...)...) }

// AlertFile is where alerts go that are declared for this machine alone.
func (p Paths) AlertFile() string { return p.alerts("alerts.jsonl") }

func (d *Daemon) openWatch() (*watching, error) {
	w := &watching{d: d}
	var err error
	w.notifier, err = notify.New(notify.Options{Dir: d.paths.alerts(), Log: d.opt.Log, Now: d.opt.Now})
	if err != nil {
		return nil, err
	}
	w.watcher, err = watch.Open(watch.Options{
		Dir: d.paths.dir("watch"), App: d.opt.App, Environment: d.paths.Environment, Notifier: w.notifier,
		Facts: w.facts, Probe: w.probe, Record: d.opt.Record, Log: d.opt.Log, Now: d.opt.Now,
	})
	return w, err
}

// run watches, tells and beats until ctx ends.
func (w *watching) run(ctx context.Context) error {
	// One that was killed in the middle of an exercise may have left them stopped.
	for _, in := range w.d.sup.Instances() {
		resume(in.PID)
	}
	w.route(w.d.snapshot().Environment)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer w.end("") // before the watch ends, so that nothing stays broken
	wg.Go(func() { _ = w.notifier.Run(ctx) })
	wg.Go(func() { w.heartbeat(ctx) })
	wg.Go(func() { w.serveMetrics(ctx) })
	return w.watcher.Run(ctx)
}

// route makes the routes those that the declaration in force names.
func (w *watching) route(e *environments.Environment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.using == e {
		return
	}
	w.using, w.beat = e, nil
	a := e.Alerts
	if a == nil {
		a = &environments.Alerts{}
	}
	senders := map[string]notify.Sender{}
	if a.Local {
		senders["local"] = notify.File{Name: w.d.paths.AlertFile(), Mail: w.exerciseMail}
	}
	if s := a.SMTP; s != nil {
		m := notify.Mail{Host: s.Host, Port: s.Port, TLS: s.TLS, From: s.From, To: s.To, User: s.User}
		if s.Password != nil {
			m.Password = w.secret("password of the mail server", *s.Password)
		}
		senders["smtp"] = m
	}
	if a.Webhook != nil {
		senders["webhook"] = w.webhook("webhook", a.Webhook)
	}
	if a.Incident != nil {
		h := w.webhook("incident", a.Incident)
		h.Body = notify.Incident
		senders["incident"] = h
	}
	if a.Heartbeat != nil {
		h := w.webhook("heartbeat", a.Heartbeat)
		w.beat = &h
	}
	w.notifier.Use(senders, a.Routes())
}

func (w *watching) secret(what string, ref environments.Secret) func() (string, error) {
	return func() (string, error) {
		v, err := w.d.vault.Value(context.Background(), what, ref)
		if err != nil {
			return "", err
		}
		return v.Reveal(), nil
	}
}

func (w *watching) webhook(what string, h *environments.Webhook) notify.Webhook {
	out := notify.Webhook{Address: func() (string, error) {
		if h.URL != "" {
			return h.URL, nil
		}
		s := w.d.opt.Getenv(h.URLEnv)
		if !environments.WebAddress(s) {
			return "", fmt.Errorf("address of the %s: the environment variable %s holds none that alerts may be sent to; set it where the daemon is started", what, h.URLEnv)
		}
		return s, nil
	}}
	if h.Secret != nil {
		out.Secret = w.secret("secret of the "+what, *h.Secret)
	}
	return out
}

// facts are what the watch asks once a second.
func (w *watching) facts(context.Context) watch.Facts {
	d := w.d
	s := d.snapshot()
	w.route(s.Environment)
	counts := d.entrance().Counts()
	f := watch.Facts{
		Serving: s.Stable.Revision != nil, Release: s.Stable.release(), Requests: counts.Requests, Errors: counts.Errors,
		Restarts: d.sup.Restarts(), Routes: s.Environment.Alerts.Routes(), Disks: w.diskUse(s.Environment),
	}
	d.mu.Lock()
	f.Database = d.problem
	// While instances are replaced, both sides serve.
	f.Ready = len(d.backends(s.Stable)) + len(d.backends(s.Canary)) + len(d.backends(s.Baseline))
	d.mu.Unlock()
	folder, base := "docs/runbooks", ""
	if r := s.Stable.Revision; r != nil {
		f.Want = r.Environment.Instances.Min
		if r.Runbooks != "" {
			folder = r.Runbooks
		}
	}
	if a := s.Environment.Alerts; a != nil {
		base = a.Runbooks
	}
	f.Runbook = func(alert string) string {
		if base != "" {
			return strings.TrimSuffix(base, "/") + "/" + alert + ".md"
		}
		return path.Join(folder, alert+".md")
	}
	if b := d.backupFacts(); b.Kept {
		f.Backup = &watch.Backup{Newest: b.BaseTime, MaxAge: 2 * s.Environment.Backup.Interval(), Problem: b.Problem}
	}
	if d.opt.Notices != nil {
		f.Notices, f.Noticed = d.opt.Notices()
	}
	f.Exercise, f.Disks = w.exercising(f.Disks)
	return f
}

// diskUse is how full the state directory's file system is, and what is declared
// beside it.
func (w *watching) diskUse(e *environments.Environment) []watch.DiskUse {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Sub(w.sized) < 5*time.Second {
		return w.disks
	}
	w.sized = now
	var out []watch.DiskUse
	if used, limit, err := fileSystem(w.d.paths.State); err == nil {
		out = append(out, watch.DiskUse{Path: w.d.paths.State, Used: used, Limit: limit, Span: diskSpan})
	}
	walk := now.Sub(w.walked) >= time.Minute
	if walk {
		w.walked = now
	}
	if e.Alerts == nil {
		w.disks = out
		return out
	}
	for _, d := range e.Alerts.Disks {
		u := watch.DiskUse{Path: d.Path, Limit: uint64(d.Bytes), Span: diskSpan}
		switch {
		case d.Bytes == 0:
			var err error
			if u.Used, u.Limit, err = fileSystem(d.Path); err != nil {
				continue
			}
		case walk:
			u.Used = folderSize(d.Path)
		default:
			i := len(out)
			if i >= len(w.disks) || w.disks[i].Path != d.Path {
				continue
			}
			u.Used = w.disks[i].Used
		}
		out = append(out, u)
	}
	w.disks = out
	return out
}

// fileSystem is what is used of the file system that the folder is on, and what
// there is for who is not root.
func fileSystem(folder string) (used, limit uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return 0, 0, err
	}
	size := uint64(st.Bsize) //nolint:gosec // a block's size
	used = (st.Blocks - st.Bfree) * size
	return used, used + st.Bavail*size, nil
}

func folderSize(folder string) uint64 {
	var n uint64
	_ = filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil //nolint:nilerr // what is gone meanwhile takes no room
		}
		if fi, err := e.Info(); err == nil {
			n += uint64(fi.Size()) //nolint:gosec // of a file
		}
		return nil
	})
	return n
}

// probe asks the public address for readiness and for the one safe request.
func (w *watching) probe(ctx context.Context) watch.Probed {
	d := w.d
	s := d.snapshot()
	t := watch.Target{Address: s.Environment.Listen}
	var file string
	t.Name, file = d.paths.Trust(s.Environment)
	if file != "" {
		var err error
		if t.Roots, err = pool(file); err != nil {
			return watch.Probed{Failure: err.Error()}
		}
	}
	header := func() http.Header {
		return http.Header{"User-Agent": {"gate-watch"}, balancer.HeaderArm: {balancer.ArmWatch}, balancer.HeaderSynthetic: {d.synthetic}}
	}
	if s.Stable.Revision == nil {
		return watch.Probed{Failure: "nothing serves"}
	}
	ready, err := w.ready(s.Stable.release())
	if err != nil {
		return watch.Probed{Failure: err.Error()}
	}
	t.Requests = []watch.Request{{Path: ready, Header: header(), Status: http.StatusOK}}
	if p := s.Stable.Revision.Probe; p != nil {
		h := header()
		for k, v := range p.Headers {
			if !strings.Contains(v, "${") {
				h.Set(k, v)
			}
		}
		t.Requests = append(t.Requests, watch.Request{Path: p.Path, Header: h, Status: p.Expect.Status, Body: p.Expect.Body})
	}
	return watch.Ask(ctx, t)
}

// ready is the release's path for readiness.
func (w *watching) ready(release string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.readyOf != release {
		rt, err := w.d.opt.Store.Runtime(release)
		if err != nil {
			return "", err
		}
		w.readyOf, w.readyPath = release, rt.Serve.Ready
	}
	return w.readyPath, nil
}

func pool(file string) (*x509.CertPool, error) { return certs.LoadPool(filepath.Dir(file)) }

// heartbeat is the dead man's switch: it is sent only while the watch looks.
func (w *watching) heartbeat(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last time.Time
	for {
		w.mu.Lock()
		beat, every := w.beat, beatEvery
		if x := w.exercise; x != nil {
			every = time.Second
			if x.Beat != "" && beat == nil {
				address := x.Beat
				beat = &notify.Webhook{Address: func() (string, error) { return address, nil }}
			}
		}
		w.mu.Unlock()
		switch {
		case beat == nil:
			w.watcher.NoBeat()
		case w.watcher.Alive() && time.Since(last) >= every-50*time.Millisecond:
			last = time.Now()
			_, err := beat.Beat(ctx, map[string]any{"app": w.d.opt.App, "environment": w.d.paths.Environment, "at": w.d.opt.Now().UTC(), "every_seconds": beatEvery.Seconds()})
			if ctx.Err() != nil {
				return
			}
			w.watcher.Beat(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// serveMetrics answers Prometheus where that is declared. A predecessor may hold
// the address for a moment longer.
func (w *watching) serveMetrics(ctx context.Context) {
	m := w.d.snapshot().Environment.Metrics
	if m == nil {
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+pathMetrics, w.watcher.Metrics())
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	said := false
	for ctx.Err() == nil {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", m.Listen)
		if err == nil {
			err = srv.Serve(l)
		}
		if errors.Is(err, http.ErrServerClosed) {
			return
		}
		if !said && ctx.Err() == nil {
			said = true
			w.d.opt.Log.Warn("metrics can't be served yet", "address", m.Listen, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// Watch implements checks.Alarmer.
func (d *Daemon) Watch(context.Context) (checks.Watch, error) {
	s := d.watching.watcher.State()
	s.RampLimit = d.watching.rampLimit()
	return s, nil
}

// Hours implements checks.Timekeeper.
func (d *Daemon) Hours(context.Context) ([]checks.UptimeHour, error) {
	return d.watching.watcher.Hours(), nil
}
