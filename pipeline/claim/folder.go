package claim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/smartcloudops/gate/checks"
)

// Bounds of what is read. A folder comes from where code of strangers ran.
const (
	maxFile  = 4 << 20 // bytes
	maxFiles = 64
	maxDepth = 64 // of JSON
)

const (
	claimFile      = "claim.json"
	evidenceFolder = "evidence"
)

var checkName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,40}$`)

// Write makes the folder dir with the claim and its evidence, in place of what
// an earlier call wrote there.
func Write(dir string, c Claim, evidence []checks.Evidence) error {
	c.Format = Format
	sub := filepath.Join(dir, evidenceFolder)
	if err := os.RemoveAll(sub); err != nil {
		return fmt.Errorf("write evidence: %w", err)
	}
	if err := os.MkdirAll(sub, 0o755); err != nil {
		return fmt.Errorf("write evidence: %w", err)
	}
	if err := write(filepath.Join(dir, claimFile), c); err != nil {
		return err
	}
	n := map[string]int{}
	for _, e := range evidence {
		name := e.Check
		if e.Environment != "" {
			name += "." + e.Environment
		}
		n[name]++
		if n[name] > 1 {
			return fmt.Errorf("write evidence: check %s was measured twice", name)
		}
		if err := write(filepath.Join(sub, name+".json"), e); err != nil {
			return err
		}
	}
	return nil
}

func write(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write evidence: %w", err)
	}
	return nil
}

// Read reads a folder that anybody may have made. Whatever is not exactly as
// Write makes it, and within bounds, is ErrRefused. Files beside claim.json and
// evidence/ are for people and are not looked at.
func Read(dir string) (*Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %s cannot be read: %w", ErrRefused, dir, bare(err))
	}
	defer root.Close()
	f := &Folder{}
	if err := read(root, claimFile, &f.Claim); err != nil {
		return nil, err
	}
	if f.Claim.Format != Format {
		return nil, fmt.Errorf("%w: %s has format %d, this gate reads %d: use the same gate on both machines", ErrRefused, claimFile, f.Claim.Format, Format)
	}
	entries, err := list(root)
	if err != nil {
		return nil, err
	}
	for _, name := range entries {
		var e checks.Evidence
		path := evidenceFolder + "/" + name
		if err := read(root, path, &e); err != nil {
			return nil, err
		}
		f.Evidence = append(f.Evidence, e)
	}
	return f, nil
}

// list are the names of the evidence files, sorted.
func list(root *os.Root) ([]string, error) {
	d, err := root.Open(evidenceFolder)
	if err != nil {
		return nil, fmt.Errorf("%w: %s/: %w", ErrRefused, evidenceFolder, bare(err))
	}
	defer d.Close()
	entries, err := d.ReadDir(maxFiles + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %s/: %w", ErrRefused, evidenceFolder, bare(err))
	}
	if len(entries) > maxFiles {
		return nil, fmt.Errorf("%w: %s/ has more than %d files", ErrRefused, evidenceFolder, maxFiles)
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		check, environment, both := strings.Cut(name, ".")
		if !ok || !checkName.MatchString(check) || both && !checkName.MatchString(environment) || !e.Type().IsRegular() {
			return nil, fmt.Errorf("%w: %s/%.80q is no file of evidence", ErrRefused, evidenceFolder, e.Name())
		}
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names, nil
}

// read decodes one file strictly: bounded, a regular file, one JSON value of
// known fields, each given once.
func read(root *os.Root, name string, into any) error {
	refused := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %w", ErrRefused, name, fmt.Errorf(format, args...))
	}
	info, err := root.Lstat(name)
	if err != nil {
		return refused("%w", bare(err))
	}
	if !info.Mode().IsRegular() {
		return refused("is no regular file")
	}
	if info.Size() > maxFile {
		return refused("has %d bytes, more than %d", info.Size(), maxFile)
	}
	f, err := root.Open(name)
	if err != nil {
		return refused("%w", bare(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return refused("%w", bare(err))
	}
	if len(b) > maxFile {
		return refused("has more than %d bytes", maxFile)
	}
	if err := plain(b); err != nil {
		return refused("%w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return refused("%w", err)
	}
	return nil
}

// plain walks the JSON once: one value, not too deep, no key given twice. Two
// readers that choose differently between two values would be a way around one
// of them.
func plain(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	type level struct {
		keys  map[string]bool // nil: an array
		value bool            // in an object: a value comes next
	}
	var stack []level
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			if len(stack) > 0 {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
		if err != nil {
			return err
		}
		top := len(stack) - 1
		if top < 0 && t != json.Delim('{') {
			return errors.New("is no JSON object")
		}
		if top >= 0 && stack[top].keys != nil && !stack[top].value && t != json.Delim('}') {
			key := strings.ToLower(fmt.Sprint(t)) // the decoder folds case
			if stack[top].keys[key] {
				return fmt.Errorf("key %.80q is there twice", key)
			}
			stack[top].keys[key], stack[top].value = true, true
			continue
		}
		if top >= 0 {
			stack[top].value = false
		}
		switch t {
		case json.Delim('{'):
			stack = append(stack, level{keys: map[string]bool{}})
		case json.Delim('['):
			stack = append(stack, level{})
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:top]
			if top == 0 {
				if _, err := d.Token(); !errors.Is(err, io.EOF) {
					return errors.New("has more than one JSON value")
				}
				return nil
			}
		}
		if len(stack) > maxDepth {
			return fmt.Errorf("is nested deeper than %d", maxDepth)
		}
	}
}

// bare is err without the path, which the caller names.
func bare(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
