package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Webhook posts JSON to an address.
type Webhook struct {
	// Address is asked for with each message. It may be a secret, and stands in no
	// error.
	Address func() (string, error)
	Secret  func() (string, error) // makes the signature; nil: none is made
	// Body is what is sent; nil: the message itself.
	Body   func(Message) any
	Client *http.Client // nil: one that follows no redirection
}

const webPatience = 10 * time.Second

var webClient = &http.Client{
	Timeout:       webPatience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Send implements Sender. Taken is what is answered by 2xx.
func (w Webhook) Send(ctx context.Context, m Message) (string, error) {
	var v any = m
	if w.Body != nil {
		v = w.Body(m)
	}
	return w.post(ctx, v, m.ID)
}

// Beat sends a sign of life.
func (w Webhook) Beat(ctx context.Context, v any) (string, error) { return w.post(ctx, v, "") }

func (w Webhook) post(ctx context.Context, v any, id string) (string, error) {
	address, err := w.Address()
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("webhook: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return "", errors.New("webhook: its address can't be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "gate")
	if id != "" {
		req.Header.Set("Idempotency-Key", id)
	}
	if w.Secret != nil {
		secret, err := w.Secret()
		if err != nil {
			return "", fmt.Errorf("webhook: %w", err)
		}
		at := strconv.FormatInt(time.Now().Unix(), 10)
		req.Header.Set("X-Gate-Timestamp", at)
		req.Header.Set("X-Gate-Signature", Signature(secret, at, body))
	}
	client := w.Client
	if client == nil {
		client = webClient
	}
	res, err := client.Do(req)
	if err != nil {
		var bare *url.Error
		if errors.As(err, &bare) {
			err = bare.Err // the address stays out of logs
		}
		return "", fmt.Errorf("webhook at %s: %w", req.URL.Host, err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
	if res.StatusCode/100 != 2 {
		return "", fmt.Errorf("webhook at %s answers %s", req.URL.Host, line(res.Status))
	}
	said := "HTTP " + line(res.Status)
	if id := res.Header.Get("X-Request-Id"); id != "" {
		said += ", request " + line(id)
	}
	return said, nil
}

// Signature is what X-Gate-Signature must be for a body sent at a time.
func Signature(secret, timestamp string, body []byte) string {
	h := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(h, "%s.", timestamp)
	h.Write(body)
	return "sha256=" + hex.EncodeToString(h.Sum(nil))
}

// Incident is what an incident service is told: to open one, or to resolve the
// same one.
func Incident(m Message) any {
	action := "open"
	if m.State == Resolved {
		action = "resolve"
	}
	return struct {
		Action string `json:"action"`
		ID     string `json:"incident_id"`
		Title  string `json:"title"`
		Message
	}{action, m.Incident, m.Subject(), m}
}
