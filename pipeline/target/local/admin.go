package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/target"
)

// Paths of the admin API. It has no authentication of its own: the socket's
// folder is open to its owner alone.
const (
	pathStatus  = "/v1/status"
	pathPoke    = "/v1/poke"
	pathReplace = "/v1/replace"
	pathDown    = "/v1/down"
	pathHand    = "/v1/handover"
	pathGauges  = "/v1/gauges"

	pathCheckpoint = "/v1/checkpoint"
	pathSecrets    = "/v1/secrets"
	pathWatch      = "/v1/watch"
	pathHours      = "/v1/hours"
	pathDrill      = "/v1/exercise"
	pathMetrics    = "/metrics"
)

// replaced is the answer to a replacement, also to one that failed half-way.
type replaced struct {
	Replaced int    `json:"replaced"`
	Error    string `json:"error,omitempty"`
}

// report is what the daemon says of itself.
type report struct {
	target.Status
	Version string `json:"version"`
	PID     int    `json:"pid"`
	// DatabasePID is 0 where the database is not gate's own.
	DatabasePID int  `json:"database_pid,omitempty"`
	Managed     bool `json:"managed,omitempty"` // by a service manager, which starts it again
}

func (d *Daemon) report(ctx context.Context) (report, error) {
	s, err := d.Status(ctx)
	err = errors.Join(err, letLook())
	r := report{Status: s, Version: d.opt.Version, PID: os.Getpid(), Managed: d.opt.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid())}
	if db := d.database(); !db.External() {
		r.DatabasePID = db.PID()
	}
	return r, err
}

// ServeAdmin answers commands on the socket until ctx ends. Poke is called when
// somebody wants requests to be looked for at once.
func (d *Daemon) ServeAdmin(ctx context.Context, poke func()) error {
	if err := ensureRuntimeDir(); err != nil {
		return err
	}
	socket := d.paths.Socket()
	// The lock on the environment is held, so what is there is left over, or a
	// predecessor's that has handed over.
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("admin socket: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(socket, 0o600); err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, func(w http.ResponseWriter, r *http.Request) {
		s, err := d.report(r.Context())
		answer(w, s, err)
	})
	mux.HandleFunc("POST "+pathPoke, func(w http.ResponseWriter, _ *http.Request) {
		poke()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST "+pathReplace, func(w http.ResponseWriter, r *http.Request) {
		var ask struct {
			Release string `json:"release"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&ask); err != nil {
			answer(w, nil, err)
			return
		}
		// A client that goes away must not leave the environment half replaced.
		n, err := d.Replace(context.WithoutCancel(r.Context()), ask.Release)
		a := replaced{Replaced: n}
		if err != nil {
			a.Error = err.Error()
		}
		answer(w, a, nil)
	})
	mux.HandleFunc("GET "+pathGauges, func(w http.ResponseWriter, r *http.Request) {
		g, err := d.Gauges(r.Context())
		answer(w, g, err)
	})
	mux.HandleFunc("POST "+pathCheckpoint, func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, d.Checkpoint(r.Context()))
	})
	mux.HandleFunc("POST "+pathDown, func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, d.Down(context.WithoutCancel(r.Context())))
	})
	mux.HandleFunc("POST "+pathHand, d.handover)
	d.serveDrills(mux)
	d.backupRoutes(ctx, mux)
	d.rehearsalRoutes(ctx, mux)
	mux.HandleFunc("GET "+pathSecrets, func(w http.ResponseWriter, r *http.Request) {
		held, err := d.heldSecrets(r.Context())
		answer(w, held, err)
	})
	mux.HandleFunc("GET "+pathWatch, func(w http.ResponseWriter, r *http.Request) {
		s, err := d.Watch(r.Context())
		answer(w, s, err)
	})
	mux.HandleFunc("GET "+pathHours, func(w http.ResponseWriter, r *http.Request) {
		h, err := d.Hours(r.Context())
		answer(w, h, err)
	})
	mux.HandleFunc("POST "+pathDrill, func(w http.ResponseWriter, r *http.Request) {
		var e checks.Exercise
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&e)
		if err == nil {
			err = d.Alarm(r.Context(), e)
		}
		answer(w, struct{}{}, err)
	})
	mux.HandleFunc("DELETE "+pathDrill, func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, d.Relieve(r.Context()))
	})
	d.armsRoute(mux)
	mux.Handle("GET "+pathMetrics, d.watching.watcher.Metrics())
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) }}
	answered := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(answered)
		c, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if srv.Shutdown(c) != nil {
			srv.Close()
		}
	})
	defer func() {
		// Serve returns at once, but whoever asked for the end is still to be told.
		if !stop() {
			<-answered
		}
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin socket: %w", err)
	}
	return nil
}

func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		v = map[string]string{"error": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v)
}

// ErrNoDaemon: nothing answers on the environment's socket.
var ErrNoDaemon = errors.New("no daemon answers")

// Client speaks to the daemon of an environment.
type Client struct {
	paths Paths
	http  *http.Client
}

// NewClient is a client for the environment's daemon, running or not.
func NewClient(p Paths) *Client {
	return &Client{paths: p, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "unix", p.Socket())
		},
		DisableKeepAlives: true,
	}}}
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	body, err := c.ask(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(body).Decode(out); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("daemon of %s: unreadable answer: %w", c.paths.Environment, err)
	}
	return nil
}

// ask is call with the answer still to be read, and closed.
func (c *Client) ask(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		r, w := io.Pipe()
		go func() { w.CloseWithError(json.NewEncoder(w).Encode(in)) }()
		body = r
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://daemon"+path, body)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w for %s: start it with gate serve %s", ErrNoDaemon, c.paths.Environment, c.paths.Environment)
	}
	if res.StatusCode < 300 {
		return res.Body, nil
	}
	defer res.Body.Close()
	var e struct {
		Error string `json:"error"`
	}
	if json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&e) != nil || e.Error == "" {
		e.Error = res.Status
	}
	return nil, fmt.Errorf("daemon of %s: %s", c.paths.Environment, e.Error)
}

// Status is what the environment runs; ErrNoDaemon when nobody answers.
func (c *Client) Status(ctx context.Context) (target.Status, error) {
	r, err := c.report(ctx)
	return r.Status, err
}

func (c *Client) report(ctx context.Context) (report, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var r report
	err := c.call(ctx, http.MethodGet, pathStatus, nil, &r)
	return r, err
}

// Poke asks the daemon to look for requests at once; it would look anyway.
func (c *Client) Poke(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = c.call(ctx, http.MethodPost, pathPoke, nil, nil)
}

// Replace implements checks.Replacer.
func (c *Client) Replace(ctx context.Context, release string) (int, error) {
	var a replaced
	if err := c.call(ctx, http.MethodPost, pathReplace, map[string]string{"release": release}, &a); err != nil {
		return 0, err
	}
	if a.Error != "" {
		return a.Replaced, errors.New(a.Error)
	}
	return a.Replaced, nil
}

// Restarts implements checks.Observer.
func (c *Client) Restarts(ctx context.Context) (int, error) {
	s, err := c.Status(ctx)
	return s.Restarts, err
}

// Watch implements checks.Alarmer.
func (c *Client) Watch(ctx context.Context) (w checks.Watch, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = c.call(ctx, http.MethodGet, pathWatch, nil, &w)
	return w, err
}

// Alarm implements checks.Alarmer.
func (c *Client) Alarm(ctx context.Context, e checks.Exercise) error {
	return c.call(ctx, http.MethodPost, pathDrill, e, nil)
}

// Relieve implements checks.Alarmer.
func (c *Client) Relieve(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, pathDrill, nil, nil)
}

// Hours implements checks.Timekeeper.
func (c *Client) Hours(ctx context.Context) (h []checks.UptimeHour, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = c.call(ctx, http.MethodGet, pathHours, nil, &h)
	return h, err
}

// Down stops the environment and its daemon, and returns once no process of it
// is left; data and ledger stay.
func (c *Client) Down(ctx context.Context) error {
	pid, err := c.PID(ctx)
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("watch the daemon of %s, process %d: %w", c.paths.Environment, pid, err)
	}
	defer unix.Close(fd)
	if err := c.call(ctx, http.MethodPost, pathDown, nil, nil); err != nil {
		return err
	}
	for deadline := time.Now().Add(endPatience); time.Now().Before(deadline); {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
		switch {
		case n > 0:
			return awaitLingering(ctx, c.paths)
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for the daemon of %s, process %d: %w", c.paths.Environment, pid, err)
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s is down, but its daemon, process %d, has not ended after %s: see %s", c.paths.Environment, pid, endPatience, c.paths.DaemonLog())
}

// endPatience is how long a daemon may take to end after its environment is
// down: clients with requests in flight get some time.
const endPatience = 30 * time.Second

// Trust is how to verify the environment's certificate; roots are nil for the
// system's.
func (p Paths) Trust(e *environments.Environment) (name, file string) {
	name = e.TLS.Names[0]
	if e.TLS.Trust == "private" {
		file = p.CA()
	}
	return name, file
}

// Version is the running daemon's program; ErrNoDaemon when nobody answers.
func (c *Client) Version(ctx context.Context) (string, error) {
	r, err := c.report(ctx)
	return r.Version, err
}

// PID is the running daemon's process; ErrNoDaemon when nobody answers.
func (c *Client) PID(ctx context.Context) (int, error) {
	r, err := c.report(ctx)
	return r.PID, err
}
