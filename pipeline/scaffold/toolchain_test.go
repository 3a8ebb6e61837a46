package scaffold

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestToolchain(t *testing.T) {
	for _, tt := range []struct {
		name, mod, here string
		files           map[string]string
		want, why       string
	}{
		{"the module's own line", "go 1.25.0\ntoolchain go1.25.4", "go1.26.8", nil, "go1.25.4", "found: go.mod:3"},
		{"a file that people use", "go 1.25.0", "go1.26.8", map[string]string{".go-version": "1.26.1\n"}, "go1.26.1", "found: .go-version:1"},
		{"an image", "go 1.25.0", "go1.26.8", map[string]string{"Dockerfile": "# x\nFROM golang:1.26.2-alpine AS build\n"}, "go1.26.2", "found: Dockerfile:2"},
		{"an image that floats", "go 1.25.0", "go1.26.8", map[string]string{"Dockerfile": "FROM golang:1.26\n"}, "go1.26.8", "assumed: the Go of this machine"},
		{"a file that is too old", "go 1.26.0", "go1.26.8", map[string]string{".go-version": "1.24.1\n"}, "go1.26.8", "assumed"},
		{"this machine", "go 1.26", "go1.26.8", nil, "go1.26.8", "go.mod:2 asks for 1.26 or newer"},
		{"this machine is too old", "go 1.26.5", "go1.25.9", nil, "go1.26.5", "the least that go.mod:2 allows"},
		{"too old, and not exact", "go 1.26", "go1.25.9", nil, "", "go.mod:2 asks for 1.26 or newer"},
		{"none here", "go 1.26", "", nil, "", "asks for 1.26"},
		{"one that was made by hand", "go 1.26", "devel go1.27-abcdef", nil, "", "asks for 1.26"},
		{"nothing said", "", "go1.26.8", nil, "go1.26.8", "go.mod names no Go"},
		{"nothing at all", "", "", nil, "", "go.mod names no Go"},
		{"a local toolchain line", "go 1.25.0\ntoolchain default", "go1.26.8", nil, "go1.26.8", "assumed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := repo("go.mod", "module example.org/x\n"+tt.mod+"\n", "main.go", someProgram)
			for name, text := range tt.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			tree, err := look(root)
			if err != nil {
				t.Fatal(err)
			}
			got, why := tree.toolchain(tree.modules["."], tt.here)
			if got != tt.want || !strings.Contains(why, tt.why) {
				t.Errorf("got %q, %q", got, why)
			}
		})
	}
}
