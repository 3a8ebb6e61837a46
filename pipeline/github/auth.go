package github

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	gh "github.com/google/go-github/v60/github"
)

// tokens hands out what authenticates: a plain token, or the App's installation
// tokens, which GitHub makes for an hour.
type tokens struct {
	c     *Client
	appID int64
	key   *rsa.PrivateKey
	plain string
	app   *gh.Client // speaks as the App itself

	mu      sync.Mutex // held while a token is asked for
	current string
	expires time.Time

	shown atomic.Value // current, for secrets, which must not wait
}

func newTokens(o Options, c *Client) (*tokens, error) {
	t := &tokens{c: c, plain: o.Token}
	if o.Token != "" {
		return t, nil
	}
	if o.AppID <= 0 {
		return nil, errors.New("the App's id (GATE_APP_ID) is missing")
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM(o.AppKey)
	if err != nil {
		// What the parser says could quote the key.
		return nil, errors.New("the App's private key (GATE_APP_KEY) is no PEM of an RSA private key: take the file as GitHub made it, line ends included")
	}
	t.appID, t.key = o.AppID, key
	return t, nil
}

// jwt is what the App shows for itself. GitHub's clock may be behind, so it is
// backdated; ten minutes are the most that GitHub accepts.
func (t *tokens) jwt(context.Context) (string, error) {
	now := t.c.now()
	s, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		Issuer:    strconv.FormatInt(t.appID, 10),
		IssuedAt:  jwt.NewNumericDate(now.Add(-time.Minute)),
		ExpiresAt: jwt.NewNumericDate(now.Add(8 * time.Minute)),
	}).SignedString(t.key)
	if err != nil {
		return "", errors.New("the App's private key can't sign")
	}
	return s, nil
}

// token is a valid token for the repository alone.
func (t *tokens) token(ctx context.Context) (string, error) {
	if t.plain != "" {
		return t.plain, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != "" && t.c.now().Before(t.expires.Add(-5*time.Minute)) {
		return t.current, nil
	}
	installation, _, err := t.app.Apps.FindRepositoryInstallation(ctx, t.c.owner, t.c.repo)
	if err != nil {
		return "", t.c.fail("find the App's installation", err)
	}
	// A token more does no harm, so the request may be sent again.
	made, _, err := t.app.Apps.CreateInstallationToken(repeatable(ctx), installation.GetID(), &gh.InstallationTokenOptions{Repositories: []string{t.c.repo}})
	if err != nil {
		return "", t.c.fail("get a token for the App's installation", err)
	}
	if made.GetToken() == "" || !made.GetExpiresAt().After(t.c.now()) {
		return "", fmt.Errorf("GitHub: get a token for the App's installation: it is empty or over already, so this machine's clock may be wrong: %w", ErrUnauthorized)
	}
	t.current, t.expires = made.GetToken(), made.GetExpiresAt().Time
	t.shown.Store(t.current)
	return t.current, nil
}

// reject forgets a token that GitHub does not accept any more.
func (t *tokens) reject(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == token {
		t.current = ""
	}
}

// secrets are the values that no message may carry.
func (t *tokens) secrets() []string {
	current, _ := t.shown.Load().(string)
	return []string{t.plain, current}
}
