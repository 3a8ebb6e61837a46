package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestLogsOfOneInstance(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1-1.log", "1-2.1.log", "11-1.log", "access.log"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for instance, want := range map[string][]string{
		"": {"1-1.log", "1-2.1.log", "11-1.log", "access.log"}, "1": {"1-1.log", "1-2.1.log"}, "11": {"11-1.log"}, "2": nil, "*": nil,
	} {
		files, err := logsOf(dir, instance)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range files {
			got = append(got, filepath.Base(f))
		}
		if !slices.Equal(got, want) {
			t.Errorf("of instance %q: %q", instance, got)
		}
	}
}
