package promotion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/environments"
	"github.com/smartcloudops/gate/pipeline/ledger"
	"github.com/smartcloudops/gate/pipeline/target"
	"github.com/smartcloudops/gate/policies"
)

func ptr(v float64) *float64 { return &v }

// withInputs declares them for the canary of production.
func withInputs(in environments.Inputs, limit time.Duration) func(*ReleaseRecord) {
	return func(r *ReleaseRecord) {
		c := r.Declarations.Environment("production").Promotion.Canary
		c.Inputs, c.Limit = &in, environments.Duration(limit)
	}
}

// inspected is a fake that tells what its instances use.
type inspected struct {
	*fake
	usage func(looks int) ([]target.Usage, error)
	looks int
}

func (i *inspected) Inspect(context.Context) ([]target.Usage, error) {
	i.looks++
	return i.usage(i.looks)
}

func using(baseline, canary target.Usage) func(int) ([]target.Usage, error) {
	return func(looks int) ([]target.Usage, error) {
		baseline.Arm, baseline.Instance, baseline.PID = "baseline", "1", 11
		canary.Arm, canary.Instance, canary.PID = "canary", "2", 12
		b, c := baseline, canary
		b.CPU, c.CPU = time.Duration(looks)*b.CPU, time.Duration(looks)*c.CPU
		return []target.Usage{b, c}, nil
	}
}

// TestInputsDecide: what is declared beside the requests can fail a canary, and
// what can't be measured keeps it from passing.
func TestInputsDecide(t *testing.T) {
	mib := int64(1 << 20)
	like := target.Usage{CPU: time.Millisecond, Memory: 100 * mib, Lines: 50, Errors: 1}
	saturation := environments.Inputs{Saturation: &environments.Saturation{MaxCPURatio: 1.5, MaxMemoryRatio: 1.5}}
	logs := environments.Inputs{ErrorLogs: &environments.ErrorLogs{MaxRatio: 2}}
	command := func(max *float64, run ...string) environments.Inputs {
		return environments.Inputs{Command: []environments.Measuring{{Name: "orders", Run: run, Max: max, Timeout: environments.Duration(2 * time.Second)}}}
	}
	for name, c := range map[string]struct {
		in    environments.Inputs
		usage func(int) ([]target.Usage, error)
		state State
		why   string
	}{
		"as much memory":      {saturation, using(like, like), Succeeded, ""},
		"much memory":         {saturation, using(like, target.Usage{CPU: time.Millisecond, Memory: 167 * mib}), RolledBack, "saturation.memory: 175112192, at most 174063616 beside 104857600 of the baseline"},
		"much of a processor": {saturation, using(like, target.Usage{CPU: time.Second, Memory: 100 * mib}), RolledBack, "saturation.cpu: "},
		"an instance is away": {saturation, func(int) ([]target.Usage, error) {
			return []target.Usage{{Arm: "canary", Instance: "2"}}, nil
		}, Aborted, "saturation.memory: instance 2 does not run"},
		"no baseline":     {saturation, func(int) ([]target.Usage, error) { return []target.Usage{{Arm: "canary", Instance: "2", PID: 1}}, nil }, Aborted, "no instances of both arms"},
		"not inspectable": {saturation, func(int) ([]target.Usage, error) { return nil, errors.New("no /proc") }, Aborted, "saturation.cpu: no /proc"},
		"always replaced": {saturation, func(n int) ([]target.Usage, error) {
			return []target.Usage{{Arm: "baseline", Instance: "1", PID: n, Memory: mib}, {Arm: "canary", Instance: "2", PID: 1, Memory: mib}}, nil
		}, Aborted, "saturation.cpu: it is not looked at for long enough yet"},
		"as many errors":     {logs, using(like, like), Succeeded, ""},
		"many errors":        {logs, using(like, target.Usage{Lines: 100, Errors: 99}), RolledBack, "error_logs: 33, at most 10.67 beside 0.33 of the baseline"},
		"a silent log":       {logs, using(like, target.Usage{}), Aborted, "error_logs: the log of one arm holds no line"},
		"a number":           {command(ptr(7), "/bin/echo", `{"value": 7}`), nil, Succeeded, ""},
		"too great a number": {command(ptr(7), "/bin/echo", `{"value": 7.5}`), nil, RolledBack, "command.orders: 7.5, at most 7"},
		"no number":          {command(ptr(7), "/bin/echo", `{"valeu": 7}`), nil, Aborted, `command.orders: the last line that /bin/echo prints is not {"value": NUMBER}`},
		"a status":           {command(nil, "/bin/sh", "-c", "exit 0"), nil, Succeeded, ""},
		"a bad status":       {command(nil, "/bin/sh", "-c", "exit 3"), nil, RolledBack, "command.orders: 3, at most 0"},
		"a number, and a bad status": {command(ptr(7), "/bin/sh", "-c", `echo '{"value": 7}'; echo no db >&2; exit 3`), nil,
			Aborted, "command.orders: /bin/sh ended with exit status 3: no db"},
		"no program": {command(nil, "/bin/nothing-there"), nil, Aborted, "command.orders: /bin/nothing-there can't be run"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.serves('a')
			limit := 20 * time.Second
			if c.state == Aborted {
				limit = 300 * time.Millisecond
			}
			s.release(releaseRecord('b', withInputs(c.in, limit)))
			s.target.samples[digest('a')], s.target.samples[digest('b')] = [2]int64{3000, 0}, [2]int64{3000, 0}
			s.engine.inputsEvery = 20 * time.Millisecond
			if c.usage != nil {
				s.engine.Target = &inspected{fake: s.target, usage: c.usage}
			}
			got := s.promote('b')
			if got.State != c.state || !strings.Contains(got.Why, c.why) {
				t.Errorf("%s: %s; want %s, %q", got.State, got.Why, c.state, c.why)
			}
		})
	}
}

// TestAHungInputHoldsNothingUp: a program that never ends keeps a canary from
// passing, and nobody from giving the traffic back.
func TestAHungInputHoldsNothingUp(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b', withInputs(environments.Inputs{Command: []environments.Measuring{{
		Name: "hangs", Run: []string{"/bin/sleep", "60"}, Timeout: environments.Duration(20 * time.Second),
	}}}, time.Minute)))
	s.target.samples[digest('b')] = [2]int64{3000, 1500}
	begun := time.Now()
	got := s.promote('b')
	if got.State != RolledBack || time.Since(begun) > 15*time.Second {
		t.Errorf("%s after %s: %s", got.State, time.Since(begun), got.Why)
	}
}

// TestWhatPrometheusAnswers: one finite number is data, and nothing else is.
func TestWhatPrometheusAnswers(t *testing.T) {
	vector := func(values ...string) string {
		var all []string
		for _, v := range values {
			all = append(all, `{"metric":{},"value":[1,`+v+`]}`)
		}
		return `{"status":"success","data":{"resultType":"vector","result":[` + strings.Join(all, ",") + `]}}`
	}
	for name, c := range map[string]struct {
		status int
		answer string
		value  float64
		why    string
	}{
		"a number":        {200, vector(`"7.5"`), 7.5, ""},
		"a scalar":        {200, `{"status":"success","data":{"resultType":"scalar","result":[1,"-3"]}}`, -3, ""},
		"nothing":         {200, vector(), 0, "the answer has 0 series, not one"},
		"two series":      {200, vector(`"1"`, `"2"`), 0, "the answer has 2 series, not one"},
		"no number":       {200, vector(`"NaN"`), 0, "not a number that can be believed"},
		"infinite":        {200, vector(`"+Inf"`), 0, "not a number that can be believed"},
		"beyond belief":   {200, vector(`"1e13"`), 0, "not a number that can be believed"},
		"another type":    {200, vector(`7`), 0, "the answer holds no number"},
		"a histogram":     {200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}`, 0, "the answer holds no number"},
		"a matrix":        {200, `{"status":"success","data":{"resultType":"matrix","result":[]}}`, 0, `the answer is a "matrix"`},
		"half of it":      {200, `{"status":"success","warnings":["a store is away"],"data":{"resultType":"scalar","result":[1,"1"]}}`, 0, "may not be whole: a store is away"},
		"a mistake in it": {400, `{"status":"error","error":"parse error"}`, 0, "answered 400: parse error"},
		"another server":  {200, `<html>`, 0, "answered 200, and nothing that can be read"},
		"elsewhere":       {302, vector(`"7"`), 0, "answered 302"},
		"hangs":           {0, "", 0, "it was not answered in time"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm() // what is left unread hides that the client has gone
				if c.status == 0 {
					<-r.Context().Done()
					return
				}
				if got := r.FormValue("query"); got != "sum(x{release=\""+digest('b')+"\",was=\""+digest('a')+"\",env=\"production\"})" || r.URL.Path != "/prom/api/v1/query" || r.FormValue("time") == "" {
					t.Errorf("asked %s for %s", r.URL, got)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.answer)
			}))
			defer server.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			q := environments.Prometheus{Name: "x", URL: server.URL + "/prom", Query: `sum(x{release="${RELEASE}",was="${STABLE}",env="${ENVIRONMENT}"})`}
			in := queried(ctx, q, map[string]string{"RELEASE": digest('b'), "STABLE": digest('a'), "ENVIRONMENT": "production"}, time.Now())
			if in.Name != "prometheus.x" || in.Known != (c.why == "") || in.Value != c.value || !strings.Contains(in.Reason, c.why) {
				t.Errorf("%+v, want %v, %q", in, c.value, c.why)
			}
		})
	}
}

// TestInputsOfTheBase: a change can't say what is not looked at, nor for what.
func TestInputsOfTheBase(t *testing.T) {
	t.Parallel()
	j, r := newJudge(t), releaseRecord('a')
	j.Base = declared()
	query := environments.Prometheus{Name: "queue", URL: "http://p", Query: "q", Max: ptr(10)}
	j.Base.Environment("production").Promotion.Canary.Inputs = &environments.Inputs{Prometheus: []environments.Prometheus{query}}
	own := query
	own.Max = ptr(1000)
	for name, in := range map[string]*environments.Inputs{"none": nil, "a higher bound": {Prometheus: []environments.Prometheus{own}}} {
		r.Declarations.Environment("production").Promotion.Canary.Inputs = in
		judged := func(inputs ...Input) policies.Verdict {
			t.Helper()
			d, err := j.Compare(t.Context(), r, "production", compared(t, j, r, 3000, 0, 1, func(c *Comparison) { c.Inputs, c.Baseline = inputs, c.Stable }))
			must(t, err)
			return d.Decision.Verdict
		}
		got := Input{Name: "prometheus.queue", Kind: "prometheus", Known: true, Value: 10, At: time.Now().UTC()}
		if v := judged(got); v != policies.Pass {
			t.Errorf("%s, at the bound: %s", name, v)
		}
		if v := judged(); v != policies.Inconclusive {
			t.Errorf("%s, not measured: %s", name, v)
		}
		got.Value = 11
		if v := judged(got); v != policies.Fail {
			t.Errorf("%s, beyond the bound: %s", name, v)
		}
		if c := j.inputs(r, "production"); *c.Inputs.Prometheus[0].Max != 10 {
			t.Errorf("%s: %+v is measured", name, c.Inputs)
		}
	}
	// What serves already is watched for what fails it, and nothing else.
	c := compared(t, j, r, 3000, 0, 1, func(c *Comparison) { c.Whole, c.Figures, c.watched = true, nil, true })
	d, err := j.Compare(t.Context(), r, "production", c)
	if must(t, err); strings.Contains(Unmet(d.Decision), "queue") {
		t.Error(Unmet(d.Decision))
	}
}

// TestInputsAreOnRecord: the decision holds what was measured, and what for.
func TestInputsAreOnRecord(t *testing.T) {
	s := newStage(t)
	s.serves('a')
	s.release(releaseRecord('b', withInputs(environments.Inputs{Command: []environments.Measuring{{Name: "orders", Run: []string{"/bin/echo", `{"value": 3}`}, Max: ptr(7)}}}, 20*time.Second)))
	got := s.promote('b')
	s.expect(got, Succeeded, CodePass)
	records, err := s.ledger.Entries(t.Context(), 0)
	must(t, err)
	if !slices.ContainsFunc(records, func(r ledger.Record) bool {
		return strings.Contains(string(r.Statement.Predicate), `"inputs":[{"name":"command.orders","kind":"command","known":true,"reason":"","value":3,`) &&
			json.Valid(r.Statement.Predicate) && strings.Contains(string(r.Statement.Predicate), "command.orders 3")
	}) {
		t.Error("no decision says what was measured")
	}
}

// TestHopelessComparisonsEndAtOnce: what can't be told any more is not waited for.
func TestHopelessComparisonsEndAtOnce(t *testing.T) {
	long := func(r *ReleaseRecord) {
		r.Declarations.Environment("production").Promotion.Canary.Limit = environments.Duration(time.Minute)
	}
	t.Run("requests are lost", func(t *testing.T) {
		s := newStage(t)
		s.serves('a')
		s.release(releaseRecord('b', long))
		s.target.keep = 10
		got := s.promote('b')
		if got.State != Aborted || !strings.Contains(got.Why, "requests lost") || strings.Contains(got.Why, "after 1m") {
			t.Errorf("%s: %s", got.State, got.Why)
		}
	})
	t.Run("it can't be judged", func(t *testing.T) {
		s := newStage(t)
		s.serves('a')
		s.release(releaseRecord('b', long))
		s.compared(func(int, target.Arms) policies.Verdict { return policies.Error })
		if got := s.promote('b'); got.State != Errored {
			t.Errorf("%s: %s", got.State, got.Why)
		}
	})
}
