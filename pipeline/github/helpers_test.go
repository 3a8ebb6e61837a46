package github_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/checks"
	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
	"github.com/smartcloudops/gate/policies"
)

const (
	commitA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	commitB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// app is a client that is gate's App.
func app(t testing.TB, s *githubtest.Server, change ...func(*github.Options)) *github.Client {
	t.Helper()
	return client(t, s, append([]func(*github.Options){func(o *github.Options) { o.AppID, o.AppKey = githubtest.AppID, s.Key }}, change...)...)
}

// workflow is a client with a workflow's own token.
func workflow(t testing.TB, s *githubtest.Server, permissions map[string]string) *github.Client {
	t.Helper()
	return client(t, s, func(o *github.Options) { o.Token = s.ActionsToken(permissions) })
}

func client(t testing.TB, s *githubtest.Server, change ...func(*github.Options)) *github.Client {
	t.Helper()
	o := github.Options{Repository: "smartcloudops/gate", API: s.URL, Now: s.Clock.Now, Sleep: s.Clock.Sleep, Patience: 4 * time.Hour, Attempt: 20 * time.Second}
	for _, f := range change {
		f(&o)
	}
	c, err := github.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// verdict is one with a criterion of each given verdict, whose worst rules.
func verdict(at time.Time, all ...policies.Verdict) github.Verdict {
	order := []policies.Verdict{policies.Pass, policies.Warn, policies.Inconclusive, policies.Fail, policies.Error}
	worst := 0
	d := policies.Decision{Release: digest('e'), Commit: commitA, Environment: "staging", Stage: policies.Admission, At: at, PolicyDigest: digest('1'), InputDigest: digest('2')}
	for i, v := range all {
		d.Criteria = append(d.Criteria, policies.Criterion{
			ID: []string{"tests", "scan", "config", "load", "update", "tls"}[i], Title: "a title", Verdict: v, Got: "p95 2.31 s", Want: "p95 < 2 s", Evidence: []string{digest('3')}, Why: "because", Next: "gate verify staging",
		})
		for j, o := range order {
			if o == v {
				worst = max(worst, j)
			}
		}
	}
	d.Verdict = order[worst]
	d.ID = fmt.Sprintf("sha256:%064x", at.UnixNano())
	return github.Verdict{Commit: commitA, Environment: "staging", Decision: d, DetailsURL: "https://github.com/smartcloudops/gate/actions/runs/7"}
}

func digest(r rune) string { return "sha256:" + strings.Repeat(string(r), 64) }

func finding(i int) checks.Finding {
	return checks.Finding{Tool: "gosec", Rule: "G404", Severity: "high", File: fmt.Sprintf("app/f%d.go", i), Line: i + 1, Message: "weak random numbers", Fix: "crypto/rand"}
}
