package githubtest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// View is what a reader sees at the end.
type View struct {
	Commits     map[string]Commit // by hash
	Comments    map[int][]Said    // by pull request, oldest first
	Deployments []Deployed        // oldest first
	Dispatches  []Dispatched
	Uploads     []Upload
}

// Commit is a commit's checks, each as it stands: of one App and name, GitHub
// shows the run that was created last.
type Commit struct {
	Checks []Check // by App and name
}

// Check is one.
type Check struct {
	ID            int64
	App           string
	Name          string
	Status        string
	Conclusion    string
	External      string
	Title         string
	Summary       string
	Text          string
	Details       string
	Annotations   []string // file:line level title: message
	Runs          int      // of that App and name
	Contradiction bool     // two completed runs of one external id differ
}

// Check is the one of that App and name; nil: none.
func (c Commit) Check(app, name string) *Check {
	for i := range c.Checks {
		if c.Checks[i].App == app && c.Checks[i].Name == name {
			return &c.Checks[i]
		}
	}
	return nil
}

// Said is a comment.
type Said struct {
	ID        int64
	Login     string
	Body      string
	Reactions []string // who and what
}

// Deployed is a deployment.
type Deployed struct {
	ID          int64
	Commit      string
	Environment string
	Payload     any
	State       string
	States      []string
	URL, LogURL string // of the last status that had one
}

// View looks at everything.
func (s *Server) View() View {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := View{Commits: map[string]Commit{}, Comments: map[int][]Said{}}
	for _, r := range s.state.checkRuns {
		if _, seen := v.Commits[r.sha]; !seen {
			v.Commits[r.sha] = s.commit(r.sha)
		}
	}
	for _, c := range s.state.comments {
		v.Comments[c.number] = append(v.Comments[c.number], Said{c.id, c.login, c.body, c.reacted()})
	}
	for _, d := range s.state.deployments {
		one := Deployed{ID: d.id, Commit: d.sha, Environment: d.environment, Payload: d.payload, State: d.state()}
		for _, st := range d.statuses {
			one.States = append(one.States, st.state)
			one.URL, one.LogURL = cmp.Or(st.url, one.URL), cmp.Or(st.log, one.LogURL)
		}
		v.Deployments = append(v.Deployments, one)
	}
	v.Dispatches = slices.Clone(s.state.dispatches)
	v.Uploads = slices.Clone(s.state.uploads)
	return v
}

func (s *Server) commit(sha string) Commit {
	var out Commit
	all := s.latest(sha, false)
	for _, r := range s.latest(sha, true) {
		c := Check{ID: r.id, App: r.slug, Name: r.name, Status: r.status, Conclusion: r.conclusion, External: r.external, Title: r.title, Summary: r.summary, Text: r.text, Details: r.details}
		for _, a := range r.annotations {
			c.Annotations = append(c.Annotations, fmt.Sprintf("%s:%v %s %s: %s", a["path"], a["start_line"], a["annotation_level"], text(a, "title"), text(a, "message")))
		}
		said := map[string]map[string]bool{}
		for _, o := range all {
			if o.appID != r.appID || o.name != r.name {
				continue
			}
			c.Runs++
			if o.status == "completed" && o.conclusion != "cancelled" { // that is superseded
				if said[o.external] == nil {
					said[o.external] = map[string]bool{}
				}
				said[o.external][o.conclusion] = true
			}
		}
		for _, conclusions := range said {
			c.Contradiction = c.Contradiction || len(conclusions) > 1
		}
		out.Checks = append(out.Checks, c)
	}
	slices.SortFunc(out.Checks, func(a, b Check) int { return cmp.Or(strings.Compare(a.App, b.App), strings.Compare(a.Name, b.Name)) })
	return out
}

// Required is a check that a ruleset requires, and whether a commit has it.
type Required struct {
	Name  string
	App   int64 // 0: anybody's
	Holds bool
	Why   string
}

// Required looks whether the commit could be merged into the branch, as far as
// its checks go. GitHub lets success, neutral and skipped pass.
func (s *Server) Required(sha, branch string) []Required {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Required
	for _, set := range s.state.rulesets {
		if set.Disabled || !slices.Contains(set.Branches, branch) {
			continue
		}
		for _, rule := range set.Rules {
			p, _ := rule["parameters"].(map[string]any)
			checks, _ := p["required_status_checks"].([]any)
			for _, one := range checks {
				m, _ := one.(map[string]any)
				out = append(out, s.required(sha, m))
			}
		}
	}
	return out
}

func (s *Server) required(sha string, m map[string]any) Required {
	r := Required{Name: text(m, "context"), Why: "no such check run"}
	switch id := m["integration_id"].(type) {
	case int64:
		r.App = id
	case int:
		r.App = int64(id)
	}
	seen := map[string]bool{}
	for _, run := range s.latest(sha, true) {
		if run.name != r.Name || r.App != 0 && run.appID != r.App {
			continue
		}
		seen[run.status+" "+run.conclusion] = true
	}
	good := map[string]bool{"completed success": true, "completed neutral": true, "completed skipped": true}
	for state := range seen {
		if !good[state] {
			r.Why = strings.TrimSpace(state)
			return r
		}
	}
	if len(seen) > 0 {
		r.Holds, r.Why = true, strings.Join(slices.Sorted(maps.Keys(seen)), ", ")
	}
	return r
}
