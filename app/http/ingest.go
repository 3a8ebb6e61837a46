package httpapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/smartcloudops/gate/app"
)

// maxBody is more than a batch of the longest samples needs.
const maxBody = 1 << 20 // bytes

// sample is an app.Sample on the wire. Pointers tell a missing value, or null,
// from zero.
type sample struct {
	Source string     `json:"source"`
	Metric string     `json:"metric"`
	Time   *time.Time `json:"time"`
	Value  *float64   `json:"value"`
}

// ingest answers only once the samples are durable.
func (a *API) ingest(w http.ResponseWriter, r *http.Request) {
	if err := jsonOnly(r.Header); err != nil {
		a.fail(w, r, err)
		return
	}
	batch, err := decodeBatch(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = a.Store.Append(r.Context(), batch)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.metrics.samples.Add(float64(batch.Accepted()))
	writeJSON(w, http.StatusOK, map[string]int{"accepted": batch.Accepted()})
}

// jsonOnly refuses other types. A browser sends JSON across sites only where
// the service allows it, which this one never does.
func jsonOnly(h http.Header) error {
	if t, _, err := mime.ParseMediaType(h.Get("Content-Type")); err != nil || t != "application/json" {
		return problem{Status: http.StatusUnsupportedMediaType, Detail: "send the header Content-Type: application/json"}
	}
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return problem{Status: http.StatusUnsupportedMediaType, Detail: "send the body without a Content-Encoding"}
	}
	return nil
}

// decodeBatch reads one JSON object, and nothing else, from body. Its errors
// are meant for the client.
func decodeBatch(body io.Reader) (app.Batch, error) {
	var sent struct {
		Samples []sample `json:"samples"`
	}
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&sent); err != nil {
		return app.Batch{}, badJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return app.Batch{}, badJSON(err)
		}
		return app.Batch{}, problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("the body goes on after the JSON object, at byte %d", dec.InputOffset())}
	}
	samples := make([]app.Sample, len(sent.Samples))
	for i, s := range sent.Samples {
		if s.Value == nil {
			return app.Batch{}, &app.InvalidError{Field: fmt.Sprintf("samples[%d].value", i), Why: "is missing"}
		}
		samples[i] = app.Sample{Source: s.Source, Metric: s.Metric, Value: *s.Value}
		if s.Time != nil {
			samples[i].Time = *s.Time
		}
	}
	return app.NewBatch(samples)
}

// badJSON says in the client's words what is wrong.
func badJSON(err error) error {
	p := problem{Status: http.StatusBadRequest}
	var large *http.MaxBytesError
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var moment *time.ParseError
	unknown, isUnknown := strings.CutPrefix(err.Error(), "json: unknown field ")
	switch {
	case errors.As(err, &large):
		p.Status = http.StatusRequestEntityTooLarge
		p.Detail = fmt.Sprintf("the body has more than %d bytes; send fewer samples at once", large.Limit)
	case errors.As(err, &syntax):
		p.Detail = fmt.Sprintf("the body is not JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		p.Detail = fmt.Sprintf("%s does not take a JSON %s, at byte %d", cmp.Or(kind.Field, "the body"), kind.Value, kind.Offset)
	case errors.As(err, &moment):
		p.Detail = "a time is not written as in 2026-01-02T03:04:05Z (RFC 3339)"
	case isUnknown:
		p.Detail = "there is no field " + unknown
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		p.Detail = "the body ends before the JSON object does"
	default:
		p.Detail = "the body is not as it should be"
	}
	return p
}
