package report

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/smartcloudops/gate/pipeline/run"
	"github.com/smartcloudops/gate/policies"
)

// JSON writes v for programs. A run is written with its decisions, the last of
// which it stands on. A list that holds nothing is [], not null.
func JSON(w io.Writer, v any) error {
	if r, ok := v.(*run.Result); ok {
		v = runJSON(r)
	} else if rv := reflect.ValueOf(v); rv.Kind() == reflect.Slice && rv.IsNil() {
		v = []struct{}{}
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	if err == nil {
		// No value of JSON begins with a colon, and number signs are in strings.
		_, err = io.WriteString(w, uncommanded(b.String(), `\u003a`, `\u0023`))
	}
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

func runJSON(r *run.Result) any {
	c := *r
	orEmpty(&c.Steps)
	orEmpty(&c.Evidence)
	orEmpty(&c.Promotions)
	orEmpty(&c.Environment)
	out := struct {
		*run.Result
		Decisions []policies.Decision `json:"decisions"`
	}{&c, []policies.Decision{}}
	for _, d := range r.Decisions {
		out.Decisions = append(out.Decisions, d.Decision)
	}
	return out
}

func orEmpty[T any](s *[]T) {
	if *s == nil {
		*s = []T{}
	}
}
