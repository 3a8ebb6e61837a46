package policies

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// greatestPayload is in bytes: a hundred times more than any check needs. What is
// larger is not read, so that nobody's evidence can use up the judge's memory.
const greatestPayload = 16 << 20

// Relevant is in as a policy sees it: without records that claim to be of
// another check, subject or key than the expected ones, the rest in a stated
// order, times in UTC. Whatever else is wrong with a record, it stays, so that
// the policy can say so. Relevant of Relevant is the same.
func Relevant(in Input) Input {
	out := in
	out.At = in.At.UTC().Round(0)
	out.Evidence = make([]Record, 0, min(len(in.Evidence), 16))
	for _, r := range in.Evidence {
		want, ok := in.Expected[r.Check]
		if !ok || r.Key != want.Key || r.Subject != want.Subject {
			continue
		}
		r.Finished = r.Finished.UTC().Round(0)
		if len(r.Payload) == 0 {
			r.Payload = nil // the encoder writes null for it, and an error for an empty one
		}
		if n := len(r.Payload); n > greatestPayload {
			r.Payload, r.Status = nil, "invalid"
			r.Reason = fmt.Sprintf("its payload has %d bytes, at most %d are read", n, greatestPayload)
		}
		out.Evidence = append(out.Evidence, r)
	}
	slices.SortStableFunc(out.Evidence, func(a, b Record) int {
		return cmp.Or(
			cmp.Compare(a.Check, b.Check),
			a.Finished.Compare(b.Finished),
			cmp.Compare(a.Status, b.Status),
			slices.Compare(a.Digests, b.Digests),
			bytes.Compare(a.Payload, b.Payload),
		)
	})
	out.Waivers = nil
	for _, w := range in.Waivers {
		w.Since, w.Until = w.Since.UTC().Round(0), w.Until.UTC().Round(0)
		out.Waivers = append(out.Waivers, w)
	}
	slices.SortStableFunc(out.Waivers, func(a, b Waiver) int { return cmp.Compare(a.Name, b.Name) })
	if out.Expected == nil {
		out.Expected = map[string]Expected{}
	}
	if out.Thresholds == nil {
		out.Thresholds = map[string]map[string]any{}
	}
	return out
}

// Canonical is the text whose digest a decision on in names as its input.
func Canonical(in Input) ([]byte, error) {
	v, _, err := tree(Relevant(in))
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// tree is a relevant input as the engine takes it, and its canonical digest.
// Numbers keep the spelling that they were signed with.
func tree(in Input) (any, string, error) {
	if err := judgeable(in); err != nil {
		return nil, "", err
	}
	text, err := json.Marshal(in)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrInput, err)
	}
	v, err := decode(text)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrInput, err)
	}
	digest, err := canonicalDigest(v)
	return v, digest, err
}

// judgeable refuses what JSON cannot say, before the encoder gives its less
// helpful answer, and clocks that cannot be compared.
func judgeable(in Input) error {
	if in.At.Year() < 1970 || in.At.Year() > 2261 {
		return fmt.Errorf("%w: the clock says %s", ErrInput, in.At.Format(time.RFC3339))
	}
	if _, ok := Required[in.Stage]; !ok {
		return fmt.Errorf("%w: stage %q is none of admission, readiness, promotion, serving, canary, change", ErrInput, in.Stage)
	}
	for criterion, named := range in.Thresholds {
		for name, v := range named {
			if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
				return fmt.Errorf("%w: threshold %s.%s is %v", ErrInput, criterion, name, f)
			}
		}
	}
	for _, r := range in.Evidence {
		if math.IsNaN(r.AgeSeconds) || math.IsInf(r.AgeSeconds, 0) {
			return fmt.Errorf("%w: the age of %s evidence %s is %v", ErrInput, r.Check, strings.Join(r.Digests, " "), r.AgeSeconds)
		}
		if r.Payload == nil {
			continue
		}
		if _, err := decode(r.Payload); err != nil {
			return fmt.Errorf("%w: payload of %s evidence %s: %w", ErrInput, r.Check, strings.Join(r.Digests, " "), err)
		}
	}
	return nil
}

// decode reads exactly one JSON value whose numbers all fit a finite float64.
func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one JSON value")
	}
	return v, finite(v)
}

func finite(v any) error {
	switch x := v.(type) {
	case json.Number:
		if _, err := strconv.ParseFloat(x.String(), 64); err != nil {
			return fmt.Errorf("number %.40s is out of range", x)
		}
	case []any:
		for _, e := range x {
			if err := finite(e); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, e := range x {
			if err := finite(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// canonicalDigest is the SHA-256 of v as JSON without spaces and with sorted
// keys.
func canonicalDigest(v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrInput, err)
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}
