package httpapi

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type requestIDKey struct{}

// requestID is the id that observe gave r.
func requestID(r *http.Request) string {
	id, _ := r.Context().Value(requestIDKey{}).(string)
	return id
}

// saneID is what an id from outside may look like, given that it ends up in the
// log and in headers.
var saneID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// observe gives every request an id, the headers that all answers have, one
// line in the log, and its place in the metrics.
func (a *API) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get("X-Request-Id")
		if !saneID.MatchString(id) {
			id = rand.Text()
		}
		route := new(string)
		ctx := context.WithValue(r.Context(), requestIDKey{}, id)
		r = r.WithContext(context.WithValue(ctx, routeKey{}, route))

		h := w.Header()
		h.Set("X-Request-Id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")

		rec := &recorder{ResponseWriter: w, draining: &a.draining}
		a.metrics.inFlight.Inc()
		defer func() {
			a.metrics.inFlight.Dec()
			a.account(r, *route, rec, time.Since(start))
		}()
		next.ServeHTTP(rec, r)
	})
}

// account puts an answered request into the metrics and the log.
func (a *API) account(r *http.Request, route string, rec *recorder, took time.Duration) {
	status := strconv.Itoa(rec.code())
	a.metrics.requests.WithLabelValues(route, status).Inc()
	a.metrics.duration.WithLabelValues(route, status).Observe(took.Seconds())
	level := slog.LevelInfo
	if probe(route) && rec.code() < 400 {
		level = slog.LevelDebug // every second from everywhere: it would bury the rest
	}
	a.Log.LogAttrs(r.Context(), level, "request",
		slog.String("request_id", requestID(r)),
		slog.String("method", r.Method),
		slog.String("route", route),
		slog.Int("status", rec.code()),
		slog.Float64("seconds", took.Seconds()),
		slog.Int64("bytes", rec.bytes))
}

type routeKey struct{}

// routed notes which pattern of mux matched: unlike the path it is one of a
// fixed set, as the label of a metric must be.
func routed(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if route, ok := r.Context().Value(routeKey{}).(*string); ok {
			defer func() { *route = r.Pattern }()
		}
		mux.ServeHTTP(w, r)
	})
}

func probe(route string) bool {
	_, path, _ := strings.Cut(route, " ")
	return path == "/livez" || path == "/readyz" || path == "/metrics"
}

// recover answers where a handler panicked.
func (a *API) recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler {
				panic(v)
			}
			a.Log.LogAttrs(r.Context(), slog.LevelError, "panic",
				slog.String("request_id", requestID(r)), slog.String("value", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
			if rec, ok := w.(*recorder); ok && rec.status != 0 {
				panic(http.ErrAbortHandler) // half an answer must not look whole
			}
			writeProblem(w, r, problem{Status: http.StatusInternalServerError, Detail: "something went wrong; the log has more under the request id"})
		}()
		next.ServeHTTP(w, r)
	})
}

// recorder remembers what was answered, and ends connections while the service
// shuts down.
type recorder struct {
	http.ResponseWriter
	draining *atomic.Bool
	status   int
	bytes    int64
}

func (r *recorder) code() int {
	if r.status == 0 {
		return http.StatusOK // what the server sends for a handler that wrote nothing
	}
	return r.status
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
		if r.draining.Load() {
			// The client finishes this exchange and opens its next connection
			// elsewhere; closing idle connections instead could hit one that is
			// just being used.
			r.Header().Set("Connection", "close")
		}
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// metrics are the API's own.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	samples  prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	labels := []string{"route", "status"}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total", Help: "Requests answered."}, labels),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_request_duration_seconds", Help: "Time from the request's headers to the end of the answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 5}}, labels),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "http_requests_in_flight", Help: "Requests being answered now."}),
		samples: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "samples_accepted_total", Help: "Samples stored, repeats included."}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.inFlight, m.samples} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of the HTTP interface: %w", err)
		}
	}
	return m, nil
}
