package githubtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// send is a request as a client would make it.
func send(t *testing.T, s *Server, token, method, path string, body any) (int, string) {
	t.Helper()
	var b []byte
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	req.Header.Set("User-Agent", "test")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(out)
}

type object = map[string]any

const sha = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func run(change object) object {
	m := object{"name": "gate", "head_sha": sha, "status": "in_progress"}
	for k, v := range change {
		m[k] = v
	}
	return m
}

func output(change object) object {
	m := object{"title": "t", "summary": "s"}
	for k, v := range change {
		m[k] = v
	}
	return object{"output": m}
}

func annotations(n int, change object) []any {
	var out []any
	for range n {
		a := object{"path": "a.go", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "m"}
		for k, v := range change {
			a[k] = v
		}
		out = append(out, a)
	}
	return out
}

func TestTheFakeTakesWhatGitHubTakes(t *testing.T) {
	s := New(t, Options{})
	token := s.ActionsToken(map[string]string{"checks": "write"})
	const runs = "/repos/smartcloudops/gate/check-runs"
	for name, body := range map[string]object{
		"plain": run(nil), "whole": run(output(object{"annotations": annotations(50, nil), "text": strings.Repeat("é", 65535)})), "completed": run(object{"status": "completed", "conclusion": "neutral"}),
	} {
		if status, answer := send(t, s, token, "POST", runs, body); status != 201 {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
}

func TestTheFakeRefusesWhatGitHubRefuses(t *testing.T) {
	s := New(t, Options{})
	token := s.ActionsToken(map[string]string{"checks": "write", "issues": "write", "deployments": "write"})
	s.AddPull(Pull{HeadSHA: sha})
	const base = "/repos/smartcloudops/gate"
	for _, c := range []struct {
		name, token, method, path string
		body                      any
		status                    int
		violates                  bool // the description itself, which no client of ours may
	}{
		{"51 annotations", token, "POST", base + "/check-runs", run(output(object{"annotations": annotations(51, nil)})), 422, true},
		{"a long text", token, "POST", base + "/check-runs", run(output(object{"text": strings.Repeat("x", 65536)})), 422, true},
		{"a misspelt property", token, "POST", base + "/check-runs", run(object{"external-id": "x"}), 422, true},
		{"no name", token, "POST", base + "/check-runs", object{"head_sha": sha}, 422, true},
		{"an unknown conclusion", token, "POST", base + "/check-runs", run(object{"conclusion": "passed"}), 422, true},
		{"an unknown parameter", token, "GET", base + "/commits/" + sha + "/check-runs?pages=2", nil, 422, true},
		{"a long title", token, "POST", base + "/check-runs", run(output(object{"title": strings.Repeat("x", 256)})), 422, false},
		{"no summary", token, "POST", base + "/check-runs", run(object{"output": object{"title": "t", "summary": ""}}), 422, false},
		{"completed without a conclusion", token, "POST", base + "/check-runs", run(object{"status": "completed"}), 422, false},
		{"stale", token, "POST", base + "/check-runs", run(object{"conclusion": "stale"}), 422, false},
		{"line 0", token, "POST", base + "/check-runs", run(output(object{"annotations": annotations(1, object{"start_line": 0})})), 422, false},
		{"no commit", token, "POST", base + "/check-runs", run(object{"head_sha": "main"}), 422, false},
		{"a person", s.UserToken("somebody"), "POST", base + "/check-runs", run(nil), 403, false},
		{"no permission", s.ActionsToken(map[string]string{"checks": "read"}), "POST", base + "/check-runs", run(nil), 403, false},
		{"no token", "ghs_none", "POST", base + "/check-runs", run(nil), 401, false},
		{"another repository", token, "GET", "/repos/smartcloudops/other/commits/" + sha + "/check-runs", nil, 404, false},
		{"a long comment", token, "POST", base + "/issues/1/comments", object{"body": strings.Repeat("x", 65537)}, 422, false},
		{"a deployment that merges", token, "POST", base + "/deployments", object{"ref": sha, "required_contexts": []any{}}, 409, false},
		{"a workflow's token for the App", token, "GET", "/app", nil, 401, false},
	} {
		status, answer := send(t, s, c.token, c.method, c.path, c.body)
		if status != c.status {
			t.Errorf("%s: %d %s; want %d", c.name, status, answer, c.status)
		}
		if got := s.Violations(); (len(got) > 0) != c.violates {
			t.Errorf("%s: violations %q", c.name, got)
		}
	}
	send(t, s, token, "GET", base+"/teams", nil)
	if len(s.Violations()) != 1 {
		t.Error("an operation that the fake does not know is none")
	}
	if n := len(s.View().Commits); n != 0 {
		t.Errorf("%d commits have check runs after all", n)
	}
}

func TestACheckRunBelongsToItsApp(t *testing.T) {
	s := New(t, Options{})
	token := s.ActionsToken(map[string]string{"checks": "write"})
	_, answer := send(t, s, token, "POST", "/repos/smartcloudops/gate/check-runs", run(object{"conclusion": "success"}))
	var made struct {
		ID int64 `json:"id"`
	}
	if err := json.Unmarshal([]byte(answer), &made); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.who["app"] = identity{name: "other[bot]", appID: 3, slug: "other", permissions: map[string]string{"checks": "write"}}
	s.mu.Unlock()
	at := fmt.Sprintf("/repos/smartcloudops/gate/check-runs/%d", made.ID)
	if status, _ := send(t, s, "app", "PATCH", at, object{"conclusion": "failure"}); status != 403 {
		t.Errorf("another App: %d", status)
	}
	if status, _ := send(t, s, token, "PATCH", at, object{"status": "in_progress"}); status != 422 {
		t.Errorf("completed goes back: %d", status)
	}
	if c := s.View().Commits[sha].Check(ActionsSlug, "gate"); c.Conclusion != "success" {
		t.Errorf("%+v", c)
	}
}
