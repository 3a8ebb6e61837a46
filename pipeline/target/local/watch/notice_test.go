package watch

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/checks"
)

func TestNotices(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := NewRules([]string{"drift"})
	look := func(known bool, all ...Notice) (out []Change) {
		at = at.Add(time.Second)
		for _, c := range r.Look(Look{At: at, Wall: at, Noticed: known, Notices: all}) {
			out = append(out, Change{Fingerprint: c.Fingerprint, Fires: c.Fires, Alert: c.Alert})
		}
		return out
	}
	override := Notice{Alert: "override", Detail: "a:b", Summary: "x"}
	for i, step := range []struct {
		got, want []Change
	}{
		{look(false), nil}, // what is not known ends nothing
		{look(true, override, override, Notice{Alert: "unavailable"}), []Change{{Alert: "override", Fingerprint: "override:a:b", Fires: true}, {Alert: "drift", Fingerprint: "drift"}}},
		{look(true, override), nil},
		{look(false), nil},
		{look(true, override, Notice{Alert: "degraded"}), []Change{{Alert: "degraded", Fingerprint: "degraded", Fires: true}}},
		{look(true), []Change{{Alert: "degraded", Fingerprint: "degraded"}, {Alert: "override", Fingerprint: "override:a:b"}}},
		{look(true), nil},
	} {
		if d := cmp.Diff(step.want, step.got); d != "" {
			t.Errorf("look %d: %s", i, d)
		}
	}
	for _, name := range Noticeable {
		if _, ok := checks.AlertNamed(name); !ok {
			t.Errorf("%s has no runbook", name)
		}
	}
}
