package checks

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// noBackups is a target whose backups stand as the facts say.
type noBackups struct {
	facts BackupFacts
	err   error
}

func (b noBackups) BackupFacts(context.Context) (BackupFacts, error) { return b.facts, nil }
func (b noBackups) MarkBackup(context.Context) (BackupMark, error) {
	return BackupMark{LSN: "0/1", At: time.Now(), RPOSeconds: 0.5}, b.err
}
func (b noBackups) RestoreBackup(context.Context, BackupPoint) (BackupCopy, error) {
	return nil, &BackupFault{FaultMissing, "segment 3 is missing"}
}

func TestBackupThatIsNotKeptIsUnavailable(t *testing.T) {
	for name, target := range map[string]any{"no interface": nil, "external": noBackups{facts: BackupFacts{Why: "external"}}} {
		m, err := Backup().Measure(t.Context(), Input{Target: target})
		if err != nil || m.Status != Unavailable || m.Reason == "" || m.Payload != nil {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

func TestAFaultOfABackupIsAFigure(t *testing.T) {
	facts := BackupFacts{Kept: true, Bases: 1, BaseTime: time.Now(), Streaming: true, Problem: "the slot was lost"}
	for name, b := range map[string]noBackups{
		"restore": {facts: facts},
		"archive": {facts: facts, err: &BackupFault{FaultStale, "nothing arrives"}},
	} {
		m, err := Backup().Measure(t.Context(), Input{Target: b})
		p, ok := m.Payload.(BackupPayload)
		if err != nil || !ok || m.Status != Completed || p.Restored || len(p.Faults) != 2 || p.Faults[0].Kind != FaultKeeping {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	_, err := Backup().Measure(t.Context(), Input{Target: noBackups{facts: facts, err: errors.New("the daemon is gone")}})
	if err == nil {
		t.Error("what broke the check is no figure")
	}
}

func TestBackupPool(t *testing.T) {
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	pool := func(runs ...BackupPayload) BackupPayload {
		t.Helper()
		var raw [][]byte
		for _, r := range runs {
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			raw = append(raw, b)
		}
		b, err := Backup().Pool(raw)
		if err != nil {
			t.Fatal(err)
		}
		var p BackupPayload
		if err := json.Unmarshal(b, &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	bad := BackupPayload{BaseTime: base, RPOSeconds: 3, RTOSeconds: 9, Faults: []BackupFault{{FaultCorrupt, "bad"}, {FaultApp, "does not answer"}}}
	good := BackupPayload{BaseTime: base, RPOSeconds: 1, RTOSeconds: 10, Restored: true, Faults: []BackupFault{}}
	if p := pool(bad, good); !p.Restored || p.RPOSeconds != 3 || p.RTOSeconds != 10 || len(p.Faults) != 1 || p.Faults[0].Kind != FaultCorrupt {
		t.Errorf("tried again on the same base backup: %+v", p)
	}
	unseen, calm, felt := good, good, good
	calm.Requests, calm.QuietP95, calm.P95 = 100, 0.002, 0.003
	felt.Requests, felt.Failed, felt.QuietP95, felt.P95 = 100, 1, 0.001, 0.009
	if p := pool(unseen, calm); p.QuietP95 != 0.002 || p.P95 != 0.003 || p.Requests != 100 {
		t.Errorf("seen the second time only: %+v", p)
	}
	if p := pool(felt, calm); p.QuietP95 != 0.001 || p.P95 != 0.009 || p.Requests != 200 || p.Failed != 1 {
		t.Errorf("felt the first time: %+v", p)
	}
	if p := pool(calm, unseen); p.QuietP95 != 0 {
		t.Errorf("not seen the last time: %+v", p)
	}
	newer := good
	newer.BaseTime = base.Add(time.Hour)
	if p := pool(bad, newer); len(p.Faults) != 0 || p.RPOSeconds != 1 {
		t.Errorf("mended by a new base backup: %+v", p)
	}
	if _, err := Backup().Pool(nil); err == nil {
		t.Error("nothing was pooled")
	}
}

func TestOnlyRightAnswersAreTimed(t *testing.T) {
	due := time.Now()
	var samples []drillSample
	for i := range 100 {
		samples = append(samples, drillSample{due: due, done: due.Add(time.Duration(i+1) * time.Millisecond)})
	}
	samples = append(samples, drillSample{due: due, done: due.Add(time.Minute), why: "closed"})
	p95, failed := answeredP95(samples)
	if p95 < 0.094 || p95 > 0.096 || failed != 1 {
		t.Errorf("p95 %v s, %d failed", p95, failed)
	}
	if p95, failed := answeredP95(samples[100:]); p95 != 0 || failed != 1 {
		t.Errorf("nothing was answered: p95 %v s, %d failed", p95, failed)
	}
}

func TestBackupSequencesMayBeAheadAndNotBehind(t *testing.T) {
	source := func(first, last, step int64) DatabaseDigest {
		return DatabaseDigest{Sequences: []SequenceDigest{{Name: "s", First: first, Last: last, Step: step}}}
	}
	at := func(n int64) DatabaseDigest { return source(n, n, 1) }
	for _, c := range []struct {
		source DatabaseDigest
		at     int64
		ok     bool
	}{
		{source(10, 12, 1), 9, false}, {source(10, 12, 1), 10, true}, {source(10, 12, 1), 45, true}, {source(10, 12, 1), 46, false},
		{source(-10, -12, -2), -9, false}, {source(-10, -12, -2), -78, true}, {source(-10, -12, -2), -79, false},
	} {
		p := backupCompare(c.source, at(c.at))
		if ok := len(p.Faults) == 0; ok != c.ok {
			t.Errorf("source %+v, copy at %d: %v", c.source.Sequences[0], c.at, p.Faults)
		}
	}
	if p := backupCompare(source(1, 1, 1), DatabaseDigest{}); len(p.Faults) != 1 || !strings.Contains(p.Faults[0].What, "missing") {
		t.Errorf("a missing sequence: %+v", p.Faults)
	}
}
