package githubtest

import (
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"
)

type checkRun struct {
	id                   int64
	name, sha, external  string
	status, conclusion   string
	started, completed   time.Time
	title, summary, text string
	annotations          []map[string]any
	appID                int64
	slug                 string
	details              string
}

// Lengths that the description does not tell.
const (
	maxName     = 255
	maxTitle    = 255
	maxExternal = 255
	maxMessage  = 64 << 10
)

func (s *Server) createCheckRun(c *call) answer {
	if c.who.appID == 0 {
		return refuse(http.StatusForbidden, "You must authenticate via a GitHub App.")
	}
	sha := text(c.body, "head_sha")
	if !s.git.has(sha) {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+sha)
	}
	r := &checkRun{name: text(c.body, "name"), sha: sha, status: "queued", appID: c.who.appID, slug: c.who.slug}
	if why := s.apply(r, c.body); why != "" {
		return refuse(http.StatusUnprocessableEntity, why)
	}
	r.id = s.state.next()
	if r.started.IsZero() {
		r.started = s.Clock.Now()
	}
	s.state.checkRuns = append(s.state.checkRuns, r)
	return created(r.wire())
}

// apply changes r as a request asks, or says why not and changes nothing.
func (s *Server) apply(r *checkRun, body map[string]any) string {
	n := *r
	if v := text(body, "name"); v != "" {
		n.name = v
	}
	if v, ok := body["external_id"].(string); ok {
		n.external = v
	}
	if v, ok := body["details_url"].(string); ok {
		n.details = v
	}
	for key, at := range map[string]*time.Time{"started_at": &n.started, "completed_at": &n.completed} {
		if v := text(body, key); v != "" {
			t, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return key + " is no time"
			}
			*at = t
		}
	}
	if v := text(body, "status"); v != "" {
		n.status = v
	}
	if v := text(body, "conclusion"); v != "" {
		n.conclusion, n.status = v, "completed"
	}
	switch {
	case n.conclusion == "stale":
		return "only GitHub says stale"
	case n.status == "completed" && n.conclusion == "":
		return "a conclusion is missing"
	case n.status != "completed" && n.conclusion != "":
		return "a completed check run does not go back"
	case n.status != "queued" && n.status != "in_progress" && n.status != "completed":
		return "only GitHub Actions sets that status"
	case n.name == "" || len(n.name) > maxName:
		return "name is empty or too long"
	case len(n.external) > maxExternal:
		return "external_id is too long"
	}
	if n.status == "completed" && n.completed.IsZero() {
		n.completed = s.Clock.Now()
	}
	if out, ok := body["output"].(map[string]any); ok {
		if why := n.output(out); why != "" {
			return why
		}
	}
	*r = n
	return ""
}

func (r *checkRun) output(out map[string]any) string {
	r.title, r.summary = text(out, "title"), text(out, "summary")
	if v, ok := out["text"].(string); ok {
		r.text = v
	}
	switch {
	case r.title == "" || r.summary == "":
		return "output needs a title and a summary"
	case utf8.RuneCountInString(r.title) > maxTitle:
		return "output.title is too long"
	case utf8.RuneCountInString(r.summary) > 65535 || utf8.RuneCountInString(r.text) > 65535:
		return "output.summary or output.text is too long"
	}
	list, _ := out["annotations"].([]any)
	for _, one := range list {
		a, _ := one.(map[string]any)
		start, _ := a["start_line"].(float64)
		end, _ := a["end_line"].(float64)
		switch {
		case start < 1 || end < start:
			return "an annotation's lines are odd"
		case text(a, "path") == "" || text(a, "message") == "":
			return "an annotation has no path or no message"
		case len(text(a, "message")) > maxMessage || utf8.RuneCountInString(text(a, "title")) > maxTitle:
			return "an annotation is too long"
		}
		r.annotations = append(slices.Clone(r.annotations), a)
	}
	return ""
}

func (r *checkRun) wire() map[string]any {
	var conclusion any
	if r.conclusion != "" {
		conclusion = r.conclusion
	}
	return map[string]any{
		"id": r.id, "name": r.name, "head_sha": r.sha, "external_id": r.external, "status": r.status, "conclusion": conclusion,
		"started_at": stamp(r.started), "completed_at": stamp(r.completed), "details_url": r.details,
		"html_url": fmt.Sprintf("https://github.com/x/runs/%d", r.id), "url": fmt.Sprintf("https://api.github.com/check-runs/%d", r.id),
		"output": map[string]any{"title": r.title, "summary": r.summary, "text": r.text, "annotations_count": len(r.annotations), "annotations_url": "https://api.github.com/x"},
		"app":    map[string]any{"id": r.appID, "slug": r.slug, "owner": user("smartcloudops", "Organization"), "permissions": map[string]any{}, "events": []string{}},
	}
}

func (s *Server) checkRun(id int64) *checkRun {
	for _, r := range s.state.checkRuns {
		if r.id == id {
			return r
		}
	}
	return nil
}

func (s *Server) getCheckRun(c *call) answer {
	r := s.checkRun(number(c, "check_run_id"))
	if r == nil {
		return notFound()
	}
	return ok(r.wire())
}

func (s *Server) updateCheckRun(c *call) answer {
	r := s.checkRun(number(c, "check_run_id"))
	switch {
	case r == nil:
		return notFound()
	case c.who.appID != r.appID:
		return refuse(http.StatusForbidden, fmt.Sprintf("Invalid app_id `%d` - check run can only be modified by the GitHub App that created it.", c.who.appID))
	}
	if why := s.apply(r, c.body); why != "" {
		return refuse(http.StatusUnprocessableEntity, why)
	}
	return ok(r.wire())
}

func (s *Server) listAnnotations(c *call) answer {
	r := s.checkRun(number(c, "check_run_id"))
	if r == nil {
		return notFound()
	}
	list, h := paged(s, c, r.annotations)
	out := []any{}
	for _, a := range list {
		one := map[string]any{"blob_href": "https://github.com/x", "title": nil, "raw_details": nil, "start_column": nil, "end_column": nil}
		for k, v := range a {
			one[k] = v
		}
		out = append(out, one)
	}
	return answer{status: http.StatusOK, body: out, header: h}
}

func (s *Server) listCheckRuns(c *call) answer {
	sha := c.path["ref"]
	if len(sha) != 40 {
		sha = s.git.resolve(sha)
	}
	found := []any{}
	for _, r := range s.latest(sha, c.query.Get("filter") != "all") {
		fits := func(key, value string) bool { q := c.query.Get(key); return q == "" || q == value }
		if fits("check_name", r.name) && fits("status", r.status) && fits("app_id", fmt.Sprint(r.appID)) {
			found = append(found, r.wire())
		}
	}
	list, h := paged(s, c, found)
	return answer{status: http.StatusOK, body: map[string]any{"total_count": len(found), "check_runs": list}, header: h}
}

// latest are a commit's runs, newest first: all, or of each App and name the one
// that was created last.
func (s *Server) latest(sha string, only bool) []*checkRun {
	var out []*checkRun
	seen := map[string]bool{}
	for _, r := range slices.Backward(s.state.checkRuns) {
		key := fmt.Sprint(r.appID, "/", r.name)
		if r.sha != sha || only && seen[key] {
			continue
		}
		seen[key] = true
		out = append(out, r)
	}
	return out
}
