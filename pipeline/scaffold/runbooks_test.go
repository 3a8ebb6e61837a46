package scaffold

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
)

// TestRunbooksAreThoseThatTheCheckWants: what init writes lacks nothing.
func TestRunbooksAreThoseThatTheCheckWants(t *testing.T) {
	dir := t.TempDir()
	for name, text := range runbooks("O'Hara: ops", "2099-01-31") {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := checks.Runbooks().Measure(t.Context(), checks.Input{Declarations: &environments.Declarations{App: &environments.App{Runbooks: runbooksDir}}, Source: dir})
	if err != nil || m.Status != checks.Completed {
		t.Fatalf("%+v, %v", m, err)
	}
	p := m.Payload.(checks.RunbooksPayload)
	if len(p.Findings) != 0 || len(p.Missing) != 0 || !p.Incident.Present || !p.Template || p.Runbooks[0].Owner != "O'Hara: ops" {
		t.Errorf("%+v", p)
	}
}
