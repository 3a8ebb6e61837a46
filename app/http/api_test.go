package httpapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/app/internal/pgtest"
)

const one = `{"samples":[{"source":"host-1","metric":"cpu","time":"2026-01-02T03:04:05.678901Z","value":1.5}]}`

func TestIngestAndQuery(t *testing.T) {
	s := newService(t)
	for range 2 { // a repeat is accepted and changes nothing
		if a := s.post(t, one); a.status != 200 || a.body != "{\"accepted\":1}\n" {
			t.Fatalf("got %d %s", a.status, a.body)
		}
	}
	a := s.do(t, "GET", "/api/v1/metrics?source=host-1&metric=cpu&from=2026-01-02T03:04:05Z&to=2026-01-02T03:04:06Z&limit=5", "")
	if a.status != 200 || a.body != one+"\n" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %s, want what was sent: %s", a.status, a.body, one)
	}
	if a := s.do(t, "GET", "/api/v1/metrics?source=other&metric=", ""); a.status != 200 || a.body != "{\"samples\":[]}\n" {
		t.Errorf("got %d %s, want an empty list", a.status, a.body)
	}
	if n := pgtest.Value[int](t, s.db.App, `SELECT count(*) FROM metric_samples`); n != 1 {
		t.Errorf("%d samples stored, want 1", n)
	}
}

func TestQueryLimit(t *testing.T) {
	s := newService(t)
	var samples []string
	for i := range 7 {
		samples = append(samples, fmt.Sprintf(`{"source":"a","metric":"m","time":"2026-01-02T03:04:0%dZ","value":%d}`, i, i))
	}
	if a := s.post(t, `{"samples":[`+strings.Join(samples, ",")+`]}`); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	for query, want := range map[string]int{"": 5, "?limit=": 5, "?limit=2": 2} {
		if a := s.do(t, "GET", "/api/v1/metrics"+query, ""); strings.Count(a.body, `"value"`) != want {
			t.Errorf("%q returned %s, want the %d samples", query, a.body, want)
		}
	}
}

func TestBadQueries(t *testing.T) {
	s := newService(t)
	for query, want := range map[string]string{
		"limit=6":                   "limit must be from 1 to 5",
		"limit=0":                   "limit must be from 1 to 5",
		"limit=many":                "limit must be from 1 to 5",
		"sorce=a":                   `"sorce" is unknown`,
		"source=a&source=b":         `"source" is given more than once`,
		"source=%27--":              "source may hold only",
		"metric=a%00":               "metric may hold only",
		"from=yesterday":            "from is not written as",
		"to=0001-01-01T00:00:00Z":   "to is not written as",
		"from=1969-12-31T23:59:59Z": "from is not between",
		"from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z": "to must be after from",
		"source=%zz": "not encoded",
	} {
		t.Run(query, func(t *testing.T) {
			wantProblem(t, s.do(t, "GET", "/api/v1/metrics?"+query, ""), 400, want)
		})
	}
}

func TestBadBodies(t *testing.T) {
	s := newService(t)
	sample := func(part string) string { return `{"samples":[{` + part + `}]}` }
	long := strings.Repeat("x", 129)
	for name, tt := range map[string]struct {
		body   string
		status int
		want   string
	}{
		"nothing":         {"", 400, "ends before"},
		"half":            {`{"samples":[`, 400, "ends before"},
		"no JSON":         {`hello`, 400, "not JSON at byte 1"},
		"NaN":             {sample(`"source":"a","metric":"m","time":"2026-01-02T03:04:05Z","value":NaN`), 400, "not JSON"},
		"overflow":        {sample(`"source":"a","metric":"m","time":"2026-01-02T03:04:05Z","value":1e999`), 400, "samples.value"},
		"trailing data":   {one + "{}", 400, "goes on after"},
		"trailing comma":  {one + ",", 400, "goes on after"},
		"list":            {`[]`, 400, "the body does not take a JSON array"},
		"null":            {`null`, 400, "samples is empty"},
		"no samples":      {`{}`, 400, "samples is empty"},
		"unknown field":   {sample(`"source":"a","unit":"ms"`), 400, `no field "unit"`},
		"no value":        {sample(`"source":"a","metric":"m","time":"2026-01-02T03:04:05Z"`), 400, "samples[0].value is missing"},
		"null value":      {sample(`"source":"a","metric":"m","time":"2026-01-02T03:04:05Z","value":null`), 400, "samples[0].value is missing"},
		"text as value":   {sample(`"source":"a","metric":"m","time":"2026-01-02T03:04:05Z","value":"1"`), 400, "samples.value does not take a JSON string"},
		"no time":         {sample(`"source":"a","metric":"m","value":1`), 400, "samples[0].time is missing"},
		"bad time":        {sample(`"source":"a","metric":"m","time":"now","value":1`), 400, "RFC 3339"},
		"long name":       {sample(`"source":"` + long + `","metric":"m","time":"2026-01-02T03:04:05Z","value":1`), 400, "samples[0].source has 129 bytes"},
		"bad UTF-8":       {sample("\"source\":\"a\xff\",\"metric\":\"m\",\"time\":\"2026-01-02T03:04:05Z\",\"value\":1"), 400, "samples[0].source may hold only"},
		"too many":        {`{"samples":[` + strings.Repeat(`{"value":1},`, 1000) + `{"value":1}]}`, 400, "has 1001 samples"},
		"too large":       {`{"samples":[` + strings.Repeat(" ", 1<<20) + `]}`, 413, "more than 1048576 bytes"},
		"too large after": {one + strings.Repeat(" ", 1<<20), 413, "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			wantProblem(t, s.post(t, tt.body, "Content-Type", "application/json"), tt.status, tt.want)
		})
	}
	if n := pgtest.Value[int](t, s.db.App, `SELECT count(*) FROM metric_samples`); n != 0 {
		t.Errorf("%d samples of refused bodies were stored", n)
	}
}

func TestOtherRefusals(t *testing.T) {
	s := newService(t)
	wantProblem(t, s.post(t, one, "Content-Type", "text/plain"), 415, "Content-Type")
	wantProblem(t, s.post(t, one, "Content-Encoding", "gzip"), 415, "Content-Encoding")
	wantProblem(t, s.do(t, "GET", "/absent", ""), 404, "nothing at this path")
	a := s.do(t, "DELETE", "/api/v1/metrics", "")
	wantProblem(t, a, 405, "GET, HEAD, POST")
	if a.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
	wantProblem(t, s.do(t, "POST", "/readyz", ""), 405, "GET, HEAD")
}

func TestInternalErrorsStayInside(t *testing.T) {
	s := newService(t)
	pgtest.Exec(t, s.db.Migrator, `REVOKE INSERT ON metric_samples FROM `+pgtest.App)
	wantProblem(t, s.post(t, one, "X-Request-Id", "find-me"), 500, "something went wrong")
	if log := s.log.String(); !strings.Contains(log, "permission denied") || !strings.Contains(log, `"request_id":"find-me"`) {
		t.Errorf("the log does not tell what happened: %s", log)
	}
	pgtest.Exec(t, s.db.Migrator, `BEGIN; DROP TABLE goose_db_version; COMMIT`)
	wantProblem(t, s.do(t, "GET", "/readyz", ""), 503, "run migrate")
}

func TestProbesAndVersion(t *testing.T) {
	s := newService(t)
	for path, want := range map[string]string{
		"/livez":   `{"status":"alive"}`,
		"/readyz":  `{"status":"ready"}`,
		"/version": `{"release":"sha256:abc","go":"go1","environment":"test"}`,
	} {
		if a := s.do(t, "GET", path, ""); a.status != 200 || a.body != want+"\n" {
			t.Errorf("%s: got %d %s, want %s", path, a.status, a.body, want)
		}
	}
}

func TestMetricsHaveFewLabels(t *testing.T) {
	s := newService(t)
	s.post(t, one)
	for i := range 20 {
		s.do(t, "GET", fmt.Sprintf("/made-up/%d", i), "")
	}
	a := s.do(t, "GET", "/metrics", "")
	for _, want := range []string{
		`http_requests_total{route="POST /api/v1/metrics",status="200"} 1`,
		`http_requests_total{route="/",status="404"} 20`,
		`http_request_duration_seconds_count{route="POST /api/v1/metrics",status="200"} 1`,
		`samples_accepted_total 1`,
		`db_pool_connections_max 4`,
		`db_pool_connections{state="idle"}`,
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if strings.Contains(a.body, "made-up") {
		t.Error("a path that a client made up is a label")
	}
}

func TestRequestIDsHeadersAndLog(t *testing.T) {
	s := newService(t)
	if a := s.do(t, "GET", "/version", "", "X-Request-Id", "abc-1.2_3"); a.header.Get("X-Request-Id") != "abc-1.2_3" {
		t.Errorf("a sane id was not kept: %q", a.header.Get("X-Request-Id"))
	}
	for _, bad := range []string{`a"b`, strings.Repeat("a", 65), "a b"} {
		if a := s.do(t, "GET", "/version", "", "X-Request-Id", bad); a.header.Get("X-Request-Id") == bad || len(a.header.Get("X-Request-Id")) < 20 {
			t.Errorf("id %q became %q", bad, a.header.Get("X-Request-Id"))
		}
	}
	a := s.post(t, one)
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Connection": "",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	// The line is written after the answer.
	id := a.header.Get("X-Request-Id")
	deadline := time.Now().Add(5 * time.Second)
	for !strings.Contains(s.log.String(), id) && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if log := s.log.String(); strings.Count(log, id) != 1 || !strings.Contains(log, `"route":"POST /api/v1/metrics","status":200`) {
		t.Errorf("want one line for the request: %s", log)
	}
	if strings.Contains(s.log.String(), "host-1") {
		t.Error("the log shows a body")
	}
}
