package httpapi

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/smartcloudops/gate/app"
)

// live says that the process can answer. It asks nothing else: to restart it
// would not bring back a database.
func (a *API) live(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "alive"})
}

// ready says whether this instance may get traffic.
func (a *API) ready(w http.ResponseWriter, r *http.Request) {
	if a.draining.Load() {
		writeProblem(w, r, problem{Status: http.StatusServiceUnavailable, Detail: "this instance is shutting down"})
		return
	}
	err := a.Store.Ready(r.Context())
	if err == nil {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
		return
	}
	detail := "the store is not ready"
	var not *app.NotReadyError
	if errors.As(err, &not) {
		detail = not.Reason
	}
	a.Log.LogAttrs(r.Context(), slog.LevelWarn, "not ready", slog.String("error", err.Error()), slog.String("request_id", requestID(r)))
	writeProblem(w, r, problem{Status: http.StatusServiceUnavailable, Detail: detail})
}

func (a *API) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, a.Version)
}
