package watch

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/checks"
)

const monitoring = "../../../../docs/monitoring"

// TestMonitoringNamesWhatIsServed: rules and dashboard ask for metrics that there
// are, and name runbooks that there are.
func TestMonitoringNamesWhatIsServed(t *testing.T) {
	known := map[string]bool{}
	for _, m := range metrics {
		known[m.name] = true
	}
	for _, name := range []string{"gate.rules.yml", "grafana.json"} {
		b, err := os.ReadFile(filepath.Join(monitoring, name))
		if err != nil {
			t.Fatal(err)
		}
		asked := regexp.MustCompile(`\bgate_[a-z0-9_]+`).FindAllString(string(b), -1)
		if len(asked) < 10 {
			t.Errorf("%s asks for %v only", name, asked)
		}
		for _, m := range asked {
			if !known[m] {
				t.Errorf("%s asks for %s, which nobody serves", name, m)
			}
		}
		if name == "grafana.json" && !json.Valid(b) {
			t.Error("the dashboard is no JSON")
		}
		for _, m := range regexp.MustCompile(`docs/runbooks/([a-z-]+)\.md`).FindAllStringSubmatch(string(b), -1) {
			if _, ok := checks.AlertNamed(m[1]); !ok {
				t.Errorf("%s names the runbook %s", name, m[1])
			}
			if _, err := os.Stat(filepath.Join("../../../..", m[0])); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestMonitoringWithTheRealTools has Prometheus' own tools read and try what is
// shipped.
func TestMonitoringWithTheRealTools(t *testing.T) {
	for _, args := range [][]string{
		{"promtool", "check", "config", "prometheus.yml"},
		{"promtool", "check", "rules", "gate.rules.yml"},
		{"promtool", "test", "rules", "gate.test.yml"},
		{"amtool", "check-config", "alertmanager.yml"},
	} {
		program, err := exec.LookPath(args[0])
		if err != nil {
			t.Logf("SKIPPED: %s is not on this machine (Debian: apt-get install prometheus prometheus-alertmanager): %v is not tried", args[0], args)
			continue
		}
		cmd := exec.Command(program, args[1:]...)
		cmd.Dir = monitoring
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
