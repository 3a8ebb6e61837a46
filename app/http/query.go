package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/smartcloudops/gate/app"
)

func (a *API) query(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r.URL.RawQuery, a.QueryLimit)
	var found []app.Sample
	if err == nil {
		found, err = a.Store.Select(r.Context(), q)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	samples := make([]sample, len(found))
	for i := range found {
		samples[i] = sample{found[i].Source, found[i].Metric, &found[i].Time, &found[i].Value}
	}
	writeJSON(w, http.StatusOK, map[string][]sample{"samples": samples})
}

// parseQuery reads a query string. Its errors are meant for the client. Unknown
// names are refused: a mistyped one would silently widen the answer.
func parseQuery(raw string, limit int) (app.Query, error) {
	q := app.Query{Limit: limit}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, problem{Status: http.StatusBadRequest, Detail: "the query string is not encoded as it should be"}
	}
	for name, all := range values {
		if len(all) != 1 {
			return q, &app.InvalidError{Field: strconv.Quote(name), Why: "is given more than once"}
		}
		v := all[0]
		var err error
		switch {
		case name != "source" && name != "metric" && name != "from" && name != "to" && name != "limit":
			return q, &app.InvalidError{Field: strconv.Quote(name), Why: "is unknown: source, metric, from, to and limit are known"}
		case v == "":
			// As in an empty field of a form: not restricted.
		case name == "source":
			q.Source = v
		case name == "metric":
			q.Metric = v
		case name == "from":
			q.From, err = parseTime(name, v)
		case name == "to":
			q.To, err = parseTime(name, v)
		case name == "limit":
			if q.Limit, err = strconv.Atoi(v); err != nil {
				err = &app.InvalidError{Field: name, Why: fmt.Sprintf("must be from 1 to %d", limit)}
			}
		}
		if err != nil {
			return q, err
		}
	}
	return q, q.Validate(limit)
}

func parseTime(name, v string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil || t.IsZero() {
		return t, &app.InvalidError{Field: name, Why: "is not written as in 2026-01-02T03:04:05Z (RFC 3339)"}
	}
	return t, nil
}
