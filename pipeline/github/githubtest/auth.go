package githubtest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// identity is who sends a request.
type identity struct {
	name        string // login
	appID       int64  // of whom check runs are; 0: a user
	slug        string
	permissions map[string]string
	expires     time.Time // zero: never
	isApp       bool      // the App itself, by JWT
	user        bool
}

func (i identity) login() string { return i.name }

// ActionsToken is a token as a workflow gets it, with these permissions.
func (s *Server) ActionsToken(permissions map[string]string) string {
	return s.issue(identity{name: ActionsSlug + "[bot]", appID: ActionsID, slug: ActionsSlug, permissions: permissions})
}

// UserToken is a person's, who may do all that the API lets people do.
func (s *Server) UserToken(login string) string {
	return s.issue(identity{name: login, user: true})
}

func (s *Server) issue(i identity) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := fmt.Sprintf("ghs_%036d", len(s.who)+1)
	s.who[token] = i
	return token
}

// RevokeTokens ends all tokens of the App's installation, as GitHub may.
func (s *Server) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.who, func(_ string, i identity) bool { return i.appID == AppID })
}

var levels = map[string]int{"read": 1, "write": 2, "admin": 3}

// authenticate finds out who asks, and whether they may.
func (s *Server) authenticate(req *http.Request, r route, c *call) (answer, bool) {
	token := bearer(req)
	if r.permission == "app" {
		if err := s.verify(token); err != nil {
			return refuse(http.StatusUnauthorized, "A JSON web token could not be decoded: "+err.Error()), false
		}
		c.who = identity{name: AppSlug, isApp: true, appID: AppID, slug: AppSlug}
		return answer{}, true
	}
	who, ok := s.who[token]
	if !ok || !who.expires.IsZero() && !s.Clock.Now().Before(who.expires) {
		return refuse(http.StatusUnauthorized, "Bad credentials"), false
	}
	c.who = who
	if who.user && r.permission == "administration" && s.state.roles[who.name] != "admin" {
		return notFound(), false // to people, GitHub hides what they may not see
	}
	if who.user || r.permission == "" {
		return answer{}, true
	}
	if !s.options.Private && r.open {
		return answer{}, true
	}
	have := who.permissions[r.permission]
	if r.permission == "issues" && levels[who.permissions["pull_requests"]] > levels[have] {
		have = who.permissions["pull_requests"] // a pull request's comments are an issue's
	}
	if r.permission == "metadata" {
		have = "read" // every token has it
	}
	if levels[have] < levels[r.level] {
		a := refuse(http.StatusForbidden, "Resource not accessible by integration")
		return a, false
	}
	return answer{}, true
}

// verify is what GitHub asks of an App's own token.
func (s *Server) verify(token string) error {
	claims := jwt.RegisteredClaims{}
	now := s.Clock.Now()
	_, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return s.app, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithTimeFunc(s.Clock.Now), jwt.WithIssuedAt(), jwt.WithExpirationRequired())
	switch {
	case err != nil:
		return err
	case claims.Issuer != strconv.Itoa(AppID):
		return errors.New("'Issuer' claim ('iss') must be an Integer of the App's id")
	case claims.ExpiresAt.After(now.Add(10 * time.Minute)):
		return errors.New("'Expiration time' claim ('exp') is too far in the future")
	case claims.IssuedAt == nil:
		return errors.New("'Issued at' claim ('iat') is missing")
	}
	return nil
}

func (s *Server) getApp(*call) answer {
	return ok(map[string]any{
		"id": AppID, "slug": AppSlug, "name": "gate", "node_id": "A_1", "external_url": "https://example.com", "html_url": "https://github.com/apps/" + AppSlug,
		"owner": user("smartcloudops", "Organization"), "permissions": s.options.Permissions, "events": []string{},
	})
}

func (s *Server) getInstallation(*call) answer {
	if s.state.uninstalled {
		return notFound()
	}
	return ok(map[string]any{
		"id": installationID, "app_id": AppID, "app_slug": AppSlug, "permissions": s.options.Permissions, "repository_selection": "selected", "suspended_at": nil,
		"target_id": 1, "target_type": "Organization", "account": user("smartcloudops", "Organization"), "events": []string{},
	})
}

func (s *Server) createToken(c *call) answer {
	if c.path["installation_id"] != strconv.Itoa(installationID) || s.state.uninstalled {
		return notFound()
	}
	token := fmt.Sprintf("ghs_%036d", len(s.who)+1)
	expires := s.Clock.Now().Add(time.Hour)
	s.who[token] = identity{name: AppSlug + "[bot]", appID: AppID, slug: AppSlug, permissions: s.options.Permissions, expires: expires}
	return created(map[string]any{"token": token, "expires_at": expires.UTC().Format(time.RFC3339), "permissions": s.options.Permissions, "repository_selection": "selected"})
}

func (s *Server) getUser(c *call) answer {
	if !c.who.user {
		return refuse(http.StatusForbidden, "Resource not accessible by integration")
	}
	u := user(c.who.name, "User")
	u["user_view_type"] = "private" // to themselves
	return ok(u)
}

// user is an account as answers show it.
func user(login, kind string) map[string]any {
	id := int64(7)
	for _, r := range login {
		id = (id*31 + int64(r)) % 1_000_000_007
	}
	return map[string]any{"login": login, "id": id, "type": kind, "site_admin": false}
}

func account(login string) map[string]any {
	if len(login) > 5 && login[len(login)-5:] == "[bot]" {
		return user(login, "Bot")
	}
	return user(login, "User")
}
