package runner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

var (
	oneRun     = regexp.MustCompile(`^/repos/[^/]+/[^/]+/actions/runs/[0-9]+$`)
	listOfRuns = regexp.MustCompile(`^/repos/[^/]+/[^/]+/actions/(workflows/[^/]+/)?runs$`)
	dispatches = regexp.MustCompile(`^/repos/[^/]+/[^/]+/actions/workflows/[^/]+/dispatches$`)
)

// serve is the API for jobs: the fake's, whose runs are this runner's.
func (r *Runner) serve() *httptest.Server {
	to, err := url.Parse(r.o.GitHub.URL)
	if err != nil {
		r.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(to)
			r.tick()
		},
		ModifyResponse: r.answered,
		ErrorLog:       stdlog.New(io.Discard, "", 0), // the fake drops connections on purpose
	}
	return httptest.NewServer(proxy)
}

// tick sets the fake's clock, which stands still: jobs live in real time.
func (r *Runner) tick() {
	if c := r.o.GitHub.Clock; c != nil {
		c.Advance(max(time.Since(c.Now()), 0))
	}
}

// answered puts runs as they stand into an answer, and starts what it has
// dispatched.
func (r *Runner) answered(resp *http.Response) error {
	at := resp.Request.URL.Path
	switch {
	case dispatches.MatchString(at) && resp.StatusCode == http.StatusNoContent:
		r.dispatches()
	case oneRun.MatchString(at) && resp.StatusCode == http.StatusOK:
		return replaceBody(resp, func(m map[string]any) { r.asItStands(m) })
	case listOfRuns.MatchString(at) && resp.StatusCode == http.StatusOK:
		return replaceBody(resp, func(m map[string]any) {
			all, _ := m["workflow_runs"].([]any)
			for _, one := range all {
				if run, ok := one.(map[string]any); ok {
					r.asItStands(run)
				}
			}
		})
	}
	return nil
}

func (r *Runner) asItStands(m map[string]any) {
	n, _ := m["id"].(json.Number)
	id, err := strconv.ParseInt(n.String(), 10, 64)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range r.runs {
		if run.ID != id {
			continue
		}
		m["status"], m["conclusion"] = run.Status, nil
		// Its end has come for the API, too, when it has begun to start others.
		if run.Conclusion != "" {
			m["status"], m["conclusion"] = Completed, run.Conclusion
		}
		stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
		m["run_attempt"] = run.Attempt
		m["display_title"], m["run_started_at"], m["updated_at"] = run.Title, stamp(run.Started), stamp(run.Updated)
	}
}

func replaceBody(resp *http.Response, change func(map[string]any)) error {
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	resp.Body.Close()
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if d.Decode(&m) == nil {
		change(m)
		if b, err = json.Marshal(m); err != nil {
			return err
		}
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	resp.Header.Set("Content-Length", strconv.Itoa(len(b)))
	return nil
}

// announce tells the fake of an environment, for whoever asks for settings.
func (r *Runner) announce(name string, e Environment) {
	one := githubtest.Environment{Name: name, Reviewers: e.Reviewers, Branches: "all", Secrets: sorted(e.Secrets)}
	if e.Branches != nil {
		one.Branches, one.Patterns = "patterns", e.Branches
	}
	r.o.GitHub.AddEnvironment(one)
}

// ask reads from the API as the runner itself, which may read all of it.
func (r *Runner) ask(path string, into any) error {
	token := r.o.GitHub.ActionsToken(map[string]string{"actions": "read", "contents": "read", "metadata": "read"})
	resp, err := r.request(http.MethodGet, token, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(into)
}

func (r *Runner) post(token, path string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	resp, err := r.request(http.MethodPost, token, path, bytes.NewReader(b))
	if err == nil {
		resp.Body.Close()
	}
	return err
}

func (r *Runner) request(method, token, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequest(method, r.URL+"/repos/"+r.o.Repository+path, body)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{
		"Authorization": {"Bearer " + token}, "Accept": {"application/vnd.github+json"}, "Content-Type": {"application/json"},
		"X-Github-Api-Version": {"2022-11-28"}, "User-Agent": {"rehearsal"},
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, said)
	}
	return resp, nil
}
