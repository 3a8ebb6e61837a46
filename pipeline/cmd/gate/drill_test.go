package main

import (
	"os"
	"testing"
)

// drill is for tests that take minutes each, since they measure several commits
// or play with several machines: make drills runs them, and CI does.
func drill(t *testing.T) {
	t.Helper()
	if testing.Short() || os.Getenv("GATE_DRILLS") == "" {
		t.Skip("SKIPPED: a drill of minutes; make drills runs it")
	}
}
