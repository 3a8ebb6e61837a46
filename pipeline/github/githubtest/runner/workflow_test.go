package runner

import (
	"path"
	"strings"
	"testing"

	"github.com/smartcloudops/gate/pipeline/github/workflows"
)

func kinds() map[string]workflows.Params {
	own := workflows.Params{
		Repository: "smartcloudops/gate", Gate: workflows.Checkout, Owners: []string{"@smartcloudops/owners"}, Environments: []string{"staging", "production"},
	}
	other := workflows.Params{
		Repository: "o-k/some.service", Protected: "release/2", Gate: "v1.2.3", Owners: []string{"@o-k/a"}, Engine: workflows.EngineNone, Environments: []string{"one", "two"},
	}
	enterprise := other
	enterprise.EnterpriseServer = true
	return map[string]workflows.Params{"own": own, "other": other, "enterprise": enterprise}
}

// TestEveryTemplateIsUnderstood: what the runner does not know, it says.
func TestEveryTemplateIsUnderstood(t *testing.T) {
	for kind, p := range kinds() {
		files, err := workflows.Render(p)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, f := range files {
			if !strings.HasSuffix(f.Path, ".yml") {
				continue
			}
			n++
			if _, err := parse(path.Base(f.Path), f.Data); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		if n < 10 {
			t.Errorf("%s: only %d workflows", kind, n)
		}
	}
}

func TestWhatIsNotUnderstoodIsAnError(t *testing.T) {
	const head = "on: {push: {branches: [main]}}\npermissions: {}\njobs:\n  a:\n    runs-on: ubuntu-24.04\n"
	const steps = "    steps: [{run: echo}]\n"
	if _, err := parse("plain.yml", []byte(head+steps)); err != nil {
		t.Fatal(err)
	}
	for name, src := range map[string]string{
		"no YAML":           "{",
		"no permissions":    strings.Replace(head+steps, "permissions: {}\n", "", 1),
		"all permissions":   strings.Replace(head+steps, "permissions: {}", "permissions: read-all", 1),
		"paths":             strings.Replace(head+steps, "branches: [main]", "paths: [x]", 1),
		"another event":     strings.Replace(head+steps, "push: {branches: [main]}", "release: {types: [created]}", 1),
		"misspelt":          head + "    stepz: []\n",
		"matrix":            head + "    strategy: {matrix: {os: [a]}}\n" + steps,
		"container":         head + "    container: debian\n" + steps,
		"services":          head + "    services: {a: {image: b}}\n" + steps,
		"continue":          head + "    continue-on-error: true\n" + steps,
		"step continue":     head + "    steps: [{run: echo, continue-on-error: true}]\n",
		"shell":             head + "    steps: [{run: echo, shell: python}]\n",
		"step timeout":      head + "    steps: [{run: echo, timeout-minutes: 1}]\n",
		"unknown context":   head + "    steps: [{run: \"echo ${{ secret.X }}\"}]\n",
		"outputs":           head + "    outputs: {a: b}\n" + steps,
		"inherit":           "on: push\npermissions: {}\njobs:\n  a:\n    uses: o/r/.github/workflows/x.yml@main\n    secrets: inherit\n",
		"environment's url": head + "    environment: {name: a, url: \"https://x\"}\n" + steps,
	} {
		if _, err := parse("x.yml", []byte(src)); err == nil {
			t.Errorf("%s is understood", name)
		}
	}
}
