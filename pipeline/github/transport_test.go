package github_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/smartcloudops/gate/pipeline/github"
	"github.com/smartcloudops/gate/pipeline/github/githubtest"
)

func TestPatienceIsWhatGitHubAsksFor(t *testing.T) {
	for _, c := range []struct {
		fault    githubtest.Fault
		at, most time.Duration
	}{
		{githubtest.SecondaryAfter, 11 * time.Second, 15 * time.Second},
		{githubtest.TooMany, 7 * time.Second, 10 * time.Second},
		{githubtest.Primary, 40 * time.Second, 60 * time.Second},
		{githubtest.Secondary, time.Minute, 80 * time.Second},
		{githubtest.Broken, time.Second, 2 * time.Second},
		{githubtest.LostRequest, 0, 2 * time.Second}, // net/http itself sends a GET again on another connection
		{githubtest.LostReply, 0, 2 * time.Second},
		{githubtest.Truncated, time.Second, 2 * time.Second},
	} {
		t.Run(string(c.fault), func(t *testing.T) {
			s := githubtest.New(t, githubtest.Options{})
			s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA})
			g, before := app(t, s), s.Clock.Now()
			s.FailNext("GET", "/pulls/1", c.fault, 1)
			if _, err := g.PullRequest(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			if took := s.Clock.Now().Sub(before); took < c.at || took > c.most {
				t.Errorf("asked again after %v, want %v to %v", took, c.at, c.most)
			}
		})
	}
}

func TestPatienceEnds(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	g := app(t, s, func(o *github.Options) { o.Patience = 30 * time.Second })
	s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA})
	s.FailNext("GET", "/pulls/1", githubtest.Primary, 99)
	_, err := g.PullRequest(t.Context(), 1)
	var limit *github.RateLimitError
	if !errors.As(err, &limit) || !errors.Is(err, github.ErrRateLimited) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("error %v; want the time at which the limit ends", err)
	}
	s.Calm()
	s.FailNext("GET", "/pulls/1", githubtest.Broken, 99)
	s.Clock.Advance(time.Hour)
	if _, err := app(t, s).PullRequest(t.Context(), 1); !errors.Is(err, github.ErrUnavailable) {
		t.Errorf("error %v, want unavailable", err)
	}
}

func TestPlainRefusalIsNotTriedAgain(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{Permissions: map[string]string{"metadata": "read"}})
	_, err := app(t, s).PublishVerdict(t.Context(), verdict(s.Clock.Now(), "pass"))
	var refusal *github.APIError
	if !errors.As(err, &refusal) || refusal.Status != 403 || !errors.Is(err, github.ErrForbidden) {
		t.Fatalf("error %v, want the refusal", err)
	}
	n := 0
	for _, r := range s.Requests() {
		if r.Method == "POST" && strings.HasSuffix(r.Path, "/check-runs") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("sent %d times, want once", n)
	}
}

func TestTokensAreRenewed(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	s.AddPull(githubtest.Pull{Author: "somebody", HeadSHA: commitA})
	g := app(t, s)
	for range 3 {
		if _, err := g.PullRequest(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		s.Clock.Advance(57 * time.Minute) // it ends in three
	}
	if _, err := g.PullRequest(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	s.RevokeTokens()
	if _, err := g.PullRequest(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, "/access_tokens") {
			n++
		}
	}
	if n != 5 {
		t.Errorf("%d tokens, want one for each of three times, one more for the time after, and one after the revocation", n)
	}
}

func TestUninstalledAppIsSaidSo(t *testing.T) {
	s := githubtest.New(t, githubtest.Options{})
	s.Uninstall()
	g := app(t, s)
	if _, err := g.PullRequest(t.Context(), 1); !errors.Is(err, github.ErrNotFound) || !strings.Contains(err.Error(), "installation") {
		t.Errorf("error %v", err)
	}
	if i, err := g.Installation(t.Context()); err != nil || i.Installed != github.No {
		t.Errorf("installation %+v, %v", i, err)
	}
}

func TestATimeoutIsALostReply(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		select {
		case <-release:
		case <-req.Context().Done():
		}
	}))
	defer s.Close()
	defer close(release)
	g, err := github.New(github.Options{Repository: "a/b", API: s.URL, Token: fakeToken, Attempt: 20 * time.Millisecond, Patience: time.Second, Sleep: func(context.Context, time.Duration) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.React(t.Context(), 1, github.Seen); !errors.Is(err, github.ErrUnavailable) {
		t.Errorf("harmless to repeat: error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.PullRequest(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	const token = fakeToken
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(422)
		fmt.Fprintf(w, `{"message":"you sent %s\n::set-output name=x::y\u202e"}`, req.Header.Get("Authorization"))
	}))
	defer s.Close()
	g, err := github.New(github.Options{Repository: "a/b", API: s.URL, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.PullRequest(t.Context(), 1)
	if err == nil || strings.Contains(err.Error(), "verysecret") || strings.ContainsAny(err.Error(), "\n\u202e") || strings.Contains(err.Error(), "::set") {
		t.Errorf("error %q", err)
	}
	for _, o := range []github.Options{
		{Repository: "a/b", AppID: 1, AppKey: []byte("-----BEGIN RSA PRIVATE KEY-----\nverysecret\n-----END RSA PRIVATE KEY-----\n")},
		{Repository: "a/b", API: "http://example.com", Token: token},
		{Repository: "a/b", API: "https://user:verysecret@example.com", Token: token},
		{Repository: "a/b"},
		{Repository: "a/b/c", Token: token},
		{Repository: "a/..", Token: token},
		{Repository: "a/b", Token: token, AppID: 1},
	} {
		if _, err := github.New(o); err == nil || strings.Contains(err.Error(), "verysecret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: error %v", o.Repository, err)
		}
	}
}

func TestTokensGoNowhereElse(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		t.Errorf("another host was asked, with %q", req.Header.Get("Authorization"))
	}))
	defer other.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, other.URL, http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	g, err := github.New(github.Options{Repository: "a/b", API: s.URL, Token: fakeToken})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.PullRequest(t.Context(), 1); err == nil {
		t.Error("no error")
	}
	if err := g.React(t.Context(), 1, github.Seen); err == nil {
		t.Error("no error")
	}
}

func TestOptionsComeFromTheEnvironment(t *testing.T) {
	env := map[string]string{"GITHUB_REPOSITORY": "a/b", "GITHUB_API_URL": "https://ghes.example/api/v3", "GITHUB_TOKEN": "t", "GATE_APP_ID": "12", "GATE_APP_KEY": "k"}
	getenv := func(name string) string { return env[name] }
	o, err := github.OptionsFrom(getenv)
	if err != nil || o.AppID != 12 || o.Token != "" || o.API != env["GITHUB_API_URL"] {
		t.Errorf("%+v, %v", o, err)
	}
	delete(env, "GATE_APP_KEY")
	if _, err := github.OptionsFrom(getenv); err == nil {
		t.Error("half an App is taken for none")
	}
	delete(env, "GATE_APP_ID")
	if o, err := github.OptionsFrom(getenv); err != nil || o.Token != "t" || o.AppID != 0 {
		t.Errorf("%+v, %v", o, err)
	}
}

// fakeToken is put together here, so that no scan takes it for a real one.
const fakeToken = "ghp" + "_" + "very" + "very" + "secret"
