// Package github tells GitHub what gate found, and asks it what gate must know:
// check runs, deployments, one comment a pull request, SARIF; runs, artifacts,
// reviews, settings. It is the only package that knows GitHub's API.
package github

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"
)

// Authority says what the check runs of a client are worth.
type Authority string

// Authorities.
const (
	// App: published by gate's own GitHub App. A ruleset can require the check
	// run of that App, and no workflow can forge it.
	App Authority = "app"
	// Advisory: published with a plain token. Any workflow that may write check
	// runs can publish the same.
	Advisory Authority = "advisory"
)

// DefaultAPI is GitHub.com's.
const DefaultAPI = "https://api.github.com"

// Options of a Client. Either AppID and AppKey, or Token.
type Options struct {
	Repository string // owner/name
	API        string // base address; empty: DefaultAPI. Enterprise: https://host/api/v3
	Uploads    string // upload address; empty: derived from API
	AppID      int64
	AppKey     []byte // PEM of the App's RSA private key
	Token      string

	Transport http.RoundTripper                          // nil: http.DefaultTransport
	Now       func() time.Time                           // nil: time.Now
	Sleep     func(context.Context, time.Duration) error // nil: waits in real time
	Patience  time.Duration                              // how long one call is tried; 0: 10 minutes
	Attempt   time.Duration                              // how long one attempt may take; 0: 30 seconds
}

// OptionsFrom reads GITHUB_REPOSITORY, GITHUB_API_URL, and GATE_APP_ID with
// GATE_APP_KEY, else GITHUB_TOKEN.
func OptionsFrom(getenv func(string) string) (Options, error) {
	o := Options{Repository: getenv("GITHUB_REPOSITORY"), API: getenv("GITHUB_API_URL"), Token: getenv("GITHUB_TOKEN")}
	id, key := getenv("GATE_APP_ID"), getenv("GATE_APP_KEY")
	switch {
	case id != "" && key != "":
		if _, err := fmt.Sscanf(id, "%d", &o.AppID); err != nil || fmt.Sprint(o.AppID) != id {
			return Options{}, errors.New("GATE_APP_ID is no number: set it to the App's id, as its settings show it")
		}
		o.AppKey, o.Token = []byte(key), ""
	case id != "" || key != "":
		// Half an App is a mistake: to go on with less authority would hide it.
		return Options{}, errors.New("only one of GATE_APP_ID and GATE_APP_KEY is set: set both, or neither to publish as advisory")
	}
	return o, nil
}

// Client speaks to one repository. It is safe for concurrent use.
type Client struct {
	owner, repo string
	api         *gh.Client // with the installation's token, or the plain one
	tokens      *tokens
	plain       *http.Client // without credentials, for what GitHub redirects to
	now         func() time.Time
	sleep       func(context.Context, time.Duration) error
	attempt     time.Duration
	patience    time.Duration
	identity    memo[Identity]
}

var repositoryName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,99}/[A-Za-z0-9._-]{1,100}$`)

// New makes a client and asks GitHub nothing yet. Errors name the option, never
// its value.
func New(o Options) (*Client, error) {
	if !repositoryName.MatchString(o.Repository) || strings.HasSuffix(o.Repository, "/..") || strings.HasSuffix(o.Repository, "/.") {
		return nil, errors.New("the repository is not given as owner/name: set GITHUB_REPOSITORY")
	}
	app := o.AppID != 0 || len(o.AppKey) > 0
	if app == (o.Token != "") {
		return nil, errors.New("GitHub needs either an App's id and private key, or a token: set GATE_APP_ID and GATE_APP_KEY, or GITHUB_TOKEN")
	}
	if o.API == "" {
		o.API = DefaultAPI
	}
	base, err := address(o.API)
	if err != nil {
		return nil, fmt.Errorf("the API address (GITHUB_API_URL): %w", err)
	}
	uploads := base
	if o.Uploads != "" {
		if uploads, err = address(o.Uploads); err != nil {
			return nil, fmt.Errorf("the upload address: %w", err)
		}
	}
	c := &Client{now: o.Now, sleep: o.Sleep, attempt: o.Attempt, patience: o.Patience}
	c.owner, c.repo, _ = strings.Cut(o.Repository, "/")
	if c.now == nil {
		c.now = time.Now
	}
	if c.sleep == nil {
		c.sleep = sleep
	}
	if c.attempt == 0 {
		c.attempt = 30 * time.Second
	}
	if c.patience == 0 {
		c.patience = 10 * time.Minute
	}
	below := o.Transport
	if below == nil {
		below = http.DefaultTransport
	}
	hosts := []string{base.Host, uploads.Host}
	client := func(credentials func(context.Context) (string, error), rejected func(string)) *gh.Client {
		g := gh.NewClient(&http.Client{
			Transport:     &transport{below: below, hosts: hosts, credentials: credentials, rejected: rejected, now: c.now, sleep: c.sleep, patience: c.patience, attempt: c.attempt},
			CheckRedirect: sameHost,
		})
		g.BaseURL, g.UploadURL, g.UserAgent = base, uploads, "gate"
		return g
	}
	if c.tokens, err = newTokens(o, c); err != nil {
		return nil, err
	}
	c.tokens.app = client(c.tokens.jwt, func(string) {})
	c.api = client(c.tokens.token, nil)
	if o.Token == "" {
		c.api = client(c.tokens.token, c.tokens.reject)
	}
	c.plain = &http.Client{Transport: below, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// address insists on TLS: the token goes there.
func address(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("is no address: write it as https://host/path")
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())) {
		return nil, errors.New("is not https: a token may not go there")
	}
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	return u, nil
}

// sameHost follows a renamed repository, and lets no token go elsewhere.
func sameHost(req *http.Request, via []*http.Request) error {
	if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme || req.Method != via[0].Method || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

// Repository is owner/name.
func (c *Client) Repository() string { return c.owner + "/" + c.repo }

// Authority says what this client's check runs are worth.
func (c *Client) Authority() Authority {
	if c.tokens.appID != 0 {
		return App
	}
	return Advisory
}

// Identity is who the client is to GitHub.
type Identity struct {
	Login string // of its comments
	AppID int64  // 0: not known
	Slug  string // of the App that its check runs belong to
}

// actionsSlug is the App that a workflow's own token acts for.
const actionsSlug = "github-actions"

// Identity asks GitHub once who the client is.
func (c *Client) Identity(ctx context.Context) (Identity, error) {
	return c.identity.get(func() (Identity, error) {
		if c.Authority() == App {
			app, _, err := c.tokens.app.Apps.Get(ctx, "")
			if err != nil {
				return Identity{}, c.fail("read the App", err)
			}
			if app.GetID() != c.tokens.appID || app.GetSlug() == "" {
				return Identity{}, fmt.Errorf("GitHub: read the App: it is another than the one with the id given: %w", ErrUnauthorized)
			}
			return Identity{Login: app.GetSlug() + "[bot]", AppID: app.GetID(), Slug: app.GetSlug()}, nil
		}
		user, _, err := c.api.Users.Get(ctx, "")
		err = c.fail("read the token's user", err)
		switch {
		case err == nil && user.GetLogin() != "":
			return Identity{Login: user.GetLogin(), Slug: actionsSlug}, nil
		case errors.Is(err, ErrForbidden), errors.Is(err, ErrNotFound):
			// A workflow's own token is no user, and may not ask.
			return Identity{Login: actionsSlug + "[bot]", Slug: actionsSlug}, nil
		case err == nil:
			return Identity{}, fmt.Errorf("GitHub: read the token's user: it has no login: %w", ErrUnavailable)
		}
		return Identity{}, err
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
