package main

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

func TestParse(t *testing.T) {
	for body, want := range map[string]string{
		`{"text":" buy milk "}`: "buy milk",
		`{"text":""}`:           "",
		`{"text":"a\u0000b"}`:   "",
		`{"text":"` + strings.Repeat("ä", 1001) + `"}`: "",
		`text`: "",
	} {
		got, err := parse(strings.NewReader(body))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.40s: got %q, %v, want %q", body, got, err, want)
		}
	}
}

func TestHandlerWithoutADatabase(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/absent?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	h := handler(pool)
	for _, tt := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/healthz", "", 503},
		{"GET", "/notes", "", 500},
		{"POST", "/notes", `{"text":"a"}`, 500},
		{"POST", "/notes", `{}`, 400},
		{"DELETE", "/notes", "", 405},
		{"GET", "/", "", 404},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body)))
		if w.Code != tt.want {
			t.Errorf("%s %s: got %d, want %d", tt.method, tt.path, w.Code, tt.want)
		}
		if strings.Contains(w.Body.String(), "127.0.0.1") {
			t.Errorf("%s %s shows the database: %s", tt.method, tt.path, w.Body)
		}
	}
}

func TestRunNeedsItsEnvironment(t *testing.T) {
	for _, tt := range []struct {
		args []string
		env  map[string]string
		want string
	}{
		{nil, nil, "say run or db-up"},
		{[]string{"serve"}, nil, "say run or db-up"},
		{[]string{"run"}, nil, "PG_DSN"},
		{[]string{"run"}, map[string]string{"PG_DSN": "postgres://nobody@127.0.0.1:1/absent"}, "HTTP_PORT"},
	} {
		err := run(t.Context(), tt.args, func(name string) string { return tt.env[name] })
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q", tt.args, err, tt.want)
		}
	}
}
