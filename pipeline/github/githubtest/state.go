package githubtest

import (
	"time"
)

// state is what GitHub keeps.
type state struct {
	id          int64 // the last one that was given
	checkRuns   []*checkRun
	deployments []*deployment
	comments    []*comment
	pulls       []*Pull
	reviews     map[int][]*Review
	runs        []*Run
	artifacts   []*artifact
	roles       map[string]string
	rulesets    []*Ruleset
	protection  map[string]map[string]any
	places      []*Environment
	secrets     []string
	actions     map[string]any
	workflows   map[string]any
	dispatches  []Dispatched
	approvals   map[int64][]any // of runs
	uploads     []Upload
	codeErrors  []any
	codeOwners  bool
	scanning    bool
	uninstalled bool
	workflowOf  map[string]string // file → YAML, where there is no Git
}

func (st *state) init() {
	st.id = 1000
	st.reviews = map[int][]*Review{}
	st.roles = map[string]string{}
	st.protection = map[string]map[string]any{}
	st.workflowOf = map[string]string{}
	st.actions = map[string]any{"enabled": true, "allowed_actions": "all", "sha_pinning_required": false}
	st.workflows = map[string]any{"default_workflow_permissions": "read", "can_approve_pull_request_reviews": false}
	st.scanning = true
}

func (st *state) next() int64 {
	st.id++
	return st.id
}

// Pull is a pull request.
type Pull struct {
	Number     int // 0: the next one
	State      string
	Author     string
	Title      string
	HeadSHA    string
	HeadBranch string
	HeadRepo   string // owner/name; empty: the repository itself
	BaseSHA    string
	BaseBranch string   // empty: the default branch
	Files      []string // empty with Git: what differs from the merge base
	Counted    int      // how many files GitHub counts; 0: len(Files)
	// Unreachable hides the pull request from GitHub's way from a commit to its
	// pull requests, as it is with a fork's.
	Unreachable bool
}

// Review of a pull request.
type Review struct {
	Login  string
	State  string // APPROVED, CHANGES_REQUESTED, COMMENTED, DISMISSED, PENDING
	Commit string
	At     time.Time // zero: now
	ID     int64
}

// Run of a workflow.
type Run struct {
	ID         int64 // 0: the next one
	Path       string
	Event      string
	HeadSHA    string
	HeadBranch string
	HeadRepo   string // empty: the repository itself
	Attempt    int    // 0: 1
	Status     string // empty: completed
	Conclusion string // empty with completed: success
	Title      string
	Actor      string
	Created    time.Time // zero: now
	Started    time.Time // zero: Created
	Updated    time.Time // zero: now
}

type artifact struct {
	id      int64
	run     int64
	name    string
	zip     []byte
	size    int64
	expired bool
	created time.Time
}

// Ruleset with its rules as GitHub has them: {"type": …, "parameters": …}.
type Ruleset struct {
	ID       int64
	Name     string
	Branches []string
	Rules    []map[string]any
	Bypass   []map[string]any
	Disabled bool
}

// RequiredChecks is the rule that requires check runs of an App; 0: anybody's.
func RequiredChecks(app int64, names ...string) map[string]any {
	checks := []any{}
	for _, n := range names {
		one := map[string]any{"context": n}
		if app != 0 {
			one["integration_id"] = app
		}
		checks = append(checks, one)
	}
	return map[string]any{"type": "required_status_checks", "parameters": map[string]any{"required_status_checks": checks, "strict_required_status_checks_policy": true}}
}

// Environment of the repository.
type Environment struct {
	Name         string
	Reviewers    []string
	NoSelfReview bool
	Wait         int
	Branches     string   // all, protected or patterns
	Patterns     []string // with patterns
	Secrets      []string
}

// Dispatched is a workflow that was started by hand.
type Dispatched struct {
	Workflow, Ref string
	Inputs        map[string]any
	Who           string
	Run           int64
}

// Upload is SARIF that code scanning took.
type Upload struct {
	Commit, Ref string
	SARIF       []byte
}

// AddPull opens a pull request and returns its number.
func (s *Server) AddPull(p Pull) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Number == 0 {
		p.Number = len(s.state.pulls) + 1
	}
	if p.State == "" {
		p.State = "open"
	}
	if p.BaseBranch == "" {
		p.BaseBranch = s.options.DefaultBranch
	}
	if p.HeadRepo == "" {
		p.HeadRepo = s.options.Repository
	}
	if p.BaseSHA == "" {
		p.BaseSHA = s.git.resolve(p.BaseBranch)
	}
	s.state.pulls = append(s.state.pulls, &p)
	return p.Number
}

// Push moves a pull request's head.
func (s *Server) Push(number int, sha string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.state.pull(int64(number)); p != nil {
		p.HeadSHA = sha
	}
}

// AddReview reviews.
func (s *Server) AddReview(number int, r Review) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.ID = s.state.next()
	if r.At.IsZero() {
		r.At = s.Clock.Now()
	}
	s.state.reviews[number] = append(s.state.reviews[number], &r)
}

// SetRole says what somebody may do: admin, maintain, write, triage, read, none.
func (s *Server) SetRole(login, role string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.roles[login] = role
}

// AddRun adds a run and returns its id.
func (s *Server) AddRun(r Run) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addRun(r)
}

func (s *Server) addRun(r Run) int64 {
	now := s.Clock.Now().UTC().Truncate(time.Second)
	if r.ID == 0 {
		r.ID = s.state.next()
	}
	r.Attempt = max(r.Attempt, 1)
	if r.Status == "" {
		r.Status = "completed"
	}
	if r.Status == "completed" && r.Conclusion == "" {
		r.Conclusion = "success"
	}
	if r.HeadRepo == "" {
		r.HeadRepo = s.options.Repository
	}
	if r.Created.IsZero() {
		r.Created = now
	}
	if r.Started.IsZero() {
		r.Started = r.Created
	}
	if r.Updated.IsZero() {
		r.Updated = now
	}
	if r.Actor == "" {
		r.Actor = "somebody"
	}
	s.state.runs = append(s.state.runs, &r)
	return r.ID
}

// AddArtifact uploads a zip archive for a run.
func (s *Server) AddArtifact(run int64, name string, zip []byte) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &artifact{id: s.state.next(), run: run, name: name, zip: zip, size: int64(len(zip)), created: s.Clock.Now()}
	s.state.artifacts = append(s.state.artifacts, a)
	return a.id
}

// ExpireArtifacts lets all artifacts end.
func (s *Server) ExpireArtifacts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.state.artifacts {
		a.expired = true
	}
}

// SayComment lets somebody comment, and returns the comment's id.
func (s *Server) SayComment(number int, login, body string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &comment{id: s.state.next(), number: number, login: login, body: body, at: s.Clock.Now(), reactions: map[string]bool{}}
	s.state.comments = append(s.state.comments, c)
	return c.id
}

// AddRuleset makes a ruleset active.
func (s *Server) AddRuleset(r Ruleset) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.ID = s.state.next()
	s.state.rulesets = append(s.state.rulesets, &r)
}

// SetProtection protects a branch; what is not given, GitHub's answer says not.
func (s *Server) SetProtection(branch string, p map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.protection[branch] = p
}

// AddEnvironment adds an environment.
func (s *Server) AddEnvironment(e Environment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.places = append(s.state.places, &e)
}

// SetSecrets names the repository's secrets.
func (s *Server) SetSecrets(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.secrets = names
}

// SetWorkflowToken says what a workflow's token may do by default: read, write.
func (s *Server) SetWorkflowToken(level string, approves bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.workflows = map[string]any{"default_workflow_permissions": level, "can_approve_pull_request_reviews": approves}
}

// SetAllowedActions says which actions may run: all, local_only, selected.
func (s *Server) SetAllowedActions(allowed string, pinned bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.actions = map[string]any{"enabled": true, "allowed_actions": allowed, "sha_pinning_required": pinned}
}

// SetCodeScanning turns code scanning on or off.
func (s *Server) SetCodeScanning(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.scanning = on
}

// SetCodeowners says that there is a CODEOWNERS file, and which of its lines
// GitHub complains of.
func (s *Server) SetCodeowners(kinds ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.codeOwners, s.state.codeErrors = true, []any{}
	for i, k := range kinds {
		s.state.codeErrors = append(s.state.codeErrors, map[string]any{
			"line": i + 1, "column": 1, "kind": k, "path": ".github/CODEOWNERS", "source": "* @nobody", "suggestion": "", "message": k,
		})
	}
}

// Uninstall takes the App away from the repository.
func (s *Server) Uninstall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.uninstalled = true
}

// SetWorkflow gives a workflow's text where there is no Git repository.
func (s *Server) SetWorkflow(file, yaml string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.workflowOf[file] = yaml
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

func (st *state) pull(number int64) *Pull {
	for _, p := range st.pulls {
		if int64(p.Number) == number {
			return p
		}
	}
	return nil
}
