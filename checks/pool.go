package checks

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// poolWorst folds payloads of one type, oldest first.
func poolWorst[P any](payloads [][]byte, worse func(a, b P) P) ([]byte, error) {
	if len(payloads) == 0 {
		return nil, errors.New("no runs to pool")
	}
	var all P
	for i, b := range payloads {
		var p P
		if err := json.Unmarshal(b, &p); err != nil {
			return nil, fmt.Errorf("run %d: %w", i+1, err)
		}
		if i == 0 {
			all = p
			continue
		}
		all = worse(all, p)
	}
	return json.Marshal(all)
}

// poolFindings are the findings of both, each place and rule once. What has no
// place is told apart by what it says.
func poolFindings(a, b []Finding) []Finding {
	type place struct {
		tool, rule, file, message string
		line                      int
	}
	seen := map[place]bool{}
	var out []Finding
	for _, list := range [][]Finding{a, b} {
		for _, f := range list {
			at := place{tool: f.Tool, rule: f.Rule, file: f.File, line: f.Line}
			if f.Line == 0 {
				at.message = f.Message
			}
			if !seen[at] {
				seen[at] = true
				out = append(out, f)
			}
		}
	}
	return out
}

func toolsExists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
