package local

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/environments"
)

// alerted is a place that is watched and serves.
func alerted(t *testing.T, alerts *environments.Alerts) *place {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED under -short: a real fault in a real environment. Without it nothing here shows that anybody is told of one")
	}
	p := newPlaceWith(t, func(o *Options) { o.Declared.Alerts = alerts }, "one")
	p.must(p.Complete(t.Context(), 1, p.rev("one")))
	p.must(p.Retire(t.Context(), 1))
	return p
}

// drill measures alerting through the admin socket, as gate verify does.
func (p *place) drill(target any, fault time.Duration) checks.Measurement {
	p.t.Helper()
	in := checks.Input{
		Declarations: &environments.Declarations{App: &environments.App{Name: "hello", Alerting: environments.Alerting{
			Fault: environments.Duration(fault), Ramp: environments.Duration(5 * time.Second),
		}}},
		Environment: p.opt.Declared, Target: target,
	}
	m, err := checks.Alerting().Measure(p.t.Context(), in)
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

func (p *place) payload(m checks.Measurement) checks.AlertingPayload {
	p.t.Helper()
	if m.Status != checks.Completed {
		p.t.Fatalf("%s: %s", m.Status, m.Reason)
	}
	return m.Payload.(checks.AlertingPayload)
}

func TestAFaultIsHeardOfAndItsEndToo(t *testing.T) {
	t.Parallel()
	p := alerted(t, &environments.Alerts{Local: true})
	a := p.payload(p.drill(NewClient(p.opt.Paths), 30*time.Second))
	if a.Receipt <= 0 || a.Receipt > 30 || a.Recovery < 0 || !a.Restored || a.Queued != 0 {
		t.Errorf("told %v, recovered %v: %+v", a.Receipt, a.Recovery, a)
	}
	if !a.LocalOnly || len(a.Routes) != 1 || a.Routes[0].Proof != checks.ProofArrived || !strings.Contains(a.Routes[0].Said, "@gate>") {
		t.Errorf("routes %+v", a.Routes)
	}
	if a.Lead <= 1 || a.Lead >= 5 {
		t.Errorf("the warning came %v s before the folder was full", a.Lead)
	}
	if !a.Heartbeat || a.Beats == 0 {
		t.Errorf("heartbeats %v %d", a.Heartbeat, a.Beats)
	}
	if strings.Join(a.Fired, " ") != "disk unavailable" {
		t.Errorf("fired %v", a.Fired)
	}
	p.answers(4)
	if b, err := os.ReadFile(p.opt.Paths.AlertFile()); err != nil || strings.Count(string(b), `"alert":"unavailable"`) != 2 {
		t.Errorf("the file of alerts: %v\n%s", err, b)
	}
	if _, err := os.Stat(p.opt.Paths.dir("exercise")); err == nil {
		if left, _ := os.ReadDir(p.opt.Paths.dir("exercise")); len(left) > 0 {
			t.Errorf("the exercise leaves %v", left)
		}
	}
	res := httptest.NewRecorder()
	p.watching.watcher.Metrics().ServeHTTP(res, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{`gate_probe_up{app="hello",environment="staging"} 1`, `gate_alert_firing{alert="unavailable",app="hello",environment="staging",severity="page"} 0`, "gate_disk_used_bytes{"} {
		if res.Code != http.StatusOK || !strings.Contains(res.Body.String(), want) {
			t.Errorf("metrics answer %d without %s:\n%s", res.Code, want, res.Body)
		}
	}
}

// diverted lets the daemon send its mails elsewhere than the drill listens.
type diverted struct {
	*Client
	mail string
}

func (d diverted) Alarm(ctx context.Context, e checks.Exercise) error {
	e.Mail = d.mail
	return d.Client.Alarm(ctx, e)
}

func TestARouteThatSwallowsMailIsSeen(t *testing.T) {
	t.Parallel()
	p := alerted(t, &environments.Alerts{Local: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	p.must(err)
	swallows := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return hole{}, nil }))
	swallows.Domain = "localhost"
	var ended sync.WaitGroup
	ended.Go(func() { _ = swallows.Serve(l) })
	defer ended.Wait()
	defer swallows.Close()
	a := p.payload(p.drill(diverted{NewClient(p.opt.Paths), l.Addr().String()}, 7*time.Second))
	if a.Receipt != -1 || a.Routes[0].Receipt != -1 || a.Lead != -1 {
		t.Errorf("nothing arrived, and the drill says %+v", a)
	}
	if !a.Restored {
		t.Error("the fault was not ended")
	}
	p.answers(4)
}

func TestAFaultEndsWithoutWhoeverAskedForIt(t *testing.T) {
	t.Parallel()
	p := alerted(t, &environments.Alerts{Local: true})
	p.must(p.Alarm(t.Context(), checks.Exercise{ID: "left", Fault: true, Limit: 500 * time.Millisecond}))
	if err := p.Alarm(t.Context(), checks.Exercise{ID: "second", Fault: true, Limit: time.Second}); err == nil {
		t.Error("two exercises at once")
	}
	p.answers(4) // waits for an answer, which comes once the fault has ended
	w, err := p.Watch(t.Context())
	if err != nil || w.Exercise != "" {
		t.Errorf("the exercise goes on: %+v, %v", w, err)
	}
	p.must(p.Alarm(t.Context(), checks.Exercise{ID: "again", Fault: true, Limit: time.Minute}))
	p.leave() // as the daemon ends
	p.open()
	p.answers(4)
	for _, e := range []checks.Exercise{{ID: "x", Limit: time.Hour}, {Limit: time.Second}, {ID: "x", Limit: time.Second, Mail: "192.0.2.1:25"}, {ID: "x", Limit: time.Second, Beat: "http://192.0.2.1/"}} {
		if err := p.Alarm(t.Context(), e); err == nil {
			t.Errorf("took %+v", e)
		}
	}
}

func TestWhereNobodyIsToldThereIsNoEvidence(t *testing.T) {
	t.Parallel()
	p := alerted(t, nil)
	if m := p.drill(NewClient(p.opt.Paths), time.Second); m.Status != checks.Unavailable || !strings.Contains(m.Reason, "nobody is told") {
		t.Errorf("%+v", m)
	}
}

// unwatched says that the watch looked long ago.
type unwatched struct{ *Client }

func (u unwatched) Watch(ctx context.Context) (checks.Watch, error) {
	w, err := u.Client.Watch(ctx)
	w.Looked = w.Looked.Add(-time.Minute)
	return w, err
}

func TestAWatchThatIsOffIsNoMeter(t *testing.T) {
	t.Parallel()
	p := alerted(t, &environments.Alerts{Local: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if m := p.drill(unwatched{NewClient(p.opt.Paths)}, time.Second); m.Status != checks.Invalid || !strings.Contains(m.Reason, "does not look") {
		t.Errorf("%+v, %v", m, ctx.Err())
	}
}

func TestATestAlarmGoesByEveryRouteWherePeopleAre(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	got := map[string][]map[string]any{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var v map[string]any
		_ = json.NewDecoder(r.Body).Decode(&v)
		mu.Lock()
		got[r.URL.Path] = append(got[r.URL.Path], v)
		mu.Unlock()
		w.Header().Set("X-Request-Id", "r1")
	}))
	defer srv.Close()
	hook := func(path string) *environments.Webhook { return &environments.Webhook{URL: srv.URL + path} }
	p := alerted(t, &environments.Alerts{Webhook: hook("/alert"), Incident: hook("/incident"), Heartbeat: hook("/beat")})
	p.opt.Declared.Promotion.From = "elsewhere"
	if err := p.Alarm(t.Context(), checks.Exercise{ID: "f", Fault: true, Limit: time.Second}); err == nil {
		t.Error("a fault was made where people are")
	}
	a := p.payload(p.drill(NewClient(p.opt.Paths), 10*time.Second))
	if a.Mode != "test" || a.Receipt < 0 || a.Recovery < 0 || a.LocalOnly || a.Ramp != 0 || !a.Heartbeat || a.Beats == 0 {
		t.Errorf("%+v", a)
	}
	for _, r := range a.Routes {
		if r.Proof != checks.ProofAccepted || r.Said != "HTTP 200 OK, request r1" {
			t.Errorf("%+v", r)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(got["/alert"]) != 2 || len(got["/incident"]) != 2 || got["/incident"][0]["incident_id"] != got["/incident"][1]["incident_id"] || got["/incident"][1]["action"] != "resolve" {
		t.Errorf("arrived %v", got)
	}
}

// hole takes every mail and keeps none.
type hole struct{}

func (hole) Mail(string, *smtp.MailOptions) error { return nil }
func (hole) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (hole) Data(r io.Reader) error               { _, err := io.Copy(io.Discard, r); return err }
func (hole) Reset()                               {}
func (hole) Logout() error                        { return nil }
