package github

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// maxAnswer bounds one JSON answer.
const maxAnswer = 32 << 20

// maxAttempts bounds how often one call is sent.
const maxAttempts = 10

type policyKey int

const (
	repeatableKey policyKey = iota
	onceKey
)

// repeatable marks a POST that does no harm when it is carried out twice.
func repeatable(ctx context.Context) context.Context {
	return context.WithValue(ctx, repeatableKey, true)
}

// once marks a PATCH that adds something, and so must not be sent again before
// somebody looked whether it was carried out.
func once(ctx context.Context) context.Context { return context.WithValue(ctx, onceKey, true) }

// transport is the one place that knows how patient to be with GitHub: rate
// limits are waited for, what can't have been carried out is sent again, and
// what may have been is either harmless to repeat or ErrUnknownOutcome.
type transport struct {
	below       http.RoundTripper
	hosts       []string
	credentials func(context.Context) (string, error)
	rejected    func(token string)
	now         func() time.Time
	sleep       func(context.Context, time.Duration) error
	patience    time.Duration
	attempt     time.Duration

	notBefore atomic.Int64 // Unix nanoseconds; all calls wait for it
}

// RoundTrip returns an answer that was read whole, or an error.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if !slices.Contains(t.hosts, req.URL.Host) {
		return nil, fmt.Errorf("a request to another host than the API's: %w", ErrRefused)
	}
	deadline := t.now().Add(t.patience)
	renewed := 0
	for n := 1; ; n++ {
		if err := t.await(ctx, deadline); err != nil {
			return nil, err
		}
		token, err := t.credentials(ctx)
		if err != nil {
			return nil, err
		}
		resp, sent, err := t.send(req, token)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		wait, limited := time.Duration(0), false
		switch {
		case err != nil:
			if sent && !harmless(req) {
				return nil, fmt.Errorf("%w (%s)", ErrUnknownOutcome, cause(err))
			}
			wait = backoff(n)
			err = fmt.Errorf("%w (%s)", ErrUnavailable, cause(err))
		case resp.StatusCode == http.StatusUnauthorized && t.rejected != nil && renewed < 3:
			// A token can end on its way; one that is refused stays so.
			renewed++
			t.rejected(token)
			continue
		case resp.StatusCode >= 500:
			if !harmless(req) {
				return nil, fmt.Errorf("%w (status %d)", ErrUnknownOutcome, resp.StatusCode)
			}
			wait = backoff(n)
			err = fmt.Errorf("%w (status %d)", ErrUnavailable, resp.StatusCode)
		default:
			wait, limited = t.limit(resp, n)
			if !limited {
				return resp, nil
			}
			err = &RateLimitError{Until: t.now().Add(wait)}
		}
		if n >= maxAttempts || t.now().Add(wait).After(deadline) {
			return nil, err
		}
		wait += time.Duration(rand.Int64N(int64(wait)/4 + 1)) // #nosec G404 -- spreads clients, guards nothing
		if err := t.sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// send sends req once. sent is false when GitHub can't have seen it.
func (t *transport) send(req *http.Request, token string) (resp *http.Response, sent bool, err error) {
	ctx, cancel := context.WithTimeout(req.Context(), t.attempt)
	defer cancel()
	one := req.Clone(ctx)
	if req.GetBody != nil {
		if one.Body, err = req.GetBody(); err != nil {
			return nil, false, err
		}
	}
	one.Header.Set("Authorization", "Bearer "+token)
	if resp, err = t.below.RoundTrip(one); err != nil {
		return nil, !unsent(err), err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, true, err
	case len(b) > maxAnswer:
		return nil, true, fmt.Errorf("an answer of more than %d MiB", maxAnswer>>20)
	case resp.StatusCode < 300 && strings.Contains(resp.Header.Get("Content-Type"), "json") && len(b) > 0 && !json.Valid(b):
		return nil, true, errors.New("an answer that is no whole JSON")
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp, true, nil
}

// unsent says that there was no connection to send anything on. Any other error
// leaves it open.
func unsent(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns) || errors.As(err, &cert)
}

// harmless says whether carrying req out twice is the same as once.
func harmless(req *http.Request) bool {
	if req.Context().Value(onceKey) != nil {
		return false
	}
	return req.Method != http.MethodPost || req.Context().Value(repeatableKey) != nil
}

// backoff doubles from a second to a minute.
func backoff(n int) time.Duration { return min(time.Second<<(n-1), time.Minute) }

// cause is err without the address that net/http puts into it.
func cause(err error) string {
	var timeout interface{ Timeout() bool }
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return "timed out"
	}
	return Line(err.Error(), 200)
}

// await waits until GitHub wants to hear of us again.
func (t *transport) await(ctx context.Context, deadline time.Time) error {
	for {
		at := time.Unix(0, t.notBefore.Load())
		wait := at.Sub(t.now())
		if wait <= 0 {
			return ctx.Err()
		}
		if at.After(deadline) {
			return &RateLimitError{Until: at}
		}
		if err := t.sleep(ctx, wait); err != nil {
			return err
		}
	}
}
