package githubtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"golang.org/x/sys/unix"
)

// GitHub's own description of its API, as its maintainers publish it.
const (
	describedBy = "@octokit/openapi"
	describedAt = "23.0.2"
	integrity   = "pV8M7L9GY23AybNvTmo2nyjmpmnt6+2sRE/tqr0ZLQcPS4lnw7u5eZGNmwRNkBC3D7gZXbFx5AHzLUVRBXGDhg=="
	inPackage   = "package/generated/api.github.com.json"
)

// errNoTool says that the description can't be had on this machine.
var errNoTool = errors.New("needs npm and, once, the npm registry for GitHub's description of its API")

var described struct {
	once sync.Once
	doc  *openapi3.T
	err  error
}

// describe returns the description of what the fake serves, loaded once. Without
// npm, the test is skipped.
func describe(t testing.TB) *openapi3.T {
	t.Helper()
	described.once.Do(func() { described.doc, described.err = load() })
	switch {
	case errors.Is(described.err, errNoTool):
		t.Skipf("SKIPPED FOR WANT OF A TOOL: %v", described.err)
	case described.err != nil:
		t.Fatalf("GitHub's description of its API: %v", described.err)
	}
	return described.doc
}

// load reads the part of the description that the fake's routes need, which it
// makes once for all test processes.
func load() (*openapi3.T, error) {
	dir, err := cacheFolder()
	if err != nil {
		return nil, err
	}
	var operations []string
	for _, r := range routes() {
		operations = append(operations, r.method+" "+r.path)
	}
	sum := sha256.Sum256([]byte(strings.Join(operations, "\n") + "\n" + strict))
	part := filepath.Join(dir, "part-"+hex.EncodeToString(sum[:6])+".json")
	b, err := os.ReadFile(part)
	if errors.Is(err, os.ErrNotExist) {
		if b, err = makePart(dir, part); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", part, err)
	}
	return doc, nil
}

func cacheFolder() (string, error) {
	root := os.Getenv("GATE_CACHE")
	if root == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		root = filepath.Join(cache, "gate")
	}
	dir := filepath.Join(root, "openapi", describedAt)
	return dir, os.MkdirAll(dir, 0o755)
}

// makePart downloads the description unless it is there, and writes the part.
func makePart(dir, part string) ([]byte, error) {
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, err
	}
	if b, err := os.ReadFile(part); err == nil {
		return b, nil // another process was first
	}
	whole := filepath.Join(dir, "api.github.com.json")
	b, err := os.ReadFile(whole)
	if errors.Is(err, os.ErrNotExist) {
		if b, err = download(dir); err == nil {
			err = replace(whole, b)
		}
	}
	if err != nil {
		return nil, err
	}
	if b, err = prune(b); err != nil {
		return nil, err
	}
	return b, replace(part, b)
}

func replace(file string, b []byte) error {
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// download gets the package by npm, and takes nothing but the very bytes that
// are pinned.
func download(dir string) ([]byte, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return nil, errNoTool
	}
	work, err := os.MkdirTemp(dir, "npm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", work, describedBy+"@"+describedAt)
	cmd.Dir, cmd.WaitDelay = work, time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: npm pack: %w: %.300s", errNoTool, err, bytes.TrimSpace(out))
	}
	packed, err := filepath.Glob(filepath.Join(work, "*.tgz"))
	if err != nil || len(packed) != 1 {
		return nil, fmt.Errorf("npm pack made %d files", len(packed))
	}
	b, err := os.ReadFile(packed[0])
	if err != nil {
		return nil, err
	}
	if sum := sha512.Sum512(b); base64.StdEncoding.EncodeToString(sum[:]) != integrity {
		return nil, fmt.Errorf("%s@%s is not what is pinned", describedBy, describedAt)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("%s in %s: %w", inPackage, describedBy, err)
		}
		if h.Name == inPackage {
			return io.ReadAll(r)
		}
	}
}

// strict names what prune adds to the description, so that a change of it makes
// the part anew.
const strict = "request bodies take no property that is not described"

// prune keeps the operations that the fake serves and what they refer to, and
// closes the schemas of request bodies: GitHub ignores a misspelt property, a
// test must not.
func prune(b []byte) ([]byte, error) {
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	all, _ := doc["paths"].(map[string]any)
	paths := map[string]any{}
	for _, r := range routes() {
		item, _ := all[r.path].(map[string]any)
		op, ok := item[strings.ToLower(r.method)].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s %s is no operation of GitHub's", r.method, r.path)
		}
		if at(op, "requestBody", "content", "application/json", "schema", "properties") != nil {
			at(op, "requestBody", "content", "application/json", "schema").(map[string]any)["additionalProperties"] = false
		}
		kept, ok := paths[r.path].(map[string]any)
		if !ok {
			kept = map[string]any{}
			paths[r.path] = kept
			if p, ok := item["parameters"]; ok {
				kept["parameters"] = p
			}
		}
		kept[strings.ToLower(r.method)] = op
	}
	components := map[string]any{}
	if err := collect(doc, paths, components); err != nil {
		return nil, err
	}
	out := map[string]any{"openapi": doc["openapi"], "info": doc["info"], "paths": paths, "components": components}
	clean(out)
	return json.Marshal(out)
}

// at walks down objects.
func at(v any, keys ...string) any {
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}

// collect adds to components what v refers to, and what that refers to.
func collect(doc map[string]any, v any, components map[string]any) error {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			f := strings.Split(strings.TrimPrefix(ref, "#/components/"), "/")
			if len(f) != 2 {
				return fmt.Errorf("reference %s", ref)
			}
			kind, ok := components[f[0]].(map[string]any)
			if !ok {
				kind = map[string]any{}
				components[f[0]] = kind
			}
			if _, ok := kind[f[1]]; ok {
				return nil
			}
			target := at(doc, "components", f[0], f[1])
			if target == nil {
				return fmt.Errorf("reference %s leads nowhere", ref)
			}
			kind[f[1]] = target
			return collect(doc, target, components)
		}
		for k, one := range v {
			if k == "examples" {
				continue
			}
			if err := collect(doc, one, components); err != nil {
				return err
			}
		}
	case []any:
		for _, one := range v {
			if err := collect(doc, one, components); err != nil {
				return err
			}
		}
	}
	return nil
}

// clean drops what is for people alone, and what is large.
func clean(v any) {
	switch v := v.(type) {
	case map[string]any:
		_, isProperties := v["type"].(map[string]any)
		for _, k := range []string{"examples", "x-github", "externalDocs", "x-octokit"} {
			if !isProperties {
				delete(v, k)
			}
		}
		if s, ok := v["description"].(string); ok && len(s) > 40 {
			v["description"] = s[:0]
		}
		for _, one := range v {
			clean(one)
		}
	case []any:
		for _, one := range v {
			clean(one)
		}
	}
}
