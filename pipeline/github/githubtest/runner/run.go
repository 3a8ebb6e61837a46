package runner

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rhysd/actionlint"
)

// States and conclusions, in GitHub's words.
const (
	Queued     = "queued"
	InProgress = "in_progress"
	Waiting    = "waiting" // for a reviewer
	Completed  = "completed"

	Success   = "success"
	Failure   = "failure"
	Cancelled = "cancelled"
	Skipped   = "skipped"
)

// Run is one run of a workflow.
type Run struct {
	ID         int64
	Attempt    int    // of a run that was started again, each is a Run of its own
	File       string // of the workflow, without its folder
	Name       string // the workflow's
	Title      string
	Event      string
	SHA, Ref   string // github.sha and github.ref
	HeadSHA    string // as the API tells it
	HeadBranch string
	Actor      string
	Status     string
	Conclusion string
	Why        string // it did not run as it should; empty: the jobs say all
	Jobs       []*Job
	Created    time.Time
	Started    time.Time
	Updated    time.Time

	held bool // paused
	w    *workflow
	on   occasion
}

// Job of a run.
type Job struct {
	ID          string // with the caller's before it, in a reusable workflow
	Status      string
	Conclusion  string
	Why         string
	Environment string
	Permissions map[string]string
	Steps       []Step
	Summary     string   // what it wrote for people
	Left        []string // processes that outlived it, and were ended
	Deployed    bool     // GitHub would show a deployment of its own

	src     *actionlint.Job
	verdict chan string // of the reviewers; empty: yes
}

// Step of a job.
type Step struct {
	Name       string
	Conclusion string
	Log        string
	Errors     []string // annotations ::error::
	Began      time.Time
	Took       time.Duration
}

// Job is the one with the id. It is nil where the run has none.
func (r *Run) Job(id string) *Job {
	for _, j := range r.Jobs {
		if j.ID == id {
			return j
		}
	}
	return nil
}

// Log is that of all the run's steps.
func (r *Run) Log() string {
	var b strings.Builder
	for _, j := range r.Jobs {
		for _, s := range j.Steps {
			fmt.Fprintf(&b, "-- %s, %s: %s\n%s", j.ID, s.Name, s.Conclusion, s.Log)
		}
	}
	return b.String()
}

// String is for whoever looks for what went wrong.
func (r *Run) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "run %d %q of %s on %s of %s by %s: %s %s %s\n", r.ID, r.Title, r.File, r.Event, r.Ref, r.Actor, r.Status, r.Conclusion, r.Why)
	for _, j := range r.Jobs {
		fmt.Fprintf(&b, "  job %s: %s %s %s\n", j.ID, j.Status, j.Conclusion, j.Why)
		for _, s := range j.Steps {
			fmt.Fprintf(&b, "    step %s: %s after %s\n", s.Name, s.Conclusion, s.Took.Round(10*time.Millisecond))
			for line := range strings.Lines(s.Log) {
				fmt.Fprintf(&b, "      %s\n", strings.TrimRight(line, "\n"))
			}
		}
	}
	return b.String()
}

// still says that nothing of it goes on without somebody else.
func (r *Run) still() bool {
	if r.Status == Completed || r.held {
		return true
	}
	waits := false
	for _, j := range r.Jobs {
		switch j.Status {
		case Waiting:
			waits = true
		case InProgress:
			return false
		}
	}
	return waits
}

func (r *Run) copied() *Run {
	c := *r
	c.Jobs = nil
	for _, j := range r.Jobs {
		one := *j
		one.Steps = slices.Clone(j.Steps)
		c.Jobs = append(c.Jobs, &one)
	}
	return &c
}

// conclude is the run's conclusion by those of its jobs.
func (r *Run) conclude() string {
	all := map[string]bool{}
	for _, j := range r.Jobs {
		all[j.Conclusion] = true
	}
	for _, c := range []string{Failure, Cancelled, Success, Skipped} {
		if all[c] {
			return c
		}
	}
	return Failure
}
