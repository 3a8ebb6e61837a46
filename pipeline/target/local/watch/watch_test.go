package watch

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// second counts one in that ended right or not.
func second(m *Meter, mono time.Duration, wall time.Time, ok bool) {
	m.End(m.Begin(mono, wall), ok)
}

func meter(t *testing.T) *Meter {
	t.Helper()
	m, err := OpenMeter(filepath.Join(t.TempDir(), "hours.json"), checks.ProberDaemon)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAnHourHoldsItsSeconds(t *testing.T) {
	m := meter(t)
	for i := range 7200 {
		second(m, time.Duration(i)*time.Second, noon.Add(time.Duration(i)*time.Second), i%1000 != 0)
	}
	h := m.Hours()
	if len(h) != 2 || h[0].OK != 3596 || h[0].Failed != 4 || h[0].From != 0 || h[0].To != 3600 || !h[0].Sound() || h[1].OK != 3596 {
		t.Errorf("%+v", h)
	}
	if n := m.Failed(60); n != 4 {
		t.Errorf("%d failed in the last hour", n)
	}
}

func TestAGapIsMissed(t *testing.T) {
	m := meter(t)
	for i := range 3600 {
		if i >= 100 && i < 400 {
			continue
		}
		second(m, time.Duration(i)*time.Second, noon.Add(time.Duration(i)*time.Second), true)
	}
	h := m.Hours()[0]
	if h.OK != 3300 || h.To-h.From != 3600 || h.Failed != 0 {
		t.Errorf("%+v", h)
	}
}

func TestAClockThatIsSetFakesNoUptime(t *testing.T) {
	m := meter(t)
	at := noon
	for i := range 1800 {
		second(m, time.Duration(i)*time.Second, at.Add(time.Duration(i)*time.Second), true)
	}
	back := -25 * time.Minute // the same minutes once more
	for i := 1800; i < 3300; i++ {
		second(m, time.Duration(i)*time.Second, at.Add(time.Duration(i)*time.Second+back), true)
	}
	h := m.Hours()
	if len(h) != 1 || h[0].OK > h[0].To-h[0].From || h[0].To > 1801 || h[0].Steps != 1 || !h[0].Sound() {
		t.Errorf("set back: %+v", h)
	}
	ahead := 5 * time.Hour // hours that never were
	for i := 3300; i < 3400; i++ {
		second(m, time.Duration(i)*time.Second, at.Add(time.Duration(i)*time.Second+ahead), true)
	}
	h = m.Hours()
	if len(h) != 2 || h[1].OK != 100 || h[1].Steps != 1 {
		t.Errorf("set ahead: %+v", h)
	}
}

func TestBooksOutliveTheProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hours.json")
	m, err := OpenMeter(file, checks.ProberDaemon)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		second(m, time.Duration(i)*time.Second, noon.Add(time.Duration(i)*time.Second), i != 50)
	}
	if err := m.Save(); err != nil {
		t.Fatal(err)
	}
	if m, err = OpenMeter(file, checks.ProberDaemon); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		second(m, time.Duration(i)*time.Second, noon.Add(time.Duration(i+200)*time.Second), true)
	}
	h := m.Hours()
	if len(h) != 1 || h[0].OK != 199 || h[0].Failed != 1 || h[0].To-h[0].From != 300 {
		t.Errorf("%+v", h)
	}
	if m.Failed(60) != 1 {
		t.Error("the minutes are lost")
	}
	full := m.Full(noon.Add(2 * time.Hour))
	if len(full) != 1 || len(m.Full(noon.Add(30*time.Minute))) != 0 {
		t.Errorf("full %+v", full)
	}
	if m.Done(full); len(m.Hours()) != 0 {
		t.Error("what is recorded is kept")
	}
}

// looks has the rules look once a second from start, and collects changes.
func looks(r *Rules, start time.Time, n int, at func(i int, l *Look)) (out []string) {
	for i := range n {
		l := Look{At: start.Add(time.Duration(i) * time.Second), Wall: start.Add(time.Duration(i) * time.Second), Serving: true, Probed: true, Ready: 2, Want: 2}
		at(i, &l)
		for _, c := range r.Look(l) {
			word := "ended "
			if c.Fires {
				word = "fires "
			}
			out = append(out, word+c.Fingerprint)
		}
	}
	return out
}

func TestRules(t *testing.T) {
	for name, c := range map[string]struct {
		seconds int
		look    func(i int, l *Look)
		want    string
	}{
		"all is well":                {60, func(int, *Look) {}, ""},
		"two failed probes":          {60, func(i int, l *Look) { l.Failure = map[bool]string{true: "no"}[i == 5 || i == 6] }, ""},
		"three failed probes":        {60, func(i int, l *Look) { l.Failure = map[bool]string{true: "no"}[i >= 5 && i < 8] }, "fires unavailable, ended unavailable"},
		"it flaps":                   {12, func(i int, l *Look) { l.Failure = map[bool]string{true: "no"}[i%2 == 0] }, ""},
		"errors of clients":          {60, func(i int, l *Look) { l.Requests, l.Errors = int64(10*i), int64(i) }, "fires errors"},
		"few errors":                 {60, func(i int, l *Look) { l.Requests, l.Errors = int64(100*i), int64(i) }, ""},
		"counted anew":               {10, func(i int, l *Look) { l.Requests, l.Errors = int64(1000-100*i), int64(10-i) }, ""},
		"a fast burn":                {1, func(_ int, l *Look) { l.Burn = Burn{M5: 5, H1: 52} }, "fires burn-fast"},
		"fast, but over already":     {1, func(_ int, l *Look) { l.Burn = Burn{M5: 0, H1: 100} }, ""},
		"at the limit of a burn":     {1, func(_ int, l *Look) { l.Burn = Burn{M5: 4, H1: 51} }, ""},
		"a slow burn":                {1, func(_ int, l *Look) { l.Burn = Burn{M30: 11, H6: 130} }, "fires burn-slow"},
		"an instance short, briefly": {29, func(_ int, l *Look) { l.Ready = 1 }, ""},
		"an instance short":          {32, func(_ int, l *Look) { l.Ready = 1 }, "fires instances"},
		"nothing is to serve":        {40, func(_ int, l *Look) { l.Serving, l.Ready, l.Failure = false, 0, "no" }, ""},
		"a restart loop":             {60, func(i int, l *Look) { l.Restarts = i / 5 }, "fires restarts"},
		"four restarts":              {60, func(i int, l *Look) { l.Restarts = min(i/5, 4) }, ""},
		"restarts long ago":          {2, func(_ int, l *Look) { l.Restarts = 50 }, ""},
		"no database":                {20, func(i int, l *Look) { l.Database = map[bool]string{true: "gone"}[i < 10] }, "fires database, ended database"},
		"a certificate that ends":    {2, func(_ int, l *Look) { l.NotAfter = l.Wall.Add(13 * 24 * time.Hour) }, "fires certificate"},
		"a certificate":              {2, func(_ int, l *Look) { l.NotAfter = l.Wall.Add(15 * 24 * time.Hour) }, ""},
		"a full disk":                {2, func(_ int, l *Look) { l.Disks = []DiskUse{{"/x", 96, 100, time.Hour}} }, "fires disk:/x"},
		"no backup yet":              {2, func(_ int, l *Look) { l.Backup = &Backup{} }, ""},
		"an old backup":              {2, func(_ int, l *Look) { l.Backup = &Backup{Newest: l.Wall.Add(-2 * time.Hour), MaxAge: time.Hour} }, "fires backup"},
		"a backup that failed":       {2, func(_ int, l *Look) { l.Backup = &Backup{Newest: l.Wall, MaxAge: time.Hour, Problem: "slot lost"} }, "fires backup"},
		"a backup":                   {2, func(_ int, l *Look) { l.Backup = &Backup{Newest: l.Wall, MaxAge: time.Hour} }, ""},
		"mails don't arrive":         {2, func(_ int, l *Look) { l.Routes = map[string]time.Time{"smtp": l.Wall.Add(-time.Hour), "webhook": {}} }, "fires route:smtp"},
		"no heartbeat":               {2, func(_ int, l *Look) { l.Beat = time.Hour }, "fires heartbeat"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(looks(NewRules(nil), noon, c.seconds, c.look), ", "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestEveryAlertIsKnown(t *testing.T) {
	r := NewRules(nil)
	for _, c := range r.conditions(Look{At: noon, Wall: noon, Serving: true, Failure: "x", NotAfter: noon, Disks: []DiskUse{{Path: "/"}}, Backup: &Backup{}, Routes: map[string]time.Time{"smtp": {}}}) {
		if _, ok := checks.AlertNamed(c.alert); !ok {
			t.Errorf("%s is raised and not listed, so nobody knows that it needs a runbook", c.alert)
		}
	}
}

func TestARampIsWarnedOfLongBeforeItEnds(t *testing.T) {
	r := NewRules(nil)
	const limit = 100_000
	used := func(i int) uint64 { return uint64(1000 + 10*i) }
	got := looks(r, noon, 900, func(i int, l *Look) { l.Disks = []DiskUse{{"/data", used(i), limit, 10 * time.Minute}} })
	if strings.Join(got, ", ") != "fires disk:/data" {
		t.Fatalf("%v", got)
	}
	left, rises := r.ramps["/data"].full(limit, 10*time.Minute)
	want := float64(limit-used(899)) / 10
	if !rises || left.Seconds() < want*0.95 || left.Seconds() > want*1.05 {
		t.Errorf("full in %s, want about %v s", left, want)
	}
	once := func(i int, l *Look) {
		l.Disks = []DiskUse{{"/data", 1000 + uint64(30000*min(i/300, 1)), limit, 10 * time.Minute}}
	}
	if got := looks(NewRules(nil), noon, 1500, once); len(got) > 0 && got[len(got)-1] == "fires disk:/data" {
		t.Errorf("one big file is a ramp for good: %v", got)
	}
}

func TestWhatFiredGoesOnAfterARestart(t *testing.T) {
	r := NewRules([]string{"unavailable"})
	got := looks(r, noon, 5, func(i int, l *Look) { l.Failure = map[bool]string{true: "no"}[i < 2] })
	if strings.Join(got, ", ") != "ended unavailable" {
		t.Errorf("%v", got)
	}
}
