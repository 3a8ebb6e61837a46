package githubtest

import "net/http"

// ReviewRun says what somebody has said of a run that waits for a protected
// environment: approved or rejected. The newest is listed first.
func (s *Server) ReviewRun(run int64, environment, login, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.approvals == nil {
		s.state.approvals = map[int64][]any{}
	}
	s.state.approvals[run] = append([]any{map[string]any{
		"state": state, "comment": "looks good", "environments": []any{map[string]any{"id": 1, "name": environment}}, "user": account(login),
	}}, s.state.approvals[run]...)
}

func (s *Server) listRunApprovals(c *call) answer {
	return answer{status: http.StatusOK, body: append([]any{}, s.state.approvals[number(c, "run_id")]...)}
}
