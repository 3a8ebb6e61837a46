package workflows

import (
	"fmt"
	"strings"
)

// action is somebody else's code in our workflows: pinned by commit, since a
// tag can be moved.
type action struct{ version, commit string }

var actions = map[string]action{
	"actions/checkout":        {"v7.0.1", "3d3c42e5aac5ba805825da76410c181273ba90b1"},
	"actions/setup-go":        {"v7.0.0", "b7ad1dad31e06c5925ef5d2fc7ad053ef454303e"},
	"actions/upload-artifact": {"v7.0.0", "bbbca2ddaa5d8feaa63e36b76fdaad77386f024f"},
	// Enterprise Server can't take what version 4 and later upload.
	"actions/upload-artifact enterprise": {"v3.2.1-node20", "c24449f33cd45d4826c6702db7e49f7cdb9b551d"},
	"dagger/dagger-for-github":           {"v8.4.1", "27b130bf0f79a7f6fbbbe0fbca6760dc9bb40a77"},
}

func use(name string) (string, error) {
	a, ok := actions[name]
	if !ok {
		return "", fmt.Errorf("action %s is not pinned", name)
	}
	name, _, _ = strings.Cut(name, " ")
	return fmt.Sprintf("%s@%s # %s", name, a.commit, a.version), nil
}
