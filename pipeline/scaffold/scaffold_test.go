package scaffold

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/smartcloudops/gate/environments"
)

var update = flag.Bool("update", false, "write testdata/*.golden anew")

// archive reads a repository from files that begin with "-- NAME --".
func archive(t *testing.T, file string) fstest.MapFS {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all, name := fstest.MapFS{}, ""
	for line := range bytes.Lines(text) {
		s := strings.TrimSuffix(string(line), "\n")
		if n, ok := strings.CutPrefix(s, "-- "); ok && strings.HasSuffix(n, " --") {
			name = strings.TrimSuffix(n, " --")
			all[name] = &fstest.MapFile{}
		} else if name != "" {
			all[name].Data = append(all[name].Data, line...)
		}
	}
	return all
}

func propose(t *testing.T, root fs.FS, o Options) *Proposal {
	t.Helper()
	p, err := Propose(t.Context(), root, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *Proposal) text(t *testing.T, name string) string {
	t.Helper()
	for _, f := range p.Files {
		if f.Path == name {
			return string(f.Text)
		}
	}
	t.Fatalf("%s is not proposed", name)
	return ""
}

// with is the repository with the proposal written.
func with(root fstest.MapFS, p *Proposal) fstest.MapFS {
	all := fstest.MapFS{}
	for name, f := range root {
		all[name] = f
	}
	for _, f := range p.Files {
		if f.Action != Keep {
			all[f.Path] = &fstest.MapFile{Data: f.Text}
		}
	}
	return all
}

func TestProposals(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options Options
		choices []string // what validation says, in order
	}{
		{"notes", Options{Go: "go1.26.8", Branch: "main"}, nil},
		{"shop", Options{Go: "go1.26.8", Package: "cmd/shop", Branch: "trunk"}, []string{"production.yaml:21: config.REGION holds", "staging.yaml:21: config.REGION holds"}},
		{"flags", Options{Go: "go1.26.8", Name: "given"}, []string{"serve.ready is", "migrate.args holds ${the arguments that migrate}"}},
		{"mute", Options{Go: "go1.26.8"}, []string{
			"build.toolchain is", "serve.env.CHOOSE_DATABASE holds", "serve.env.CHOOSE_LISTEN holds", "serve.ready is",
			"migrate.args holds", "migrate.env.CHOOSE_DATABASE holds", "load.endpoints is empty",
		}},
		{"nested", Options{}, []string{"test.command is empty"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := archive(t, "testdata/"+tt.name+".txtar")
			p := propose(t, root, tt.options)
			var got []byte
			for _, f := range p.Files {
				if strings.HasPrefix(f.Path, environments.Dir) && (tt.name == "shop" || filepath.Base(f.Path) == "app.yaml") {
					got = append(got, "-- "+f.Path+" --\n"...)
					got = append(got, f.Text...)
				}
			}
			golden(t, tt.name, got)
			if len(p.Choices) != len(tt.choices) {
				t.Fatalf("choices are\n%s\nwant %d", strings.Join(p.Choices, "\n"), len(tt.choices))
			}
			for i, want := range tt.choices {
				file, what, other := strings.Cut(want, ":")
				if !other {
					file, what = "app.yaml", " "+want
				}
				if !strings.HasPrefix(p.Choices[i], "environments/"+file+":") || !strings.Contains(p.Choices[i], what) {
					t.Errorf("choice is %s, want %s", p.Choices[i], want)
				}
			}
			// What is said beforehand is what validation says afterwards.
			_, err := environments.Read(with(root, p))
			var problems environments.Problems
			if errors.As(err, &problems); len(problems) != len(tt.choices) {
				t.Errorf("afterwards: %v", err)
			}
			if err == nil == (len(tt.choices) > 0) {
				t.Errorf("afterwards: %v", err)
			}
			// Once more there is nothing to do.
			if again := propose(t, with(root, p), tt.options); again.Changes() {
				t.Errorf("the second time it would write %+v", again.Files)
			}
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: go test ./pipeline/scaffold -update writes it", err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}
