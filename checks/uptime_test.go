package checks

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
)

var uptimeNoon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func uptimeHour(n, ok, failed int) UptimeHour {
	return UptimeHour{Hour: uptimeNoon.Add(time.Duration(n) * time.Hour), To: 3600, OK: ok, Failed: failed, Prober: ProberDaemon}
}

func pooled(t *testing.T, runs ...[]UptimeHour) UptimePayload {
	t.Helper()
	var payloads [][]byte
	for _, hours := range runs {
		b, err := json.Marshal(uptimeOf(hours))
		if err != nil {
			t.Fatal(err)
		}
		payloads = append(payloads, b)
	}
	b, err := uptimePool(payloads)
	if err != nil {
		t.Fatal(err)
	}
	var p UptimePayload
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	if p.Seconds != p.OK+p.Failed+p.Missed {
		t.Errorf("%d seconds are not %d + %d + %d", p.Seconds, p.OK, p.Failed, p.Missed)
	}
	return p
}

func TestUptimePoolAddsHoursUp(t *testing.T) {
	p := pooled(t, []UptimeHour{uptimeHour(0, 3600, 0)}, []UptimeHour{uptimeHour(1, 3590, 10)})
	if p.Seconds != 7200 || p.OK != 7190 || p.Failed != 10 || len(p.Hours) != 1 {
		t.Errorf("%+v", p)
	}
}

func TestUptimePoolCountsGapsAsDown(t *testing.T) {
	p := pooled(t, []UptimeHour{uptimeHour(0, 3600, 0)}, []UptimeHour{uptimeHour(3, 3600, 0)})
	if p.Seconds != 4*3600 || p.Missed != 2*3600 {
		t.Errorf("%+v", p)
	}
}

func TestUptimePoolForgetsNoFailureOfAnHour(t *testing.T) {
	early := uptimeHour(0, 1000, 100)
	early.To = 1100
	p := pooled(t, []UptimeHour{early}, []UptimeHour{uptimeHour(0, 3600, 0)}, []UptimeHour{uptimeHour(0, 3600, 0)})
	if p.Seconds != 3600 || p.Failed != 100 || p.OK != 3500 {
		t.Errorf("%+v", p)
	}
}

func TestUptimeOutsideProberCoversGaps(t *testing.T) {
	outside := uptimeHour(0, 3500, 0)
	outside.Prober = ProberOutside
	p := pooled(t, []UptimeHour{uptimeHour(0, 3000, 20)}, []UptimeHour{outside})
	if p.OK != 3500 || p.Failed != 20 || p.Missed != 80 || p.OutsideHours != 1 {
		t.Errorf("%+v", p)
	}
}

func TestUptimeLooksAtThirtyDays(t *testing.T) {
	p := pooled(t, []UptimeHour{uptimeHour(-24*31, 0, 3600)}, []UptimeHour{uptimeHour(-24*30+1, 3600, 0)}, []UptimeHour{uptimeHour(0, 3600, 0)})
	if p.Failed != 0 || p.Seconds != 30*24*3600 || p.OK != 7200 {
		t.Errorf("%+v", p)
	}
}

func TestUptimeRefusesHoursThatHoldTooMuch(t *testing.T) {
	for _, spoil := range []func(*UptimeHour){
		func(h *UptimeHour) { h.OK = 3601 },
		func(h *UptimeHour) { h.Failed = -1 },
		func(h *UptimeHour) { h.To = 7200 },
		func(h *UptimeHour) { h.Hour = h.Hour.Add(time.Minute) },
		func(h *UptimeHour) { h.Prober = "somebody" },
	} {
		h := uptimeHour(0, 3600, 0)
		spoil(&h)
		b, _ := json.Marshal(UptimePayload{Hours: []UptimeHour{h}})
		if _, err := uptimePool([][]byte{b}); err == nil {
			t.Errorf("%+v was taken", h)
		}
	}
	if _, err := uptimePool([][]byte{[]byte(`{}`)}); err == nil {
		t.Error("nothing was taken for something")
	}
}

// keeper has hours.
type keeper []UptimeHour

func (k keeper) Hours(context.Context) ([]UptimeHour, error) { return k, nil }

func TestUptimeMeasuresWhatIsOnRecord(t *testing.T) {
	in := Input{Environment: &environments.Environment{Name: "production"}}
	for name, c := range map[string]struct {
		target any
		want   Status
	}{
		"nobody looks":         {nil, Unavailable},
		"a second":             {keeper{{Hour: uptimeNoon, From: 5, To: 6, OK: 1, Prober: ProberDaemon}}, Completed},
		"more than fits":       {keeper{uptimeHour(0, 3601, 0)}, Invalid},
		"no second was ok yet": {keeper{{Hour: uptimeNoon, From: 5, To: 6, Failed: 1, Prober: ProberDaemon}}, Completed},
	} {
		in.Target = c.target
		m, err := Uptime().Measure(t.Context(), in)
		if err != nil || m.Status != c.want {
			t.Errorf("%s: %s %s, %v", name, m.Status, m.Reason, err)
		}
	}
}
