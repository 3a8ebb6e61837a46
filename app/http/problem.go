package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/smartcloudops/gate/app"
)

// problem is an error answer after RFC 9457. Its type is the default,
// about:blank: the status says what kind it is.
type problem struct {
	Title     string `json:"title"` // set by writeProblem
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	RequestID string `json:"request_id"` // set by writeProblem
}

func (p problem) Error() string { return p.Detail }

func writeProblem(w http.ResponseWriter, r *http.Request, p problem) {
	p.Title = http.StatusText(p.Status)
	p.RequestID = requestID(r)
	write(w, "application/problem+json", p.Status, p)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	write(w, "application/json", status, v)
}

// write sends v. It fails only when the client has left, and then nobody is
// there to be told.
func write(w http.ResponseWriter, contentType string, status int, v any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// statusClientGone is what the log and the metrics show where the client left
// before the answer: no fault of the service. Nobody receives it.
const statusClientGone = 499

// fail answers with the problem that fits err. What is not meant for the
// client goes to the log only.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p problem
	var invalid *app.InvalidError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &invalid):
		p = problem{Status: http.StatusBadRequest, Detail: invalid.Error()}
	case errors.Is(err, context.Canceled):
		p = problem{Status: statusClientGone, Detail: "the client has left"}
	case errors.Is(err, app.ErrUnavailable):
		w.Header().Set("Retry-After", "1")
		p = problem{Status: http.StatusServiceUnavailable, Detail: "the store does not answer in time; the same request may be sent again"}
	default:
		p = problem{Status: http.StatusInternalServerError, Detail: "something went wrong; the log has more under the request id"}
	}
	if p.Status >= http.StatusInternalServerError {
		a.Log.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("error", err.Error()), slog.String("request_id", requestID(r)))
	}
	writeProblem(w, r, p)
}
