package balancer

import (
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httputil"
	"regexp"
	"sync/atomic"
	"time"
)

// statusGone is what the access record says when the client went away first.
const statusGone = 499

var (
	errNoBackend   = errors.New("no instance gets traffic")
	errClient      = errors.New("the client broke off its request")
	errClientStall = errors.New("the client sent nothing for too long")
)

// exchange is one request on its way through the balancer. It is the
// RoundTripper behind a ReverseProxy of its own: which instance to ask, and
// whether to ask another one, is decided here.
type exchange struct {
	b     *Balancer
	start time.Time
	in    *http.Request
	body  *patientBody // nil without a body

	choice
	dealt int // arm that it was meant for; kind is the one that it is at

	pending   pending  // among its arm's open requests, until it is charged
	backend   *backend // counted in there until the exchange ends
	arm       *arm     // whose figures it goes into
	ring      *ring    // where it is observed; nil: it is not
	armStart  time.Time
	attempts  int
	tried     []*backend
	retried   bool // an instance broke off, and a second one was asked
	status    int
	failed    bool      // the instance's or the balancer's fault, not the client's
	refused   bool      // an instance answered 4xx
	want      *expected // what gate's own request should be answered; nil: anything
	headDone  time.Time // zero until the answer's head is there
	unbounded bool      // the answer ends when somebody hangs up
	complete  bool      // an answer was passed on to its end
	broken    atomic.Bool
	run       string
	bytes     atomic.Int64
}

// runs is what a measurement may call its requests: anything else could be put
// into the log by whoever likes to.
var runs = regexp.MustCompile(`^[0-9a-f]{16}\.[0-9]{1,15}$`)

// handle serves one request.
func (b *Balancer) handle(w http.ResponseWriter, r *http.Request) {
	x := &exchange{b: b, start: b.opt.Now(), in: r}
	x.armStart = x.start
	if run := r.Header.Get(HeaderRun); runs.MatchString(run) {
		x.run = run
	}
	b.counts.inFlight.Add(1)
	// Deferred, because a ReverseProxy aborts a half-sent answer by a panic that
	// the server takes for "close this connection".
	defer x.end()
	if r.Method == http.MethodConnect {
		x.plain(w, http.StatusMethodNotAllowed, "this is not a forward proxy")
		return
	}
	if keyed(r, headerBefore, b.before) {
		if client := r.Header.Get(headerClient); client != "" {
			r.RemoteAddr = client
		}
	}
	var ok bool
	if x.choice, ok = b.choose(r); !ok {
		x.plain(w, http.StatusBadRequest, HeaderArm+" must be stable, canary or baseline")
		return
	}
	x.dealt = x.kind
	if x.synthetic {
		x.want = expectedOf(r)
	}
	pw := newPatientWriter(w, r, b.opt.Stall)
	defer func() { pw.close(x.body) }()
	if r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody {
		x.body = &patientBody{ReadCloser: r.Body, rc: pw.rc, stall: b.opt.Stall, h2: pw.h2}
		r = r.WithContext(r.Context())
		r.Body = x.body
	}
	proxy := httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      x,
		ModifyResponse: x.head,
		ErrorHandler:   x.fail,
		BufferPool:     buffers,
		ErrorLog:       b.server.ErrorLog,
	}
	proxy.ServeHTTP(pw, r)
	x.complete = true
}

// RoundTrip asks an instance. A connection that could not be opened has carried
// nothing, so another instance is asked whatever the method. Once something may
// have been sent, only what is safe to repeat and has no body is asked once
// more. An arm that has no instance left to ask is charged with the error, and
// the other arm helps out: a broken canary shows in its figures, not to users.
func (x *exchange) RoundTrip(out *http.Request) (*http.Response, error) {
	var last error
	for {
		be := x.next()
		if be == nil {
			if last == nil {
				last = errNoBackend
			}
			return nil, last
		}
		res, err := be.transport.RoundTrip(x.request(out, be))
		if err == nil {
			be.answers()
			return res, nil
		}
		last = err
		if x.in.Context().Err() != nil {
			return nil, err
		}
		var dial *dialError
		if errors.As(err, &dial) {
			be.spare(x.now())
			x.b.opt.Log.Debug("an instance refused a connection", "instance", be.ID, "error", err)
			continue
		}
		if x.retried || !repeatable(out) || timedOut(err) {
			return nil, err
		}
		x.retried = true
		x.b.opt.Log.Debug("an instance broke off; asking another one", "instance", be.ID, "method", out.Method, "error", err)
	}
}

// next counts the request in at the instance that is to be asked, and out at
// the one that was asked before. Nil: nobody is left to ask. The instance
// asked last then stays the one that the request is charged to.
func (x *exchange) next() *backend {
	for {
		st := x.b.current.Load()
		kind := x.kind
		var be *backend
		for _, kind = range helps[x.kind] {
			if be = st.arms[kind].pick(x.now(), x.tried); be != nil || x.synthetic {
				break
			}
		}
		if be == nil {
			return nil
		}
		if !be.acquire() {
			continue
		}
		if x.backend != nil {
			x.backend.release()
			if kind != x.kind {
				x.charge(x.b.opt.Now(), true)
				x.armStart = x.b.opt.Now()
			}
		}
		x.kind, x.backend, x.arm, x.ring = kind, be, st.arms[kind], st.ring
		if !x.watch && !x.health {
			x.arm.figures.open.enter(&x.pending, x.armStart)
		}
		x.tried = append(x.tried, be)
		x.attempts++
		return be
	}
}

func (x *exchange) now() int64 { return int64(x.b.opt.Now().Sub(x.b.started)) }

// request is out, addressed to be. A second attempt gets a copy: the Transport
// may still look at the request of the first.
func (x *exchange) request(out *http.Request, be *backend) *http.Request {
	if x.attempts > 1 {
		out = out.WithContext(out.Context())
		u := *out.URL
		out.URL = &u
	}
	out.URL.Scheme, out.URL.Host = "http", be.Address
	if be.key != "" {
		out.Header.Set(headerBefore, be.key)
		out.Header.Set(headerClient, x.in.RemoteAddr)
		if x.run != "" {
			out.Header.Set(HeaderRun, x.run)
		}
	}
	if x.attempts == 1 && out.Body != nil && out.Body != http.NoBody {
		out.Body = unclosed{out.Body}
	}
	return out
}

// unclosed keeps the body readable for another attempt after a Transport has
// closed it for want of a connection. The server closes the real one.
type unclosed struct{ io.Reader }

func (unclosed) Close() error { return nil }

func repeatable(r *http.Request) bool {
	if r.Body != nil && r.Body != http.NoBody || r.Header.Get("Upgrade") != "" {
		return false
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
}

func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// head is called with the head of an answer.
func (x *exchange) head(res *http.Response) error {
	x.headDone = x.b.opt.Now()
	x.status = res.StatusCode
	x.failed = res.StatusCode >= 500
	x.refused = res.StatusCode >= 400 && res.StatusCode < 500
	x.name(res.Header)
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.unbounded = true
		x.pending.leave() // it may stay for as long as it likes
		return nil
	}
	if x.b.life.leaving.Load() {
		res.Header.Set("Connection", "close")
	}
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind == "text/event-stream" {
		x.unbounded = true
		x.pending.leave()
	}
	if res.Body != nil && res.Body != http.NoBody {
		res.Body = &answer{ReadCloser: res.Body, broken: &x.broken, bytes: &x.bytes, want: x.want}
	}
	return nil
}

// name says who answered.
func (x *exchange) name(h http.Header) {
	if x.backend != nil && x.backend.key != "" {
		return // the successor has said it
	}
	delete(h, HeaderRelease)
	delete(h, HeaderInstance)
	if x.backend != nil {
		h.Set(HeaderRelease, x.backend.Release)
		h.Set(HeaderInstance, x.backend.ID)
	}
}

// answer notes when an instance breaks off in the middle of its answer.
type answer struct {
	io.ReadCloser
	broken *atomic.Bool
	bytes  *atomic.Int64
	want   *expected
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	a.bytes.Add(int64(n))
	a.want.read(p[:n])
	if err != nil && err != io.EOF {
		a.broken.Store(true)
	}
	return n, err
}

// fail answers for an instance that did not.
func (x *exchange) fail(w http.ResponseWriter, _ *http.Request, err error) {
	if x.body != nil && x.body.failure() != nil {
		err = x.body.failure()
	}
	switch {
	case errors.Is(err, errClientStall):
		x.plain(w, http.StatusRequestTimeout, "nothing came for too long")
	case errors.Is(err, errClient), x.in.Context().Err() != nil:
		x.status, x.failed = statusGone, false
		// Nobody reads it; but without a status the server would say 200.
		w.WriteHeader(http.StatusBadRequest)
	case errors.Is(err, errNoBackend):
		w.Header().Set("Retry-After", "1")
		x.plain(w, http.StatusServiceUnavailable, "the service is not ready; please try again")
	case timedOut(err) && !isDial(err):
		x.plain(w, http.StatusGatewayTimeout, "the service took too long to answer")
	default:
		x.plain(w, http.StatusBadGateway, "the service did not answer; please try again")
	}
	if x.failed {
		x.b.opt.Log.Warn("request failed", "status", x.status, "method", x.in.Method, "path", x.in.URL.Path,
			"attempts", x.attempts, "error", err)
	}
}

func isDial(err error) bool {
	var dial *dialError
	return errors.As(err, &dial)
}

// plain is an answer of the balancer's own. It says nothing of what is inside.
func (x *exchange) plain(w http.ResponseWriter, status int, text string) {
	x.status, x.failed = status, status >= 500
	h := w.Header()
	x.name(h)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if x.b.life.leaving.Load() {
		h.Set("Connection", "close")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // a client that is gone does not mind
}

// end closes the books of an exchange.
func (x *exchange) end() {
	now := x.b.opt.Now()
	ended := now
	switch {
	case x.broken.Load() && x.in.Context().Err() == nil:
		x.failed = true
	case !x.failed && !x.complete && x.status < 400:
		x.status = statusGone
	}
	if x.unbounded {
		now = x.headDone
	}
	if x.backend != nil {
		x.charge(now, x.failed || x.refused || !x.want.met(x.status, ended.Sub(x.start)))
		x.backend.release()
	}
	b := x.b
	b.counts.inFlight.Add(-1)
	if x.watch {
		return
	}
	b.counts.requests.Add(1)
	b.counts.busy.Add(int64(now.Sub(x.start)))
	if x.failed {
		b.counts.errors.Add(1)
	}
	if b.opt.Access == nil || x.backend != nil && x.backend.key != "" { // the successor writes it down
		return
	}
	rec := AccessRecord{
		Time: x.start, Method: x.in.Method, Path: x.in.URL.Path, Proto: x.in.Proto,
		Status: x.status, Duration: b.opt.Now().Sub(x.start), Canary: x.kind == canary, Baseline: x.kind == baseline, Synthetic: x.synthetic,
		Failed: x.failed, Attempts: x.attempts, Bytes: x.bytes.Load(), Run: x.run,
	}
	if x.backend != nil {
		rec.Release, rec.Instance = x.backend.Release, x.backend.ID
	}
	b.opt.Access(rec)
}

// charge enters the request into its arm's figures. An instance's refusal is an
// error there: a release that refuses everybody answers quickly, and what is
// rightly refused hits all arms alike. A request that the client gave up counts
// with the time until then, as no error: leaving it out would make an instance
// that hangs look idle.
func (x *exchange) charge(now time.Time, wrong bool) {
	x.pending.leave()
	if x.watch || x.health {
		return
	}
	took := now.Sub(x.armStart)
	x.arm.figures.record(took, wrong, x.synthetic)
	if x.ring != nil && x.kind == x.dealt && x.kind != stable {
		givenUp := x.status == statusGone && !wrong && x.headDone.IsZero()
		x.ring.record(x.kind, x.in.Method, x.in.URL.Path, x.status, took, wrong, x.synthetic, about{x.visitor, givenUp})
	}
}

var _ http.RoundTripper = (*exchange)(nil)

// inContext ties every request of the server to ctx.
func inContext(ctx context.Context) func(net.Listener) context.Context {
	return func(net.Listener) context.Context { return ctx }
}
