package workflows

import (
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestCompareTellsWhatMayBeWritten(t *testing.T) {
	p := kinds()["own"]
	files, err := Render(p)
	if err != nil {
		t.Fatal(err)
	}
	p.Runner = "other"
	top := fstest.MapFS{}
	want := make([]State, len(files))
	for i, f := range files {
		top[f.Path] = &fstest.MapFile{Data: f.Data}
		want[i] = Same
	}
	older := render(t, p)[files[1].Path]
	delete(top, files[0].Path)
	top[files[1].Path] = &fstest.MapFile{Data: older}
	top[files[2].Path] = &fstest.MapFile{Data: append([]byte("# mine\n"), files[2].Data...)}
	top[files[3].Path] = &fstest.MapFile{}
	want[0], want[1], want[2], want[3] = Missing, Older, Changed, Changed
	got, err := Compare(top, files)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	top[files[4].Path] = &fstest.MapFile{Mode: fs.ModeDir}
	if _, err := Compare(top, files); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder in place of a file: %v", err)
	}
}

func TestRepositoryOf(t *testing.T) {
	for remote, want := range map[string]string{
		"git@github.com:o-k/some.service.git":      "o-k/some.service",
		"git@github.com:o/r":                       "o/r",
		"https://github.com/o/r.git":               "o/r",
		"https://token@github.example.org/o/r/":    "o/r",
		"ssh://git@github.com:22/o/r.git":          "o/r",
		"/srv/git/r.git":                           "",
		"../r.git":                                 "",
		"https://gitlab.example.org/group/sub/r":   "",
		"":                                         "",
		"file:///srv/git/o/r.git":                  "",
		"git@github.com:o/r.git\nx":                "",
		"https://github.com/o/r.git?x=${{ y }}":    "o/r",
		"https://github.com/o/${{ github.token }}": "",
	} {
		if got := RepositoryOf(remote); got != want {
			t.Errorf("RepositoryOf(%q) = %q, want %q", remote, got, want)
		}
	}
}
