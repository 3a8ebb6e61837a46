package githubtest

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

func (s *Server) wireRun(r *Run) map[string]any {
	var conclusion any
	if r.Conclusion != "" {
		conclusion = r.Conclusion
	}
	return map[string]any{
		"id": r.ID, "name": path.Base(r.Path), "path": r.Path, "event": r.Event, "head_sha": r.HeadSHA, "head_branch": r.HeadBranch, "run_attempt": r.Attempt, "run_number": 1,
		"status": r.Status, "conclusion": conclusion, "display_title": r.Title, "workflow_id": 1, "html_url": fmt.Sprintf("https://github.com/%s/actions/runs/%d", s.options.Repository, r.ID),
		"created_at": stamp(r.Created), "run_started_at": stamp(r.Started), "updated_at": stamp(r.Updated), "actor": account(r.Actor), "triggering_actor": account(r.Actor),
		"repository": s.repository(s.options.Repository), "head_repository": s.repository(r.HeadRepo), "pull_requests": []any{},
		"head_commit": map[string]any{"id": r.HeadSHA, "tree_id": r.HeadSHA, "message": "x", "timestamp": stamp(r.Created), "author": nil, "committer": nil},
	}
}

func (s *Server) run(id int64) *Run {
	for _, r := range s.state.runs {
		if r.ID == id {
			return r
		}
	}
	return nil
}

func (s *Server) getRun(c *call) answer {
	r := s.run(number(c, "run_id"))
	if r == nil {
		return notFound()
	}
	return ok(s.wireRun(r))
}

func (s *Server) listArtifacts(c *call) answer {
	found := []any{}
	for _, a := range s.state.artifacts {
		if name := c.query.Get("name"); a.run == number(c, "run_id") && (name == "" || name == a.name) {
			found = append(found, map[string]any{
				"id": a.id, "name": a.name, "size_in_bytes": a.size, "expired": a.expired, "created_at": stamp(a.created), "updated_at": stamp(a.created),
				"expires_at": stamp(a.created.Add(90 * 24 * time.Hour)), "archive_download_url": "https://api.github.com/x", "url": "https://api.github.com/x", "workflow_run": nil,
			})
		}
	}
	list, h := paged(s, c, found)
	return answer{status: http.StatusOK, body: map[string]any{"total_count": len(found), "artifacts": list}, header: h}
}

func (s *Server) getArchive(c *call) answer {
	for _, a := range s.state.artifacts {
		if a.id != number(c, "artifact_id") {
			continue
		}
		if a.expired {
			return refuse(http.StatusGone, "Artifact has expired")
		}
		return answer{status: http.StatusFound, header: http.Header{"Location": {fmt.Sprintf("%s/%d?sig=secret-signature", s.storage.URL, a.id)}}}
	}
	return notFound()
}

// download is the storage behind the API. It must see no credentials.
func (s *Server) download(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Authorization") != "" {
		s.violation("the storage of artifacts got credentials")
	}
	if req.URL.Query().Get("sig") != "secret-signature" {
		http.Error(w, "AuthenticationFailed", http.StatusForbidden)
		return
	}
	s.mu.Lock()
	var b []byte
	for _, a := range s.state.artifacts {
		if fmt.Sprintf("/%d", a.id) == req.URL.Path {
			b = a.zip
		}
	}
	s.mu.Unlock()
	switch s.nextFault(req) {
	case None, Twice, Slow:
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b)
	case Truncated:
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b[:len(b)/2])
		drop(w)
	case LostRequest, LostReply, Late:
		drop(w)
	default:
		http.Error(w, "ServerBusy", http.StatusServiceUnavailable)
	}
}

func (s *Server) listRuns(c *call) answer {
	found := []any{}
	since, _ := time.Parse(time.RFC3339, strings.TrimPrefix(c.query.Get("created"), ">="))
	for _, r := range slices.Backward(s.state.runs) {
		if event := c.query.Get("event"); path.Base(r.Path) == c.path["workflow_id"] && (event == "" || event == r.Event) && !r.Created.Before(since) {
			found = append(found, s.wireRun(r))
		}
	}
	list, h := paged(s, c, found)
	return answer{status: http.StatusOK, body: map[string]any{"total_count": len(found), "workflow_runs": list}, header: h}
}

func (s *Server) dispatch(c *call) answer {
	file, ref := c.path["workflow_id"], text(c.body, "ref")
	src, found := s.state.workflowOf[file]
	if !found && s.git.path != "" {
		src, found = s.git.file(ref, ".github/workflows/"+file)
	}
	if !found {
		return notFound()
	}
	w, err := parseWorkflow(".github/workflows/"+file, src)
	if err != nil || !w.has("workflow_dispatch") {
		return refuse(http.StatusUnprocessableEntity, "Workflow does not have 'workflow_dispatch' trigger")
	}
	inputs, _ := c.body["inputs"].(map[string]any)
	declared := w.inputs()
	for name := range inputs {
		if _, ok := declared[name]; !ok {
			return refuse(http.StatusUnprocessableEntity, fmt.Sprintf("Unexpected inputs provided: [%q]", name))
		}
	}
	for name, required := range declared {
		if _, ok := inputs[name]; required && !ok {
			return refuse(http.StatusUnprocessableEntity, fmt.Sprintf("Required input '%s' not provided", name))
		}
	}
	title := w.RunName
	if title == "" {
		title = w.Name
	}
	for name, v := range inputs {
		for _, form := range []string{"${{ inputs.%s }}", "${{inputs.%s}}", "${{ github.event.inputs.%s }}"} {
			title = strings.ReplaceAll(title, fmt.Sprintf(form, name), fmt.Sprint(v))
		}
	}
	id := s.addRun(Run{Path: ".github/workflows/" + file, Event: "workflow_dispatch", HeadSHA: s.git.resolve(ref), HeadBranch: ref, Status: "queued", Title: title, Actor: c.who.name})
	s.state.dispatches = append(s.state.dispatches, Dispatched{Workflow: file, Ref: ref, Inputs: inputs, Who: c.who.name, Run: id})
	return answer{status: http.StatusNoContent}
}

func (s *Server) uploadSARIF(c *call) answer {
	if !s.state.scanning {
		return refuse(http.StatusForbidden, "Advanced Security must be enabled for this repository to use code scanning.")
	}
	packed, err := base64.StdEncoding.DecodeString(text(c.body, "sarif"))
	if err != nil || len(packed) > 10<<20 {
		return refuse(http.StatusBadRequest, "sarif is no base64, or too large")
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return refuse(http.StatusBadRequest, "sarif is no gzip")
	}
	b, err := io.ReadAll(z)
	if err != nil || !json.Valid(b) {
		return refuse(http.StatusBadRequest, "sarif is no JSON")
	}
	u := Upload{Commit: text(c.body, "commit_sha"), Ref: text(c.body, "ref"), SARIF: b}
	if !s.git.has(u.Commit) {
		return refuse(http.StatusNotFound, "commit not found")
	}
	s.state.uploads = append(s.state.uploads, u)
	return answer{status: http.StatusAccepted, body: map[string]any{"id": fmt.Sprintf("47177e22-5596-11eb-80a1-c1e54ef94%03d", len(s.state.uploads)), "url": "https://api.github.com/x"}}
}
