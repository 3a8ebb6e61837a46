package release

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schema is the SBOM format's own schema, from the module that writes it.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	for _, name := range []string{"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schema.json"} {
		file := filepath.Join(strings.TrimSpace(string(out)), "schema", name)
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			b, err = os.ReadFile(strings.Replace(file, ".schema.json", ".schemax.json", 1))
		}
		if err != nil {
			// A signature is never written, so nothing in its schema matters.
			b = []byte(`{"definitions":{"signature":false}}`)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+name, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSBOM(t *testing.T) {
	t.Parallel()
	info := func() *debug.BuildInfo {
		return &debug.BuildInfo{
			GoVersion: "go1.26.8",
			Path:      "example.com/app/cmd/app",
			Main:      debug.Module{Path: "example.com/app", Version: "(devel)"},
			Deps: []*debug.Module{
				{Path: "github.com/Some/Lib/v2", Version: "v2.0.1+incompatible", Sum: "h1:abc="},
				{Path: "example.com/b", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.0.1", Sum: "h1:def="}},
				{Path: "example.com/near", Version: "v0.0.0", Replace: &debug.Module{Path: "./near"}},
			},
			Settings: []debug.BuildSetting{{Key: "GOARCH", Value: "amd64"}},
		}
	}
	first, err := sbom("app", info(), []byte("binary"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := sbom("app", info(), []byte("binary"))
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("two SBOMs of one binary differ (%v)", err)
	}
	other, err := sbom("app", info(), []byte("another binary"))
	if err != nil {
		t.Fatal(err)
	}
	decode := func(b []byte) *cdx.BOM {
		t.Helper()
		var bom cdx.BOM
		if err := cdx.NewBOMDecoder(bytes.NewReader(b), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
			t.Fatal(err)
		}
		return &bom
	}
	bom := decode(first)
	if bom.SerialNumber == decode(other).SerialNumber || bom.Metadata.Timestamp != "" {
		t.Errorf("serial %s, timestamp %q", bom.SerialNumber, bom.Metadata.Timestamp)
	}
	got := map[string]cdx.Component{}
	for _, c := range *bom.Components {
		got[c.PackageURL] = c
	}
	for _, want := range []string{"pkg:golang/stdlib@1.26.8", "pkg:golang/github.com/some/lib/v2@v2.0.1%2Bincompatible", "pkg:golang/example.com/fork@v1.0.1", "pkg:golang/example.com/near"} {
		if _, ok := got[want]; !ok {
			t.Errorf("no component %s in %s", want, first)
		}
	}
	if len(got) != 4 {
		t.Errorf("%d components, want 4", len(got))
	}
	if fork := got["pkg:golang/example.com/fork@v1.0.1"]; fork.Properties == nil || len(*fork.Properties) != 2 || (*fork.Properties)[1].Value != "h1:def=" {
		t.Errorf("fork %+v", fork)
	}
	valid := schema(t)
	check := func(b []byte) error {
		var doc any
		if err := json.Unmarshal(b, &doc); err != nil {
			return err
		}
		return valid.Validate(doc)
	}
	if err := check(first); err != nil {
		t.Error(err)
	}
	if err := check(bytes.Replace(first, []byte(`"type": "library"`), []byte(`"type": "nonsense"`), 1)); err == nil {
		t.Error("the schema lets nonsense pass")
	}
}

func TestInspectRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.repository(testFiles)
	build := func(environ []string, args ...string) []byte {
		t.Helper()
		out := filepath.Join(t.TempDir(), "out")
		cmd := exec.Command("go", append(append([]string{"build"}, args...), "-o", out, "./cmd/hello")...)
		cmd.Dir = dir
		cmd.Env = append(append(w.environ, "GOFLAGS=", "CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0"), environ...)
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := build(nil, buildFlags...)
	info, err := buildinfo.Read(bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	arch := ""
	for _, s := range info.Settings {
		if s.Key == "GOARCH" {
			arch = s.Value
		}
	}
	if _, err := inspect(good, info.GoVersion, arch); err != nil {
		t.Errorf("a good binary: %v", err)
	}
	script := []byte("#!/bin/sh\n")
	for name, c := range map[string]struct {
		binary    []byte
		toolchain string
		arch      string
		says      string
	}{
		"tags":      {build(nil, append([]string{"-tags=x"}, buildFlags...)...), info.GoVersion, arch, "-tags=x"},
		"no trim":   {build(nil, "-buildvcs=false"), info.GoVersion, arch, "-trimpath"},
		"vcs stamp": {build(nil, "-trimpath", "-buildvcs=true"), info.GoVersion, arch, "vcs"},
		"dynamic":   {build(nil, append([]string{"-buildmode=pie"}, buildFlags...)...), info.GoVersion, arch, "not static"},
		"toolchain": {good, "go1.26.999", arch, "go1.26.999"},
		"machine":   {good, info.GoVersion, map[string]string{"amd64": "arm64", "arm64": "amd64"}[arch], "it is for"},
		"script":    {script, info.GoVersion, arch, "no ELF"},
	} {
		if _, err := inspect(c.binary, c.toolchain, c.arch); !errors.Is(err, ErrBinary) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}
