// Package githubtest is GitHub for tests: it keeps state as GitHub does, checks
// every request and every answer against GitHub's own description of its API,
// enforces what that does not say, and breaks on demand.
package githubtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

// AppID, AppSlug and ActionsID are who publishes.
const (
	AppID       = 4711
	AppSlug     = "smartcloudops-gate"
	ActionsID   = 15368
	ActionsSlug = "github-actions"

	installationID = 99
)

// Options of a Server.
type Options struct {
	Repository    string // owner/name; empty: smartcloudops/gate
	DefaultBranch string // empty: main
	// Git is the path of a bare repository with the commits; empty: every hash
	// is a commit, and there are no files.
	Git string
	// Private makes an API that shows nothing without permission; a public
	// repository shows pull requests and the like to any token.
	Private bool
	// PageSize caps how much one page holds; 0: GitHub's 100.
	PageSize int
	Clock    *Clock // nil: one that stands still until somebody sleeps
	// Permissions of the App's installation; nil: all that gate's App asks for.
	Permissions map[string]string
}

// Server is one repository at GitHub.
type Server struct {
	URL   string // of the API
	Clock *Clock
	// Key is the PEM of the App's private key.
	Key []byte

	t       testing.TB
	options Options
	doc     *openapi3.T
	git     repository
	api     *httptest.Server
	storage *httptest.Server

	mu     sync.Mutex
	state  state
	faults faults
	who    map[string]identity // by token
	late   []late
	served int
	log    []Request
	wrong  []string
	app    *rsa.PublicKey
}

// Request is one that the server got.
type Request struct {
	Method, Path string
	Fault        Fault
	Status       int
	Who          string
	Body         []byte
}

// appKey is made once: it takes a while, and tests don't mind to share it.
var appKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // the machine has no randomness
	}
	return key
})

// New starts a server that ends with the test. At the end it reports what
// neither GitHub nor its description would have accepted.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	doc := describe(t)
	if o.Repository == "" {
		o.Repository = "smartcloudops/gate"
	}
	if o.DefaultBranch == "" {
		o.DefaultBranch = "main"
	}
	if o.PageSize == 0 {
		o.PageSize = 100
	}
	if o.Clock == nil {
		o.Clock = NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	}
	if o.Permissions == nil {
		o.Permissions = map[string]string{
			"actions": "write", "administration": "read", "checks": "write", "contents": "read", "deployments": "write", "environments": "read",
			"issues": "write", "metadata": "read", "pull_requests": "write", "secrets": "read", "security_events": "write",
		}
	}
	s := &Server{t: t, options: o, Clock: o.Clock, doc: doc, git: repository{o.Git}, who: map[string]identity{}, app: &appKey().PublicKey}
	s.Key = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(appKey())})
	s.state.init()
	s.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r, path, found := find(req)
		if !found {
			s.violation("%s %s is none of the operations that the fake knows", req.Method, req.URL.Path)
			http.Error(w, `{"message":"Not Found"}`, http.StatusNotFound)
			return
		}
		s.serve(w, req, r, path)
	}))
	s.storage = httptest.NewServer(http.HandlerFunc(s.download))
	s.URL = s.api.URL
	t.Cleanup(func() {
		s.Close()
		for _, v := range s.Violations() {
			t.Error("GitHub would not have taken or given that: " + v)
		}
	})
	return s
}

// Close stops the server before its test ends.
func (s *Server) Close() {
	for _, one := range []*httptest.Server{s.api, s.storage} {
		one.CloseClientConnections()
		one.Close()
	}
}

func (s *Server) violation(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// Violations are what broke the description or a rule; each is returned once.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.wrong
	s.wrong = nil
	return out
}

// Requests are all that came, in order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.log...)
}

// call is one request.
type call struct {
	who   identity
	path  map[string]string
	query url.Values
	body  map[string]any
}

// answer is what the server says to it.
type answer struct {
	status int
	body   any // nil: none
	header http.Header
}

func ok(body any) answer      { return answer{status: http.StatusOK, body: body} }
func created(body any) answer { return answer{status: http.StatusCreated, body: body} }

func refuse(status int, message string) answer {
	return answer{status: status, body: map[string]any{"message": message, "documentation_url": "https://docs.github.com/rest"}}
}

func notFound() answer { return refuse(http.StatusNotFound, "Not Found") }

func (s *Server) serve(w http.ResponseWriter, req *http.Request, r route, path map[string]string) {
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	fault := s.nextFault(req)
	effect := func() answer { return s.effect(req, r, path, b) }
	a := answer{}
	switch fault {
	case LostRequest:
	case Late:
		s.postpone(func() { effect() })
	case Secondary, SecondaryAfter, TooMany, Primary, Broken:
		a = s.turnAway(fault)
	case Twice:
		effect()
		a = effect()
	default:
		if fault == Slow {
			s.Clock.Advance(20 * time.Second)
		}
		a = effect()
	}
	s.mu.Lock()
	who := s.who[bearer(req)]
	s.log = append(s.log, Request{Method: req.Method, Path: req.URL.Path, Fault: fault, Status: a.status, Who: who.login(), Body: b})
	s.mu.Unlock()
	switch fault {
	case LostRequest, Late, LostReply:
		drop(w)
		return
	case BrokenAfter:
		a = refuse(http.StatusBadGateway, "Server Error")
	}
	s.reply(w, a, fault == Truncated)
	s.served1()
}

// effect carries the request out.
func (s *Server) effect(req *http.Request, r route, path map[string]string, b []byte) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &call{path: path, query: req.URL.Query()}
	if a, ok := s.authenticate(req, r, c); !ok {
		return a
	}
	if p := c.path["owner"] + "/" + c.path["repo"]; c.path["repo"] != "" && p != s.options.Repository {
		return notFound()
	}
	if err := s.checkRequest(req, r, c.path, b); err != nil {
		s.wrong = append(s.wrong, fmt.Sprintf("%s %s: %v", req.Method, req.URL.Path, err))
		return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\n"+err.Error())
	}
	if len(b) > 0 {
		if err := json.Unmarshal(b, &c.body); err != nil {
			return refuse(http.StatusBadRequest, "Problems parsing JSON")
		}
	}
	a := r.handler(s, c)
	a, err := s.checkAnswer(req, r, a)
	if err != nil {
		s.wrong = append(s.wrong, fmt.Sprintf("the fake's own answer to %s %s: %v", req.Method, req.URL.Path, err))
	}
	return a
}

func (s *Server) reply(w http.ResponseWriter, a answer, cut bool) {
	for k, v := range a.header {
		w.Header()[k] = v
	}
	if w.Header().Get("X-RateLimit-Remaining") == "" {
		w.Header().Set("X-RateLimit-Limit", "5000")
		w.Header().Set("X-RateLimit-Remaining", "4999")
		w.Header().Set("X-RateLimit-Reset", fmt.Sprint(s.Clock.Now().Add(time.Hour).Unix()))
	}
	var b []byte
	if a.body != nil {
		var buf bytes.Buffer
		if err := json.NewEncoder(&buf).Encode(a.body); err != nil {
			s.violation("an answer that is no JSON: %v", err)
		}
		b = buf.Bytes()
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	if cut && len(b) > 2 {
		// Its length fits: nothing but the JSON itself shows that it is cut.
		b = b[:len(b)/2]
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(b)
}

// drop closes the connection without an answer.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.Close()
	}
}

func bearer(req *http.Request) string {
	h := req.Header.Get("Authorization")
	for _, scheme := range []string{"Bearer ", "token "} {
		if rest, ok := strings.CutPrefix(h, scheme); ok {
			return rest
		}
	}
	return ""
}

// Clock stands still until somebody sleeps or advances it.
type Clock struct {
	mu   sync.Mutex
	at   time.Time
	real bool
}

// RealTime is the machine's clock, for clients that are processes of their own.
func RealTime() *Clock { return &Clock{real: true} }

// NewClock starts at at.
func NewClock(at time.Time) *Clock { return &Clock{at: at} }

// Now is its time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real {
		return time.Now()
	}
	return c.at
}

// Advance moves it.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// Sleep takes no time.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	c.Advance(max(d, 0))
	return ctx.Err()
}
