//go:build ignore

// Vulndb turns a flat folder of OSV entries, as the Go vulnerability database
// keeps them in its repository, into the layout that govulncheck reads, dated:
// the entries themselves do not say of when they are.
//
//	go run .ci/vulndb.go FLAT_FOLDER NEW_FOLDER DATE
package main

import (
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"sort"
	"time"
)

type vuln struct {
	ID       string    `json:"id"`
	Modified time.Time `json:"modified"`
	Fixed    string    `json:"fixed,omitempty"`
}

type module struct {
	Path  string `json:"path"`
	Vulns []vuln `json:"vulns"`
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("usage: go run .ci/vulndb.go FLAT_FOLDER NEW_FOLDER DATE")
	}
	date, err := time.Parse(time.DateOnly, os.Args[3])
	check(err)
	files, err := filepath.Glob(filepath.Join(os.Args[1], "GO-*.json"))
	check(err)
	if len(files) == 0 {
		log.Fatalf("%s holds no entries", os.Args[1])
	}
	out := os.Args[2]
	for _, dir := range []string{"ID", "index"} {
		check(os.MkdirAll(filepath.Join(out, dir), 0o755))
	}
	byPath := map[string][]vuln{}
	var all []map[string]any
	for _, f := range files {
		b, err := os.ReadFile(f)
		check(err)
		var entry struct {
			ID       string
			Aliases  []string
			Affected []struct{ Package struct{ Name string } }
		}
		check(json.Unmarshal(b, &entry))
		check(os.WriteFile(filepath.Join(out, "ID", entry.ID+".json"), b, 0o644))
		seen := map[string]bool{}
		for _, a := range entry.Affected {
			if name := a.Package.Name; !seen[name] {
				seen[name] = true
				byPath[name] = append(byPath[name], vuln{ID: entry.ID, Modified: date})
			}
		}
		all = append(all, map[string]any{"id": entry.ID, "modified": date, "aliases": entry.Aliases})
	}
	var modules []module
	for path, vulns := range byPath {
		modules = append(modules, module{path, vulns})
	}
	sort.Slice(modules, func(i, j int) bool { return modules[i].Path < modules[j].Path })
	for name, v := range map[string]any{"db": map[string]any{"modified": date}, "modules": modules, "vulns": all} {
		b, err := json.Marshal(v)
		check(err)
		check(os.WriteFile(filepath.Join(out, "index", name+".json"), b, 0o644))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal("vulndb: ", err)
	}
}
