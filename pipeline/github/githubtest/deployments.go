package githubtest

import (
	"net/http"
	"slices"
	"time"
)

type deployment struct {
	id                    int64
	sha, ref, environment string
	task, description     string
	payload               any
	creator               string
	production, transient bool
	created               time.Time
	statuses              []*status
}

type status struct {
	id                      int64
	state, description, who string
	url, log                string
	at                      time.Time
}

func (s *Server) listDeployments(c *call) answer {
	found := []any{}
	for _, d := range slices.Backward(s.state.deployments) {
		fits := func(key, value string) bool { q := c.query.Get(key); return q == "" || q == "none" || q == value }
		if fits("sha", d.sha) && fits("ref", d.ref) && fits("environment", d.environment) && fits("task", d.task) {
			found = append(found, d.wire())
		}
	}
	list, h := paged(s, c, found)
	return answer{status: http.StatusOK, body: list, header: h}
}

func (s *Server) createDeployment(c *call) answer {
	ref := text(c.body, "ref")
	sha := ref
	if len(ref) != 40 {
		sha = s.git.resolve(ref)
	}
	switch {
	case !s.git.has(sha):
		return refuse(http.StatusUnprocessableEntity, "No ref found for: "+ref)
	case c.body["auto_merge"] != false:
		return refuse(http.StatusConflict, "Conflict merging the default branch into "+ref)
	case c.body["required_contexts"] == nil:
		return refuse(http.StatusConflict, "Conflict: Commit status checks failed for "+ref)
	case len(text(c.body, "description")) > 140:
		return refuse(http.StatusUnprocessableEntity, "description is too long")
	}
	d := &deployment{id: s.state.next(), sha: sha, ref: ref, environment: text(c.body, "environment"), task: "deploy", description: text(c.body, "description"), payload: c.body["payload"], creator: c.who.name, created: s.Clock.Now()}
	if d.environment == "" {
		d.environment = "production"
	}
	if v, ok := c.body["production_environment"].(bool); ok {
		d.production = v
	} else {
		d.production = d.environment == "production"
	}
	d.transient, _ = c.body["transient_environment"].(bool)
	s.state.deployments = append(s.state.deployments, d)
	return created(d.wire())
}

func (d *deployment) wire() map[string]any {
	payload := d.payload
	if payload == nil {
		payload = ""
	}
	return map[string]any{
		"id": d.id, "sha": d.sha, "ref": d.ref, "environment": d.environment, "task": d.task, "description": d.description, "payload": payload,
		"creator": account(d.creator), "created_at": stamp(d.created), "updated_at": stamp(d.created), "production_environment": d.production, "transient_environment": d.transient,
	}
}

func (s *Server) deployment(id int64) *deployment {
	for _, d := range s.state.deployments {
		if d.id == id {
			return d
		}
	}
	return nil
}

func (s *Server) listStatuses(c *call) answer {
	d := s.deployment(number(c, "deployment_id"))
	if d == nil {
		return notFound()
	}
	found := []any{}
	for _, st := range slices.Backward(d.statuses) {
		found = append(found, st.wire(d))
	}
	list, h := paged(s, c, found)
	return answer{status: http.StatusOK, body: list, header: h}
}

func (d *deployment) state() string {
	if len(d.statuses) == 0 {
		return "pending"
	}
	return d.statuses[len(d.statuses)-1].state
}

func (s *Server) createStatus(c *call) answer {
	d := s.deployment(number(c, "deployment_id"))
	if d == nil {
		return notFound()
	}
	state := text(c.body, "state")
	if len(text(c.body, "description")) > 140 {
		return refuse(http.StatusUnprocessableEntity, "description is too long")
	}
	st := d.set(s, state, c.who.name)
	st.description, st.url, st.log = text(c.body, "description"), text(c.body, "environment_url"), text(c.body, "log_url")
	if c.body["auto_inactive"] != false && state == "success" {
		for _, o := range s.state.deployments {
			if o.id < d.id && o.environment == d.environment && !o.production && !o.transient && o.state() != "inactive" {
				o.set(s, "inactive", c.who.name)
			}
		}
	}
	return created(st.wire(d))
}

func (d *deployment) set(s *Server, state, who string) *status {
	st := &status{id: s.state.next(), state: state, who: who, at: s.Clock.Now()}
	d.statuses = append(d.statuses, st)
	return st
}

func (st *status) wire(d *deployment) map[string]any {
	return map[string]any{
		"id": st.id, "state": st.state, "description": st.description, "environment": d.environment, "environment_url": st.url, "log_url": st.log, "target_url": st.log,
		"creator": account(st.who), "created_at": stamp(st.at), "updated_at": stamp(st.at),
	}
}
