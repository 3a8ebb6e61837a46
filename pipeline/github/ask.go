package github

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	gh "github.com/google/go-github/v60/github"
)

// maxPages bounds a list: beyond it, something is wrong.
const maxPages = 300

// pages reads a list to its end.
func pages[T any](c *Client, what string, ask func(gh.ListOptions) ([]T, *gh.Response, error)) ([]T, error) {
	var all []T
	opts := gh.ListOptions{PerPage: 100}
	for range maxPages {
		list, resp, err := ask(opts)
		if err != nil {
			return nil, c.fail(what, err)
		}
		all = append(all, list...)
		if resp.NextPage == 0 {
			return all, nil
		}
		opts.Page = resp.NextPage
	}
	return nil, fmt.Errorf("GitHub: %s: more than %d pages: %w", what, maxPages, ErrTruncated)
}

// get reads below the repository what go-github has no words for. Segments are
// escaped; query may be nil.
func get[T any](ctx context.Context, c *Client, query url.Values, segments ...string) (T, *gh.Response, error) {
	return getWith[T](ctx, c.api, c, query, segments...)
}

func getWith[T any](ctx context.Context, api *gh.Client, c *Client, query url.Values, segments ...string) (T, *gh.Response, error) {
	var v T
	path := []string{"repos", c.owner, c.repo}
	for _, s := range segments {
		path = append(path, url.PathEscape(s))
	}
	at := strings.Join(path, "/")
	if len(query) > 0 {
		at += "?" + query.Encode()
	}
	req, err := api.NewRequest("GET", at, nil)
	if err != nil {
		return v, nil, err
	}
	resp, err := api.Do(ctx, req, &v)
	return v, resp, err
}

// page is the query of one page.
func page(o gh.ListOptions) url.Values {
	q := url.Values{"per_page": {fmt.Sprint(o.PerPage)}}
	if o.Page > 0 {
		q.Set("page", fmt.Sprint(o.Page))
	}
	return q
}
