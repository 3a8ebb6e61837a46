package githubtest

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// route is one operation that the fake serves.
type route struct {
	method, path string
	permission   string // "": any token; app: the App's own JWT
	level        string
	open         bool // of a public repository, any token may
	handler      func(*Server, *call) answer
}

// find is the route of a request, with what its path names. Of two, the one with
// the later wildcard is meant.
func find(req *http.Request) (found route, path map[string]string, ok bool) {
	have := strings.Split(req.URL.EscapedPath(), "/")
	best := ""
	for _, r := range routes() {
		want := strings.Split(r.path, "/")
		if r.method != req.Method || len(want) != len(have) {
			continue
		}
		names, shape, fits := map[string]string{}, "", true
		for i, w := range want {
			name, isName := strings.CutPrefix(w, "{")
			value, err := url.PathUnescape(have[i])
			switch {
			case err != nil || value == "" && i > 0, !isName && w != value:
				fits = false
			case isName:
				names[strings.TrimSuffix(name, "}")] = value
				shape += "a"
			default:
				shape += "b"
			}
		}
		if fits && shape > best {
			found, path, ok, best = r, names, true, shape
		}
	}
	return found, path, ok
}

const repo = "/repos/{owner}/{repo}"

func routes() []route {
	return []route{
		{"GET", "/app", "app", "", false, (*Server).getApp},
		{"POST", "/app/installations/{installation_id}/access_tokens", "app", "", false, (*Server).createToken},
		{"GET", repo + "/installation", "app", "", false, (*Server).getInstallation},
		{"GET", "/user", "", "", false, (*Server).getUser},

		{"POST", repo + "/check-runs", "checks", "write", false, (*Server).createCheckRun},
		{"GET", repo + "/check-runs/{check_run_id}", "checks", "read", true, (*Server).getCheckRun},
		{"PATCH", repo + "/check-runs/{check_run_id}", "checks", "write", false, (*Server).updateCheckRun},
		{"GET", repo + "/check-runs/{check_run_id}/annotations", "checks", "read", true, (*Server).listAnnotations},
		{"GET", repo + "/commits/{ref}/check-runs", "checks", "read", true, (*Server).listCheckRuns},

		{"GET", repo + "/deployments", "deployments", "read", true, (*Server).listDeployments},
		{"POST", repo + "/deployments", "deployments", "write", false, (*Server).createDeployment},
		{"GET", repo + "/deployments/{deployment_id}/statuses", "deployments", "read", true, (*Server).listStatuses},
		{"POST", repo + "/deployments/{deployment_id}/statuses", "deployments", "write", false, (*Server).createStatus},

		{"GET", repo + "/issues/{issue_number}/comments", "issues", "read", true, (*Server).listComments},
		{"POST", repo + "/issues/{issue_number}/comments", "issues", "write", false, (*Server).createComment},
		{"GET", repo + "/issues/comments/{comment_id}", "issues", "read", true, (*Server).getComment},
		{"PATCH", repo + "/issues/comments/{comment_id}", "issues", "write", false, (*Server).updateComment},
		{"DELETE", repo + "/issues/comments/{comment_id}", "issues", "write", false, (*Server).deleteComment},
		{"POST", repo + "/issues/comments/{comment_id}/reactions", "issues", "write", false, (*Server).createReaction},

		{"GET", repo + "/pulls", "pull_requests", "read", true, (*Server).listPulls},
		{"GET", repo + "/pulls/{pull_number}", "pull_requests", "read", true, (*Server).getPull},
		{"GET", repo + "/pulls/{pull_number}/files", "pull_requests", "read", true, (*Server).listFiles},
		{"GET", repo + "/pulls/{pull_number}/reviews", "pull_requests", "read", true, (*Server).listReviews},
		{"GET", repo + "/commits/{commit_sha}/pulls", "pull_requests", "read", true, (*Server).listCommitPulls},
		{"GET", repo + "/collaborators/{username}/permission", "metadata", "read", false, (*Server).getPermission},

		{"GET", repo + "/actions/runs/{run_id}", "actions", "read", true, (*Server).getRun},
		{"GET", repo + "/actions/runs/{run_id}/approvals", "actions", "read", true, (*Server).listRunApprovals},
		{"GET", repo + "/actions/runs/{run_id}/artifacts", "actions", "read", true, (*Server).listArtifacts},
		{"GET", repo + "/actions/artifacts/{artifact_id}/{archive_format}", "actions", "read", false, (*Server).getArchive},
		{"GET", repo + "/actions/workflows/{workflow_id}/runs", "actions", "read", true, (*Server).listRuns},
		{"POST", repo + "/actions/workflows/{workflow_id}/dispatches", "actions", "write", false, (*Server).dispatch},
		{"GET", repo + "/actions/permissions", "administration", "read", false, (*Server).getActions},
		{"GET", repo + "/actions/permissions/workflow", "administration", "read", false, (*Server).getWorkflowPermissions},
		{"GET", repo + "/actions/secrets", "secrets", "read", false, (*Server).listSecrets},

		{"POST", repo + "/code-scanning/sarifs", "security_events", "write", false, (*Server).uploadSARIF},

		{"GET", repo + "/rules/branches/{branch}", "metadata", "read", true, (*Server).listRules},
		{"GET", repo + "/rulesets/{ruleset_id}", "metadata", "read", true, (*Server).getRuleset},
		{"GET", repo + "/branches/{branch}/protection", "administration", "read", false, (*Server).getProtection},
		{"GET", repo + "/environments", "actions", "read", true, (*Server).listEnvironments},
		{"GET", repo + "/environments/{environment_name}", "actions", "read", true, (*Server).getEnvironment},
		{"GET", repo + "/environments/{environment_name}/deployment-branch-policies", "actions", "read", true, (*Server).listBranchPolicies},
		{"GET", repo + "/environments/{environment_name}/secrets", "environments", "read", false, (*Server).listEnvironmentSecrets},
		{"GET", repo + "/codeowners/errors", "contents", "read", true, (*Server).listCodeownersErrors},
	}
}

// paged cuts the page that the call asks for out of all, and links the next.
func paged[T any](s *Server, c *call, all []T) ([]T, http.Header) {
	size, err := strconv.Atoi(c.query.Get("per_page"))
	if err != nil || size < 1 {
		size = 30
	}
	size = min(size, 100, s.options.PageSize)
	page, err := strconv.Atoi(c.query.Get("page"))
	if err != nil || page < 1 {
		page = 1
	}
	from := min((page-1)*size, len(all))
	to := min(from+size, len(all))
	h := http.Header{}
	if to < len(all) {
		q := url.Values{"page": {fmt.Sprint(page + 1)}, "per_page": {fmt.Sprint(size)}}
		h.Set("Link", fmt.Sprintf(`<https://api.github.com/x?%s>; rel="next"`, q.Encode()))
	}
	out := make([]T, 0, to-from)
	return append(out, all[from:to]...), h
}

func number(c *call, name string) int64 {
	n, err := strconv.ParseInt(c.path[name], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func text(m map[string]any, key string) string {
	v, _ := m[key].(string)
	return v
}
