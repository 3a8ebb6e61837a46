package github

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

// Limits of an artifact, which code of the change wrote.
type Limits struct {
	Packed  int64 // bytes
	Total   int64 // bytes, unpacked
	File    int64 // bytes of one file, unpacked
	Entries int
	Ratio   int64 // unpacked to packed, of anything larger than a MiB
}

// DefaultLimits hold many times what a run of gate writes.
var DefaultLimits = Limits{Packed: 64 << 20, Total: 256 << 20, File: 64 << 20, Entries: 1000, Ratio: 200}

// Download unpacks the artifact into dir, which must be empty. What breaks a
// limit or is no plain file within dir is ErrHostile, and then dir may hold part
// of it.
func (c *Client) Download(ctx context.Context, a Artifact, dir string, l Limits) error {
	what := fmt.Sprintf("download artifact %d", a.ID)
	if a.Size > l.Packed {
		return fmt.Errorf("GitHub: %s: it has %d bytes, more than %d: %w", what, a.Size, l.Packed, ErrHostile)
	}
	file, err := os.CreateTemp("", "gate-artifact-*.zip")
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	for n := 1; ; n++ {
		if err = c.fetch(ctx, what, a.ID, file, l.Packed); err == nil {
			break
		}
		if !errors.Is(err, ErrUnavailable) || n == 5 {
			return err
		}
		if err := c.sleep(ctx, backoff(n)); err != nil {
			return err
		}
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := unzip(ctx, file, size, dir, l); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// fetch asks where the artifact is and reads it from there, without credentials.
func (c *Client) fetch(ctx context.Context, what string, id int64, into *os.File, limit int64) error {
	req, err := c.api.NewRequest(http.MethodGet, fmt.Sprintf("repos/%s/%s/actions/artifacts/%d/zip", c.owner, c.repo, id), nil)
	if err != nil {
		return c.fail(what, err)
	}
	answer, err := c.api.Client().Transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return c.fail(what, err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusFound {
		return &APIError{What: what, Status: answer.StatusCode, kind: kindOf(answer.StatusCode)}
	}
	at, err := url.Parse(answer.Header.Get("Location"))
	if err != nil {
		return fmt.Errorf("GitHub: %s: the answer has no address: %w", what, ErrUnavailable)
	}
	if _, err := address(at.Scheme + "://" + at.Host); err != nil {
		return fmt.Errorf("GitHub: %s: the address is not https: %w", what, ErrUnavailable)
	}
	// Its own limit of time: it is larger than an answer of the API.
	ctx, cancel := context.WithTimeout(ctx, max(c.attempt, time.Minute)*5)
	defer cancel()
	get, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return fmt.Errorf("GitHub: %s: the answer has no address: %w", what, ErrUnavailable)
	}
	resp, err := c.plain.Do(get)
	if err != nil {
		return c.fail(what, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GitHub: %s: its storage answers with status %d: %w", what, resp.StatusCode, ErrUnavailable)
	}
	if _, err := into.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := into.Truncate(0); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	n, err := io.Copy(into, io.LimitReader(resp.Body, limit+1))
	switch {
	case n > limit:
		return fmt.Errorf("GitHub: %s: it has more than %d bytes: %w", what, limit, ErrHostile)
	case err != nil:
		return c.fail(what, err)
	case resp.ContentLength >= 0 && n != resp.ContentLength:
		return fmt.Errorf("GitHub: %s: it broke off: %w", what, ErrUnavailable)
	}
	return nil
}
