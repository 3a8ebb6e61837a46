// Package httpapi is SmartCloudOps' HTTP interface.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/smartcloudops/gate/app"
)

// requestTimeout bounds the work on one request. It leaves the server time to
// write the answer.
const requestTimeout = 5 * time.Second

// Version is what /version answers.
type Version struct {
	Release     string `json:"release"` // digest; empty: not told
	Go          string `json:"go"`
	Environment string `json:"environment"` // empty: not told
}

// Config is what an API needs. All fields are required.
type Config struct {
	Store      app.Store
	Log        *slog.Logger
	Registry   *prometheus.Registry // gets the API's own metrics, and is what /metrics shows
	Version    Version
	QueryLimit int // most samples that one query may ask for
}

// API answers requests.
type API struct {
	Config
	handler  http.Handler
	metrics  *metrics
	draining atomic.Bool
}

// New makes an API. It fails when the registry already has its metrics.
func New(cfg Config) (*API, error) {
	m, err := newMetrics(cfg.Registry)
	if err != nil {
		return nil, err
	}
	a := &API{Config: cfg, metrics: m}
	mux := http.NewServeMux()
	route := func(method, path string, h http.HandlerFunc) {
		mux.HandleFunc(method+" "+path, h)
	}
	route("GET", "/livez", a.live)
	route("GET", "/readyz", a.ready)
	route("GET", "/version", a.version)
	route("GET", "/metrics", promhttp.HandlerFor(cfg.Registry, promhttp.HandlerOpts{}).ServeHTTP)
	route("POST", "/api/v1/metrics", a.ingest)
	route("GET", "/api/v1/metrics", a.query)
	for _, path := range []string{"/livez", "/readyz", "/version", "/metrics"} {
		mux.HandleFunc(path, notAllowed("GET, HEAD"))
	}
	mux.HandleFunc("/api/v1/metrics", notAllowed("GET, HEAD, POST"))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, problem{Status: http.StatusNotFound, Detail: "there is nothing at this path"})
	})
	a.handler = a.observe(a.recover(limit(routed(mux))))
	return a, nil
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

func notAllowed(allow string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		writeProblem(w, r, problem{Status: http.StatusMethodNotAllowed, Detail: "allowed here: " + allow})
	}
}

// limit gives every request a deadline.
func limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
