// Package workflows renders what a repository carries for GitHub: workflows
// that hold triggers, permissions and one command each, code owners, and
// nothing else. It is pure: what it is given decides every byte.
package workflows

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
	"text/template"
)

// Places of what Render makes, relative to the repository's top folder.
const (
	Dir        = ".github/workflows"
	CodeOwners = ".github/CODEOWNERS"
	// Carried is the workflow that the branches env/* must hold as well, byte by
	// byte, since GitHub takes the workflows of a push from the pushed commit.
	Carried = Dir + "/env.yml"
)

// Names of the workflows that measure, judge, and are started by a comment.
const (
	Commit   = "commit.yml"
	Publish  = "publish.yml"
	Drills   = "drills.yml"
	Promote  = "promote.yml"
	Rollback = "rollback.yml"
	Hold     = "hold.yml"
	Explain  = "explain.yml"
)

// Names of GitHub's environments that hold gate's secrets, beside those of the
// declared environments.
const (
	EnvironmentApp      = "gate-app" // GATE_APP_KEY: publishes, and signs nothing
	EnvironmentEvidence = "evidence" // GATE_SIGNING_KEY beside it: signs what was measured
)

// BackEnvironment is GitHub's environment for ways back: a rollback and a hold
// must not wait for the reviewers who guard the way forward.
func BackEnvironment(environment string) string { return environment + "-back" }

// File is one file that Render makes.
type File struct {
	Path string // with slashes, relative to the repository's top folder
	Data []byte
}

//go:embed templates/*
var templates embed.FS

// Render makes all files, sorted by path. It fails where the parameters are not
// valid.
func Render(p Params) ([]File, error) {
	p = p.WithDefaults()
	if err := p.Validate(); err != nil {
		return nil, err
	}
	t, err := template.New("").Delims("[[", "]]").Option("missingkey=error").
		Funcs(funcs).ParseFS(templates, "templates/*")
	if err != nil {
		return nil, fmt.Errorf("workflow templates: %w", err)
	}
	var files []File
	for _, one := range t.Templates() {
		name, ok := strings.CutSuffix(one.Name(), ".tmpl")
		if !ok || strings.HasPrefix(name, "_") {
			continue
		}
		at := path.Join(Dir, name)
		if name == path.Base(CodeOwners) {
			at = CodeOwners
		}
		var b bytes.Buffer
		if err := t.ExecuteTemplate(&b, one.Name(), p); err != nil {
			return nil, fmt.Errorf("render %s: %w", at, err)
		}
		files = append(files, File{Path: at, Data: seal(b.Bytes())})
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files, nil
}

var funcs = template.FuncMap{
	"use":         use,
	"back":        BackEnvironment,
	"join":        strings.Join,
	"owners":      func(p Params) string { return strings.Join(p.Owners, " ") },
	"environment": named,
	"folder":      named,
}

// named is what a template needs that is about one name.
func named(p Params, name string) any {
	return struct {
		Name             string
		EnterpriseServer bool
	}{name, p.EnterpriseServer}
}

const sealPrefix = "# Written by gate github init from .github/gate.yaml: change that, and run it again. sha256:"

// seal puts a first line before the body that tells whether anybody has changed
// it since.
func seal(body []byte) []byte {
	sum := sha256.Sum256(body)
	return append([]byte(sealPrefix+hex.EncodeToString(sum[:])+"\n"), body...)
}

// Untouched says whether the file is one that some gate wrote and nobody has
// changed since: it may be written anew.
func Untouched(data []byte) bool {
	line, body, ok := bytes.Cut(data, []byte("\n"))
	sum, sealed := strings.CutPrefix(string(line), sealPrefix)
	if !ok || !sealed {
		return false
	}
	want := sha256.Sum256(body)
	return sum == hex.EncodeToString(want[:])
}
