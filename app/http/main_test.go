package httpapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	httpapi "github.com/smartcloudops/gate/app/http"
	"github.com/smartcloudops/gate/app/internal/pgtest"
	"github.com/smartcloudops/gate/app/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// service is an API on a real store.
type service struct {
	*httptest.Server
	api *httpapi.API
	db  pgtest.Database
	log *logBuffer
}

func newService(t *testing.T) *service {
	t.Helper()
	db := pgtest.New(t)
	if err := postgres.Migrate(t.Context(), db.Migrator, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	store, err := postgres.Open(t.Context(), db.App, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	log := &logBuffer{}
	registry := prometheus.NewRegistry()
	registry.MustRegister(store)
	api, err := httpapi.New(httpapi.Config{
		Store:      store,
		Log:        slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Registry:   registry,
		Version:    httpapi.Version{Release: "sha256:abc", Go: "go1", Environment: "test"},
		QueryLimit: 5,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &service{httptest.NewServer(api), api, db, log}
	t.Cleanup(s.Close)
	return s
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

func (s *service) do(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func (s *service) post(t *testing.T, body string, headers ...string) answer {
	t.Helper()
	return s.do(t, "POST", "/api/v1/metrics", body, headers...)
}

// wantProblem checks that a is an RFC 9457 problem that says want.
func wantProblem(t *testing.T, a answer, status int, want string) {
	t.Helper()
	var p struct {
		Title     string
		Status    int
		Detail    string
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("the answer is no JSON: %v: %s", err, a.body)
	}
	if a.status != status || p.Status != status || p.Title != http.StatusText(status) {
		t.Errorf("status %d, in the body %d %q, want %d: %s", a.status, p.Status, p.Title, status, a.body)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type is %q", got)
	}
	if p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") {
		t.Errorf("request id is %q in the body, %q in the header", p.RequestID, a.header.Get("X-Request-Id"))
	}
	if !strings.Contains(p.Detail, want) {
		t.Errorf("detail is %q, want %q in it", p.Detail, want)
	}
	for _, internal := range []string{"app.", "json:", "pgx", "SQLSTATE", "struct", "goroutine", "metric_samples"} {
		if strings.Contains(a.body, internal) {
			t.Errorf("the answer shows something internal, %q: %s", internal, a.body)
		}
	}
}

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
