package github

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	gh "github.com/google/go-github/v60/github"
)

// maxSARIF is what GitHub takes of SARIF, gzipped and before base64; and what
// gate compresses at most.
const (
	maxSARIF         = 10 << 20
	maxSARIFUnpacked = 100 << 20
)

// SARIFOutcome says what became of an upload.
type SARIFOutcome struct {
	ID  string // of the analysis; empty: not taken
	Why string // why not: code scanning is off, or not in this repository's plan
}

// UploadSARIF hands findings to code scanning. ref is the full one that the
// commit is on: refs/heads/main or refs/pull/7/head. A repository without code
// scanning is no error: the outcome says so.
func (c *Client) UploadSARIF(ctx context.Context, commit, ref string, sarif []byte) (*SARIFOutcome, error) {
	switch {
	case !commitHash.MatchString(commit):
		return nil, errors.New("upload SARIF: the commit is no full hash")
	case !strings.HasPrefix(ref, "refs/heads/") && !strings.HasPrefix(ref, "refs/pull/") && !strings.HasPrefix(ref, "refs/tags/"):
		return nil, fmt.Errorf("upload SARIF: %q is no full ref: write it as refs/heads/NAME or refs/pull/N/head", Line(ref, 100))
	case len(sarif) > maxSARIFUnpacked || !json.Valid(sarif):
		return nil, fmt.Errorf("upload SARIF: the file is no JSON, or larger than %d MiB", maxSARIFUnpacked>>20)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(sarif); err != nil {
		return nil, fmt.Errorf("upload SARIF: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("upload SARIF: %w", err)
	}
	if packed.Len() > maxSARIF {
		return &SARIFOutcome{Why: fmt.Sprintf("the findings are %d MiB when packed, and GitHub takes %d: they are in the report", packed.Len()>>20, maxSARIF>>20)}, nil
	}
	// The same analysis twice replaces itself.
	id, _, err := c.api.CodeScanning.UploadSarif(repeatable(ctx), c.owner, c.repo, &gh.SarifAnalysis{
		CommitSHA: &commit, Ref: &ref, Sarif: gh.String(base64.StdEncoding.EncodeToString(packed.Bytes())), ToolName: gh.String("gate"),
	})
	err = c.fail("upload SARIF", err)
	switch {
	case errors.Is(err, ErrForbidden), errors.Is(err, ErrNotFound):
		return &SARIFOutcome{Why: "code scanning is not available: it is off for this repository, or the App or token lacks security_events: write"}, nil
	case err != nil:
		return nil, err
	}
	return &SARIFOutcome{ID: id.GetID()}, nil
}
