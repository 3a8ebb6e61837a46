package github

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"
)

// Sentinels of what GitHub answered. Errors of this package wrap one of them
// where one fits.
var (
	ErrUnauthorized   = errors.New("GitHub does not accept the credentials: check the App's id and private key, or the token")
	ErrForbidden      = errors.New("GitHub refuses: the App or token lacks the permission")
	ErrNotFound       = errors.New("GitHub has no such thing, or does not show it to this App or token")
	ErrRefused        = errors.New("GitHub refuses the request as it stands")
	ErrRateLimited    = errors.New("GitHub's rate limit is used up")
	ErrUnavailable    = errors.New("GitHub can't be reached or does not answer properly: try again later")
	ErrUnknownOutcome = errors.New("GitHub's reply was lost: the request may have been carried out")
	ErrMoved          = errors.New("the pull request's head is another commit by now: look at the new one")
	ErrTruncated      = errors.New("GitHub does not list everything")
	ErrHostile        = errors.New("the artifact is not what gate wrote: measure again in a run of this repository's own workflow")
	ErrContended      = errors.New("others keep changing the same check runs: publish again")
)

// APIError is GitHub's refusal. What GitHub said is cleaned of what could
// forge a line of a log.
type APIError struct {
	What   string // "create check run gate"
	Status int
	Said   string
	kind   error
}

func (e *APIError) Error() string {
	s := fmt.Sprintf("GitHub: %s: status %d", e.What, e.Status)
	if e.Said != "" {
		s += ": " + e.Said
	}
	if e.kind != nil {
		s += ": " + e.kind.Error()
	}
	return s
}

func (e *APIError) Unwrap() error { return e.kind }

// RateLimitError says when it is worth while to ask again.
type RateLimitError struct{ Until time.Time }

func (e *RateLimitError) Error() string {
	return fmt.Sprintf("%v until %s: try again then", ErrRateLimited, e.Until.UTC().Format(time.RFC3339))
}

func (e *RateLimitError) Unwrap() error { return ErrRateLimited }

func kindOf(status int) error {
	switch {
	case status == 401:
		return ErrUnauthorized
	case status == 403:
		return ErrForbidden
	case status == 404 || status == 410:
		return ErrNotFound
	case status == 409 || status == 422 || status == 400 || status == 413:
		return ErrRefused
	case status == 429:
		return ErrRateLimited
	case status >= 500:
		return ErrUnavailable
	}
	return nil
}

// fail is err, which came of doing what, in one clear line. No address goes
// into it: a download's carries a signature.
func (c *Client) fail(what string, err error) error {
	if err == nil {
		return nil
	}
	var answer *gh.ErrorResponse
	if errors.As(err, &answer) && answer.Response != nil {
		said := answer.Message
		for _, e := range answer.Errors {
			said += " " + strings.TrimSpace(e.Resource+" "+e.Field+" "+e.Code+" "+e.Message)
		}
		return &APIError{What: what, Status: answer.Response.StatusCode, Said: c.redact(Line(said, 300)), kind: kindOf(answer.Response.StatusCode)}
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || known(err) {
		return fmt.Errorf("GitHub: %s: %w", what, err)
	}
	return fmt.Errorf("GitHub: %s: %s: %w", what, c.redact(Line(err.Error(), 300)), ErrUnavailable)
}

func known(err error) bool {
	for _, k := range []error{ErrUnauthorized, ErrForbidden, ErrNotFound, ErrRefused, ErrRateLimited, ErrUnavailable, ErrUnknownOutcome, ErrMoved, ErrTruncated, ErrHostile, ErrContended} {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

// redact takes out of s what must stay secret, should anybody have put it there.
func (c *Client) redact(s string) string {
	for _, secret := range c.tokens.secrets() {
		if len(secret) >= 8 {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	return s
}
