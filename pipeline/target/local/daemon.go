package local

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/release"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/pipeline/target/local/balancer"
	"github.com/smartcloudops/gate/pipeline/target/local/certs"
	"github.com/smartcloudops/gate/pipeline/target/local/cluster"
	"github.com/smartcloudops/gate/pipeline/target/local/durable"
	"github.com/smartcloudops/gate/pipeline/target/local/secrets"
	"github.com/smartcloudops/gate/pipeline/target/local/supervisor"
	"github.com/smartcloudops/gate/pipeline/target/local/watch"
)

// Errors that callers tell apart.
var (
	// ErrForeign: the address belongs to an environment of another ledger.
	ErrForeign = errors.New("another ledger's environment")
	// ErrRunning: a daemon of this environment runs already.
	ErrRunning = errors.New("a daemon runs already")
	// ErrAddress: the address can't be listened on.
	ErrAddress = errors.New("address can't be used")
)

// Options of a daemon. All but Listener, Record and Operations are required.
type Options struct {
	Paths    Paths
	App      string
	Ledger   string                    // id: the environment belongs to it
	Declared *environments.Environment // used until a release has brought its own
	Store    *release.Store
	Cache    string // for a downloaded PostgreSQL
	Getenv   func(string) string
	Listener net.Listener // handed over by the daemon before; nil: listen
	// Predecessor is the key of that daemon, which TakeOver has returned, too.
	Predecessor string
	// Hold has a holder keep the listening socket while no daemon is there. The
	// program must call Hold when its first argument is HoldVerb.
	Hold    bool
	Reserve *durable.Reserve // for what must be written on a full disk; nil: there is none
	Version string           // of the program that runs
	Log     *slog.Logger
	Now     func() time.Time
	// AWS makes the source of a secret in AWS Secrets Manager; nil: there is none.
	AWS func(environments.AWSSecret) secrets.Source
	// Record makes full hours of uptime part of the record; nil: they stay here.
	Record func(ctx context.Context, hours []checks.UptimeHour) error
	// Operations makes what the daemon did by itself part of the record, with the
	// number of those that are left out; nil: nobody wants to know.
	Operations func(ctx context.Context, all []target.Operation, left int) error
	// Notices are alerts that hold by what is known outside of the daemon, and
	// whether that is known now; nil: there are none.
	Notices func() ([]watch.Notice, bool)
}

// Daemon runs one environment. It is a target.Target.
type Daemon struct {
	opt        Options
	paths      Paths
	credential *syscall.Credential
	synthetic  string // key of synthetic requests
	written    logCounts
	started    time.Time
	lock       *os.File
	backups    backups
	size       databaseSize
	schema     schemaSeen
	vault      *secrets.Vault
	secretKey  []byte        // of fingerprints
	reread     chan struct{} // the secrets are to be read at once
	sup        *supervisor.Supervisor

	op sync.Mutex // held by the one operation that changes what serves

	mu      sync.Mutex // guards what follows
	st      state
	ready   map[string]supervisor.Instance
	leaving map[string]bool // instances that are being stopped
	front   *balancer.Balancer
	lis     net.Listener
	inForce *environments.Environment // whose address and certificate front has
	db      *cluster.Cluster
	problem string
	// troubles are what goes wrong beside, by what it is about; empty: nothing.
	troubles map[string]string
	unsaved  bool              // the file does not say what the state is
	health   map[string]string // revision → path of its readiness
	began    *comparison       // nil: no canary was begun by this process
	renew    func(now time.Time) (bool, error)
	orders   *certs.Ordered // nil: the certificate in force is not ordered

	pairs atomic.Pointer[func(*tls.ClientHelloInfo) (*tls.Certificate, error)]

	grip   *grip // nil: nothing is held
	downed bool  // set before downAsked is closed: the environment ends, too

	probeOnce sync.Once
	probes    *http.Client
	access    *accessLog
	scaler    *autoscaler
	watching  *watching
	did       *operations
	handed    bool // the listener was given to a successor
	// successorKey is what the successor knows this one by.
	successorKey string
	told         chan struct{} // closed once it is known which instances are ready
	toldOnce     sync.Once
	failed       chan error // what Run must not survive
	wg           sync.WaitGroup
	downOnce     sync.Once
	downAsked    chan struct{}
}

// Open starts what the environment needs, and takes over what still runs.
func Open(ctx context.Context, o Options) (_ *Daemon, err error) {
	d := &Daemon{
		opt: o, paths: o.Paths, synthetic: rand.Text() + rand.Text(), started: o.Now().UTC(),
		ready: map[string]supervisor.Instance{}, leaving: map[string]bool{}, downAsked: make(chan struct{}),
		told: make(chan struct{}), failed: make(chan error, 16), reread: make(chan struct{}, 1), troubles: map[string]string{}, health: map[string]string{},
		vault: secrets.NewVault(secrets.Makers{Getenv: o.Getenv, AWS: o.AWS}, o.Now),
	}
	if d.credential, err = unprivileged(); err != nil {
		return nil, err
	}
	for _, dir := range []string{o.Paths.State, o.Paths.dir(), o.Paths.Releases()} {
		// Users without rights run the app and PostgreSQL: they may pass through,
		// not look around.
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("folder of environment %s: %w; make it writable or set GATE_STATE", o.Paths.Environment, err)
		}
	}
	if d.lock, err = lockDaemon(o.Paths.lockFile()); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.close()
			if d.access != nil {
				d.access.Close()
			}
		}
	}()
	if d.st, err = readState(o.Paths.stateFile()); err != nil {
		return nil, err
	}
	if d.secretKey, err = readSecretKey(o.Paths.dir("secrets.key")); err != nil {
		return nil, err
	}
	if d.st.undo() {
		if err := d.save(); err != nil {
			return nil, err
		}
	}
	if d.st.Environment == nil || d.st.Stable.Revision == nil {
		d.st.Environment = o.Declared
	}
	if d.st.Environment == nil {
		return nil, fmt.Errorf("environment %s has never run here and is not declared in this folder: run gate in a clone that declares it", o.Paths.Environment)
	}
	if err := d.certify(d.st.Environment); err != nil {
		return nil, err
	}
	d.inForce = d.st.Environment
	if o.Hold {
		d.grip = &grip{folder: o.Paths.dir(), log: o.Log}
	}
	d.lis = o.Listener
	if d.lis != nil {
		err = d.own(d.st.Environment)
	} else {
		d.lis, err = d.relisten(ctx, d.st.Environment)
	}
	if err != nil {
		return nil, err
	}
	if d.grip != nil {
		d.grip.use(d.st.Environment.Listen, d.lis)
	}
	if err := d.openDatabase(ctx, d.st.Environment); err != nil {
		return nil, err
	}
	if err := d.openBackups(ctx, d.st.Environment); err != nil {
		return nil, err
	}
	if d.access, err = openAccessLog(o.Paths); err != nil {
		return nil, err
	}
	if d.front, err = d.newFront(d.lis); err != nil {
		return nil, err
	}
	d.scaler, d.did = newAutoscaler(d), newOperations(d)
	d.sup, err = supervisor.New(supervisor.Options{
		StateFile: o.Paths.instances(), LogDir: o.Paths.Logs(), SpecFor: d.specFor, Log: o.Log, Now: o.Now,
		OnChange: d.follow, StandsIn: d.standsIn, Reserve: o.Reserve,
		OnExit: func(in supervisor.Instance) {
			o.Log.Warn("instance ended unasked", "instance", in.ID, "exit", in.LastExit, "restarts", in.Restarts)
		},
	})
	if err != nil {
		return nil, err
	}
	if d.watching, err = d.openWatch(); err != nil {
		return nil, err
	}
	return d, nil
}

// Served says whether the environment has ever been commanded from this state
// directory, by the highest fencing token that it has seen; 0: never.
func Served(p Paths) (token int64, err error) {
	s, err := readState(p.stateFile())
	return s.Token, err
}

func lockDaemon(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the environment: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		var pid [16]byte
		n, _ := f.ReadAt(pid[:], 0)
		f.Close()
		return nil, fmt.Errorf("%w: process %s", ErrRunning, strings.TrimSpace(string(pid[:n])))
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock the environment: %w", err)
		}
	}
	return f, nil
}

func (d *Daemon) openDatabase(ctx context.Context, e *environments.Environment) error {
	o := cluster.Options{
		Dir: d.paths.dir("postgres"), Name: databaseName(d.opt.App, e.Name), Cache: d.opt.Cache,
		BinDir: d.opt.Getenv("GATE_POSTGRES_BIN"), Path: d.opt.Getenv("PATH"), Log: logWriter{d.opt.Log},
	}
	if e.Database.URLEnv != "" {
		o.URL = d.opt.Getenv(e.Database.URLEnv)
	}
	c, err := cluster.Open(ctx, o)
	if err != nil {
		return fmt.Errorf("database of %s: %w", e.Name, err)
	}
	d.mu.Lock()
	d.db = c
	d.mu.Unlock()
	return nil
}

// databaseName is for PostgreSQL, which takes underscores without quotes.
func databaseName(app, environment string) string {
	s := strings.NewReplacer("-", "_").Replace(app + "_" + environment)
	return s[:min(len(s), 50)]
}

// entrance is the load balancer; another one after the address has changed.
func (d *Daemon) entrance() *balancer.Balancer {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.front
}

func (d *Daemon) database() *cluster.Cluster {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.db
}

// certify makes the certificate for the environment the one that is presented.
func (d *Daemon) certify(e *environments.Environment) error {
	var get func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	var renew func(time.Time) (bool, error)
	var orders *certs.Ordered
	switch {
	case e.TLS.Trust == "private":
		a, err := certs.Ensure(d.paths.dir("certs"), e.TLS.Names, d.opt.Now())
		if err != nil {
			return err
		}
		get, renew = a.GetCertificate, a.Refresh
	case e.TLS.ACME != nil:
		o, err := d.ordered(e)
		if err != nil {
			return err
		}
		get, renew, orders = o.GetCertificate, o.Refresh, o
	default:
		s, err := certs.Given(e.TLS.Cert, e.TLS.Key)
		if err != nil {
			return err
		}
		get, renew = s.GetCertificate, s.Refresh
	}
	d.mu.Lock()
	d.renew, d.orders = renew, orders
	d.mu.Unlock()
	d.pairs.Store(&get)
	return nil
}

func (d *Daemon) newFront(l net.Listener) (*balancer.Balancer, error) {
	return balancer.New(balancer.Options{
		Listener: l,
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return (*d.pairs.Load())(h)
		},
		Protocols: []string{certs.ALPN}, SyntheticKey: d.synthetic, Predecessor: d.opt.Predecessor, Log: d.opt.Log, Now: d.opt.Now, Access: d.access.write,
	})
}

// Run serves until ctx ends, or a successor or Down asked for it to end; with it
// run beside, which end first. Instances and PostgreSQL live on, unless Down has
// stopped them.
func (d *Daemon) Run(ctx context.Context, beside ...func(context.Context) error) error {
	asked := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	own := func(wg *sync.WaitGroup, ctx context.Context, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				d.fail(err)
			}
		})
	}
	if d.grip != nil {
		own(&d.wg, ctx, d.grip.run)
	}
	own(&d.wg, ctx, d.sup.Run)
	// Who connects before it is known whom to ask would be turned away.
	select {
	case <-d.told:
		d.serve(d.front)
	case <-ctx.Done():
	case err := <-d.failed:
		d.fail(err)
	}
	own(&d.wg, ctx, d.upkeep)
	own(&d.wg, ctx, d.scaler.run)
	own(&d.wg, ctx, d.keepBackups)
	own(&d.wg, ctx, d.rotate)
	own(&d.wg, ctx, d.order)
	first, stop := context.WithCancel(ctx)
	var guests sync.WaitGroup
	own(&guests, first, d.watching.run)
	own(&guests, first, d.did.run)
	for _, f := range beside {
		own(&guests, first, f)
	}
	var err error
	select {
	case <-ctx.Done():
	case <-d.downAsked:
	case err = <-d.failed:
	}
	stop()
	guests.Wait()
	cancel()
	if d.handed {
		lock := d.lingerLock()
		defer lock.Close()
	}
	d.close()
	if d.handed {
		// The successor has all it needs.
		d.lingers(asked)
	}
	d.access.Close()
	d.wg.Wait()
	return err
}

func (d *Daemon) serve(b *balancer.Balancer) {
	d.wg.Go(func() {
		if err := b.Serve(); err != nil {
			d.fail(err)
		}
	})
}

// fail ends Run. The first reason counts.
func (d *Daemon) fail(err error) {
	select {
	case d.failed <- err:
	default:
	}
}

// upkeep keeps alive what has no supervisor of its own.
func (d *Daemon) upkeep(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		problem := ""
		address := d.database().AppURL()
		if err := d.database().EnsureRunning(ctx); err != nil && ctx.Err() == nil {
			problem = err.Error()
			d.opt.Log.Error("database", "error", err)
		}
		d.mu.Lock()
		d.problem = problem
		d.mu.Unlock()
		if d.database().AppURL() != address {
			d.reconnect()
		}
		if n%3 == 0 {
			d.fill(ctx)
		}
		d.resave()
		if n%30 == 29 {
			d.refill()
		}
		if n%3600 == 0 {
			d.mu.Lock()
			renew := d.renew
			d.mu.Unlock()
			if _, err := renew(d.opt.Now()); err != nil {
				d.opt.Log.Error("certificate", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// reconnect ends the instances, which come back knowing the database's new
// address: its old one was taken while it was down, so they have no database.
func (d *Daemon) reconnect() {
	for _, in := range d.sup.Instances() {
		if in.PID > 0 {
			d.opt.Log.Warn("the database has moved to another port: instance is started anew", "instance", in.ID)
			_ = syscall.Kill(in.PID, syscall.SIGTERM)
		}
	}
}

// close lets go of everything. What serves goes on serving but for the
// balancer, which is this process.
func (d *Daemon) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if d.grip != nil {
		d.grip.leave(d.downed)
	}
	if !d.handed {
		d.closeFront(ctx)
	}
	if d.sup != nil {
		d.sup.Detach()
	}
	d.closeBackups()
	if d.db != nil {
		d.db.Close()
	}
	if d.lock != nil {
		d.lock.Close()
	}
}

func (d *Daemon) closeFront(ctx context.Context) {
	switch {
	case d.front != nil:
		if err := d.front.Shutdown(ctx); err != nil {
			d.opt.Log.Warn("load balancer", "error", err)
		}
	case d.lis != nil:
		d.lis.Close()
	}
}

// Down stops instances and, if it is the environment's own, PostgreSQL, and
// ends Run. Data stays.
func (d *Daemon) Down(ctx context.Context) error {
	d.watching.end("")
	d.op.Lock()
	defer d.op.Unlock()
	d.mu.Lock()
	d.st.Stable.Instances, d.st.Canary, d.st.Baseline, d.st.Warm, d.st.Weight = nil, arm{}, arm{}, arm{}, 0
	d.st.Stable.Revision, d.st.Replacing = nil, false
	err := d.save()
	d.mu.Unlock()
	err = errors.Join(err, d.entrance().Swap(balancer.Set{}), d.sup.StopAll(ctx), d.dropBackups(ctx), d.database().Stop(ctx), os.RemoveAll(d.paths.dir("secrets")))
	d.downOnce.Do(func() {
		d.downed = true
		close(d.downAsked)
	})
	return err
}

// save writes the state, on a full disk by the reserve: what goes forward has been
// refused before it came here. The caller holds d.mu.
func (d *Daemon) save() error {
	err := d.opt.Reserve.Do(func() error { return d.st.write(d.paths.stateFile()) })
	d.unsaved = err != nil
	return err
}

// resave writes what could not be written before, as on a disk that was full.
func (d *Daemon) resave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unsaved && d.save() == nil {
		d.opt.Log.Info("the state could be written again")
	}
}

// refill makes the reserve whole again once there is space.
func (d *Daemon) refill() {
	if err := d.opt.Reserve.Fill(); err != nil {
		d.opt.Log.Debug("reserve", "error", err)
	}
}

func (d *Daemon) revision(id string) *target.Revision {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.st.arms() {
		if a.id() == id {
			return a.Revision
		}
	}
	return nil
}

type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(b []byte) (int, error) {
	w.log.Info(strings.TrimSpace(string(b)), "from", "database")
	return len(b), nil
}
