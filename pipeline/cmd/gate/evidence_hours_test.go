package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/promotion"
)

func outsideHour(at time.Time, ok, failed int) checks.UptimeHour {
	return checks.UptimeHour{Hour: at, To: 3600, OK: ok, Failed: failed, Prober: checks.ProberOutside}
}

func TestHoursFromOutside(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 12, 30, 0, 0, time.UTC)
	e := &environments.Environment{Name: "production", TLS: environments.TLS{Names: []string{"ops.example.org"}}}
	full, present := now.Truncate(time.Hour).Add(-time.Hour), now.Truncate(time.Hour)
	got, err := outsideHours(e, "https://ops.example.org:8443/readyz", []checks.UptimeHour{
		{Hour: present, To: 1799, OK: 1799, Prober: checks.ProberOutside}, outsideHour(full, 3600, 0), outsideHour(full.Add(-time.Hour), 3500, 20),
		outsideHour(full.Add(-31*24*time.Hour), 3600, 0),
	}, now)
	if err != nil || len(got) != 2 || got[0].OK != 3500 || !got[1].Hour.Equal(full) {
		t.Errorf("%+v, %v", got, err)
	}
	one := []checks.UptimeHour{outsideHour(full, 3600, 0)}
	for what, c := range map[string]struct {
		address string
		hours   []checks.UptimeHour
	}{
		"another service":       {"https://other.example.org/", one},
		"a name that ends so":   {"https://evil-ops.example.org.example.net/", one},
		"a user before it":      {"https://ops.example.org@example.net/", one},
		"no TLS":                {"http://ops.example.org/", one},
		"no address":            {"", one},
		"more than an hour has": {"https://ops.example.org/", []checks.UptimeHour{outsideHour(full, 3601, 0)}},
		"the daemon's":          {"https://ops.example.org/", []checks.UptimeHour{{Hour: full, To: 3600, OK: 3600, Prober: checks.ProberDaemon}}},
		"an hour twice":         {"https://ops.example.org/", append(one, one...)},
		"the future":            {"https://ops.example.org/", append(one, outsideHour(present, 3600, 0))},
		"nothing":               {"https://ops.example.org/", nil},
		"nothing of 30 days":    {"https://ops.example.org/", []checks.UptimeHour{outsideHour(full.Add(-31*24*time.Hour), 3600, 0)}},
	} {
		if got, err := outsideHours(e, c.address, c.hours, now); err == nil {
			t.Errorf("%s: took %+v", what, got)
		}
	}
}

// TestImportHours: what another machine saw is evidence about the service, and
// the same hour is there once.
func TestImportHours(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("SKIPPED under -short: a ledger of its own")
	}
	w := newWorld(t)
	at := time.Now().UTC().Truncate(time.Hour).Add(-2 * time.Hour)
	file := filepath.Join(w.root, "hours.json")
	write := func(address string, hours ...checks.UptimeHour) {
		t.Helper()
		b, err := json.Marshal(map[string]any{"address": address, "hours": hours, "minutes": []any{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := fmt.Sprintf("https://localhost:%d/readyz", w.ports["production"])
	write(address, outsideHour(at, 3590, 10))
	for range 2 {
		w.want(promotion.CodePass, "evidence", "import", file, "--env", "production")
	}
	write(address, outsideHour(at, 3590, 10), outsideHour(at.Add(time.Hour), 3600, 0))
	w.want(promotion.CodePass, "evidence", "import", file, "--env", "production")
	var all []struct {
		Trusted  bool
		Evidence checks.Evidence
	}
	if err := json.Unmarshal([]byte(w.want(promotion.CodePass, "evidence", "list", "--output", "json").out), &all); err != nil || len(all) != 2 {
		t.Fatalf("%d pieces of evidence, %v: %+v", len(all), err, all)
	}
	for i, one := range all {
		var p checks.UptimePayload
		err := json.Unmarshal(one.Evidence.Payload, &p)
		if err != nil || !one.Trusted || one.Evidence.Check != "uptime" || one.Evidence.Environment != "production" || p.OutsideHours != 1 ||
			!one.Evidence.Finished.Equal(at.Add(time.Duration(i+1)*time.Hour)) {
			t.Errorf("%v: %+v", err, one)
		}
	}
	write("https://other.example.org/", outsideHour(at, 3600, 0))
	if r := w.want(promotion.CodeFail, "evidence", "import", file, "--env", "production"); !strings.Contains(r.err, "other.example.org") {
		t.Error(r)
	}
	for _, args := range [][]string{{file}, {file, "--env", "moon"}, {file, "--env", "production", "--commit", "HEAD"}, {w.root}, {filepath.Join(w.root, "none")}} {
		w.want(promotion.CodeUsage, append([]string{"evidence", "import"}, args...)...)
	}
}
