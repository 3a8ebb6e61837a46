package githubtest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

func (s *Server) side(repo, branch, sha string) map[string]any {
	owner, _, _ := strings.Cut(repo, "/")
	return map[string]any{"label": owner + ":" + branch, "ref": branch, "sha": sha, "repo": s.repository(repo), "user": user(owner, "User")}
}

func (s *Server) repository(full string) map[string]any {
	owner, name, _ := strings.Cut(full, "/")
	return map[string]any{
		"id": user(full, "")["id"], "name": name, "full_name": full, "owner": user(owner, "Organization"), "private": s.options.Private, "fork": full != s.options.Repository,
		"default_branch": s.options.DefaultBranch, "html_url": "https://github.com/" + full, "url": "https://api.github.com/repos/" + full,
	}
}

func (s *Server) wirePull(p *Pull, whole bool) map[string]any {
	m := map[string]any{
		"id": 5000 + p.Number, "number": p.Number, "state": p.State, "title": p.Title, "user": user(p.Author, "User"), "draft": false, "locked": false,
		"head": s.side(p.HeadRepo, p.HeadBranch, p.HeadSHA), "base": s.side(s.options.Repository, p.BaseBranch, p.BaseSHA),
		"html_url": fmt.Sprintf("https://github.com/%s/pull/%d", s.options.Repository, p.Number), "updated_at": stamp(s.Clock.Now()), "created_at": stamp(s.Clock.Now()),
		"_links": map[string]any{},
	}
	if whole {
		m["changed_files"] = s.counted(p)
	}
	return m
}

func (s *Server) counted(p *Pull) int {
	if p.Counted > 0 {
		return p.Counted
	}
	return len(s.files(p))
}

// files are what the pull request changes, as GitHub lists them.
func (s *Server) files(p *Pull) []map[string]any {
	var all []map[string]any
	add := func(status, path, previous string) {
		f := map[string]any{"sha": p.HeadSHA, "filename": path, "status": status, "additions": 1, "deletions": 0, "changes": 1}
		if previous != "" {
			f["previous_filename"] = previous
		}
		all = append(all, f)
	}
	if len(p.Files) == 0 && s.git.path != "" {
		for _, line := range s.git.changes(p.BaseSHA, p.HeadSHA) {
			f := strings.Split(line, "\t")
			switch {
			case len(f) == 3 && f[0][0] == 'R':
				add("renamed", f[2], f[1])
			case len(f) >= 2:
				add(map[byte]string{'A': "added", 'D': "removed", 'C': "copied"}[f[0][0]], f[len(f)-1], "")
			}
		}
		for _, f := range all {
			if f["status"] == "" {
				f["status"] = "modified"
			}
		}
		return all
	}
	for _, f := range p.Files {
		from, to, moved := strings.Cut(f, " -> ")
		if moved {
			add("renamed", to, from)
		} else {
			add("modified", f, "")
		}
	}
	return all
}

func (s *Server) listPulls(c *call) answer {
	found := []any{}
	for _, p := range slices.Backward(s.state.pulls) {
		state := c.query.Get("state")
		owner, _, _ := strings.Cut(p.HeadRepo, "/")
		head, base := c.query.Get("head"), c.query.Get("base")
		if (state == "all" || state == p.State || state == "" && p.State == "open") && (head == "" || head == owner+":"+p.HeadBranch) && (base == "" || base == p.BaseBranch) {
			found = append(found, s.wirePull(p, false))
		}
	}
	list, h := paged(s, c, found)
	return answer{status: http.StatusOK, body: list, header: h}
}

func (s *Server) getPull(c *call) answer {
	p := s.state.pull(number(c, "pull_number"))
	if p == nil {
		return notFound()
	}
	return ok(s.wirePull(p, true))
}

func (s *Server) listFiles(c *call) answer {
	p := s.state.pull(number(c, "pull_number"))
	if p == nil {
		return notFound()
	}
	all := s.files(p)
	list, h := paged(s, c, all[:min(len(all), 3000)])
	return answer{status: http.StatusOK, body: list, header: h}
}

func (s *Server) listReviews(c *call) answer {
	found := []any{}
	for _, r := range s.state.reviews[int(number(c, "pull_number"))] {
		found = append(found, map[string]any{
			"id": r.ID, "state": r.State, "user": account(r.Login), "commit_id": r.Commit, "submitted_at": stamp(r.At), "body": "", "author_association": "MEMBER",
			"_links": map[string]any{"html": map[string]any{"href": "https://github.com"}, "pull_request": map[string]any{"href": "https://github.com"}},
		})
	}
	list, h := paged(s, c, found)
	return answer{status: http.StatusOK, body: list, header: h}
}

func (s *Server) listCommitPulls(c *call) answer {
	found := []any{}
	for _, p := range s.state.pulls {
		if p.HeadSHA == c.path["commit_sha"] && !p.Unreachable {
			found = append(found, s.wirePull(p, false))
		}
	}
	list, h := paged(s, c, found)
	return answer{status: http.StatusOK, body: list, header: h}
}

func (s *Server) getPermission(c *call) answer {
	role, known := s.state.roles[c.path["username"]]
	if !known {
		return notFound()
	}
	base := role
	switch role {
	case "maintain":
		base = "write"
	case "triage":
		base = "read"
	case "admin", "write", "read", "none":
	default:
		base = "write" // a role of an organization's own
	}
	return ok(map[string]any{"permission": base, "role_name": role, "user": user(c.path["username"], "User")})
}
