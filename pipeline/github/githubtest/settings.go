package githubtest

import (
	"net/http"
	"slices"
)

func (s *Server) listRules(c *call) answer {
	found := []any{}
	for _, set := range s.state.rulesets {
		if set.Disabled || !slices.Contains(set.Branches, c.path["branch"]) {
			continue
		}
		for _, r := range set.Rules {
			one := map[string]any{"ruleset_id": set.ID, "ruleset_source": s.options.Repository, "ruleset_source_type": "Repository"}
			for k, v := range r {
				one[k] = v
			}
			found = append(found, one)
		}
	}
	list, h := paged(s, c, found)
	return answer{status: http.StatusOK, body: list, header: h}
}

func (s *Server) getRuleset(c *call) answer {
	for _, set := range s.state.rulesets {
		if set.ID != number(c, "ruleset_id") {
			continue
		}
		rules := []any{}
		for _, r := range set.Rules {
			rules = append(rules, r)
		}
		m := map[string]any{"id": set.ID, "name": set.Name, "source": s.options.Repository, "enforcement": "active", "target": "branch", "rules": rules}
		if set.Bypass != nil {
			m["bypass_actors"] = set.Bypass
		}
		return ok(m)
	}
	return notFound()
}

func (s *Server) getProtection(c *call) answer {
	p, found := s.state.protection[c.path["branch"]]
	if !found {
		return refuse(http.StatusNotFound, "Branch not protected")
	}
	return ok(p)
}

func (e *Environment) wire() map[string]any {
	rules := []any{}
	if len(e.Reviewers) > 0 {
		reviewers := []any{}
		for _, r := range e.Reviewers {
			reviewers = append(reviewers, map[string]any{"type": "User", "reviewer": user(r, "User")})
		}
		rules = append(rules, map[string]any{"id": 1, "node_id": "x", "type": "required_reviewers", "prevent_self_review": e.NoSelfReview, "reviewers": reviewers})
	}
	if e.Wait > 0 {
		rules = append(rules, map[string]any{"id": 2, "node_id": "x", "type": "wait_timer", "wait_timer": e.Wait})
	}
	var policy any
	if e.Branches == "protected" || e.Branches == "patterns" {
		policy = map[string]any{"protected_branches": e.Branches == "protected", "custom_branch_policies": e.Branches == "patterns"}
		rules = append(rules, map[string]any{"id": 3, "node_id": "x", "type": "branch_policy"})
	}
	return map[string]any{"id": 1, "name": e.Name, "protection_rules": rules, "deployment_branch_policy": policy, "can_admins_bypass": true}
}

func (s *Server) listEnvironments(c *call) answer {
	found := []any{}
	for _, e := range s.state.places {
		found = append(found, e.wire())
	}
	list, h := paged(s, c, found)
	return answer{status: http.StatusOK, body: map[string]any{"total_count": len(found), "environments": list}, header: h}
}

func (s *Server) environment(c *call) *Environment {
	for _, e := range s.state.places {
		if e.Name == c.path["environment_name"] {
			return e
		}
	}
	return nil
}

func (s *Server) getEnvironment(c *call) answer {
	e := s.environment(c)
	if e == nil {
		return notFound()
	}
	return ok(e.wire())
}

func (s *Server) listBranchPolicies(c *call) answer {
	e := s.environment(c)
	if e == nil {
		return notFound()
	}
	found := []any{}
	for i, p := range e.Patterns {
		found = append(found, map[string]any{"id": i + 1, "name": p, "type": "branch"})
	}
	list, h := paged(s, c, found)
	return answer{status: http.StatusOK, body: map[string]any{"total_count": len(found), "branch_policies": list}, header: h}
}

func (s *Server) secretList(c *call, names []string) answer {
	found := []any{}
	for _, n := range names {
		found = append(found, map[string]any{"name": n, "created_at": stamp(s.Clock.Now()), "updated_at": stamp(s.Clock.Now())})
	}
	list, h := paged(s, c, found)
	return answer{status: http.StatusOK, body: map[string]any{"total_count": len(found), "secrets": list}, header: h}
}

func (s *Server) listEnvironmentSecrets(c *call) answer {
	e := s.environment(c)
	if e == nil {
		return notFound()
	}
	return s.secretList(c, e.Secrets)
}

func (s *Server) listSecrets(c *call) answer { return s.secretList(c, s.state.secrets) }

func (s *Server) getActions(*call) answer { return ok(s.state.actions) }

func (s *Server) getWorkflowPermissions(*call) answer { return ok(s.state.workflows) }

func (s *Server) listCodeownersErrors(*call) answer {
	if !s.state.codeOwners {
		return notFound()
	}
	return ok(map[string]any{"errors": s.state.codeErrors})
}
