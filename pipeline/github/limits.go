package github

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// limit says whether GitHub turned the request away for its number, and how
// long to wait. n counts the attempts from 1.
func (t *transport) limit(resp *http.Response, n int) (time.Duration, bool) {
	h := resp.Header
	reset, hasReset := resetOf(h)
	exhausted := h.Get("X-RateLimit-Remaining") == "0" && hasReset
	if exhausted && resp.StatusCode < 400 {
		t.pause(reset) // for the next one
	}
	after, hasAfter := t.retryAfter(h)
	// go-github keeps the figures, too, and compares them with a clock of its own.
	for name := range h {
		if strings.HasPrefix(strings.ToLower(name), "x-ratelimit-") {
			h.Del(name)
		}
	}
	if resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusTooManyRequests {
		return 0, false
	}
	wait := time.Duration(0)
	switch {
	case hasAfter:
		wait = after
	case exhausted:
		wait = reset.Sub(t.now()) + time.Second
	case resp.StatusCode == http.StatusTooManyRequests || secondary(resp):
		// GitHub asks for a minute at least, and for more each time.
		wait = min(time.Minute<<(n-1), 15*time.Minute)
	default:
		return 0, false // a plain refusal
	}
	wait = max(wait, time.Second)
	t.pause(t.now().Add(wait))
	return wait, true
}

// pause lets all calls wait until at.
func (t *transport) pause(at time.Time) {
	for {
		old := t.notBefore.Load()
		if at.UnixNano() <= old || t.notBefore.CompareAndSwap(old, at.UnixNano()) {
			return
		}
	}
}

func resetOf(h http.Header) (time.Time, bool) {
	s, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64)
	return time.Unix(s, 0), err == nil && s > 0
}

// retryAfter reads seconds or a date.
func (t *transport) retryAfter(h http.Header) (time.Duration, bool) {
	v := h.Get("Retry-After")
	if s, err := strconv.ParseInt(v, 10, 32); err == nil && s >= 0 {
		return time.Duration(s) * time.Second, true
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(at.Sub(t.now()), 0), true
	}
	return 0, false
}

// secondary tells GitHub's secondary limit from a missing permission.
func secondary(resp *http.Response) bool {
	b, _ := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(b))
	s := strings.ToLower(string(b))
	return strings.Contains(s, "secondary rate limit") || strings.Contains(s, "abuse detection") || strings.Contains(s, "secondary-rate-limits")
}
