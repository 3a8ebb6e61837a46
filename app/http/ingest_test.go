package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/smartcloudops/gate/app"
)

// FuzzDecodeBatch: whatever is sent, it is either refused in the client's terms,
// or every sample is acceptable and survives being sent once more.
func FuzzDecodeBatch(f *testing.F) {
	for _, seed := range []string{
		`{"samples":[{"source":"host-1","metric":"cpu","time":"2026-01-02T03:04:05.678901234+01:00","value":1.5}]}`,
		`{"samples":[{"source":"a","metric":"m","time":"2026-01-02T03:04:05Z","value":-0}, {"source":"a","metric":"m","time":"2026-01-02T03:04:05Z","value":1e308}]}`,
		`{"samples":[{"source":"a","metric":"m","time":"2026-01-02T03:04:05Z","value":null}]}`,
		`{"samples":[]}`, `{"samples":null} `, `{"samples":[{}]}x`, `[]`, `{`, "", "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := decodeBatch(bytes.NewReader(body))
		if err != nil {
			var invalid *app.InvalidError
			if p := (problem{}); !errors.As(err, &invalid) && !errors.As(err, &p) {
				t.Fatalf("%T %v is not meant for a client", err, err)
			}
			return
		}
		var again struct {
			Samples []sample `json:"samples"`
		}
		for _, s := range b.Samples() {
			if err := s.Validate(); err != nil {
				t.Fatalf("accepted %v: %v", s, err)
			}
			again.Samples = append(again.Samples, sample{s.Source, s.Metric, &s.Time, &s.Value})
		}
		sent, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		c, err := decodeBatch(bytes.NewReader(sent))
		if err != nil || !slices.Equal(b.Samples(), c.Samples()) {
			t.Fatalf("%s became %v (%v)", sent, c.Samples(), err)
		}
	})
}
