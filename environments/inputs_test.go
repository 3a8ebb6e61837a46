package environments

import (
	"strings"
	"testing"
	"time"
)

func TestInputs(t *testing.T) {
	for name, c := range map[string]struct{ inputs, wrong string }{
		"all": {"saturation: {max_cpu_ratio: 1.5, max_memory_ratio: 2}\nerror_logs: {max_ratio: 2, slack: 0.5}\n" +
			"prometheus:\n- {name: queue, url: 'http://127.0.0.1:9090', query: 'sum(queue{release=\"${RELEASE}\"})', max: 100, min: 0, timeout: 2s}\n" +
			"command:\n- {name: orders, run: [/usr/bin/orders, --json], min: 0.5}\n- {name: ok, run: [/bin/true]}\n", ""},
		"a name of two kinds":   {"prometheus:\n- {name: a, url: 'https://p', query: a, max: 1}\ncommand:\n- {name: a, run: [/bin/true]}\n", ""},
		"nothing":               {"{}", "inputs is empty"},
		"nothing of saturation": {"saturation: {}", "inputs.saturation is empty"},
		"a ratio below 1":       {"saturation: {max_cpu_ratio: 0.9}", "use 1 to 1000"},
		"a ratio as text":       {"saturation: {max_cpu_ratio: '2'}", "must be a number"},
		"no ratio":              {"error_logs: {}", "max_ratio is 0"},
		"less than no slack":    {"error_logs: {max_ratio: 2, slack: -1}", "slack is -1"},
		"no bound":              {"prometheus:\n- {name: a, url: 'http://p', query: a}", "bounds nothing"},
		"no query":              {"prometheus:\n- {name: a, url: 'http://p', query: ' ', max: 1}", "query is empty"},
		"no server":             {"prometheus:\n- {name: a, url: 'file:///etc', query: a, max: 1}", "no address of a server"},
		"a user in it":          {"prometheus:\n- {name: a, url: 'http://u@p', query: a, max: 1}", "no address of a server"},
		"an unknown variable":   {"prometheus:\n- {name: a, url: 'http://p', query: '${USER}', max: 1}", "USER"},
		"twice":                 {"command:\n- {name: a, run: [/bin/true]}\n- {name: a, run: [/bin/true]}", "give each its own"},
		"a relative program":    {"command:\n- {name: a, run: [bin/true]}", "absolute path"},
		"for too long":          {"command:\n- {name: a, run: [/bin/true], timeout: 21s}", "use 1s to 20s"},
		"min above max":         {"command:\n- {name: a, run: [/bin/true], min: 2, max: 1}", "make it the lower one"},
		"misspelt":              {"comand: []", "unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			for at, before := range map[string]string{
				"canary":   "  canary:\n    weight: 20\n    min_samples: 1\n    limit: 1m\n    synthetic: 0\n    inputs:\n",
				"steps[0]": "  steps:\n  - weight: 20\n    min_samples: 1\n    limit: 1m\n    synthetic: 0\n    inputs:\n",
			} {
				d, err := promotionOf(t, before+"      "+strings.ReplaceAll(strings.TrimSpace(c.inputs), "\n", "\n      ")+"\n", "", false)
				if c.wrong != "" {
					if err == nil || !strings.Contains(err.Error(), c.wrong) {
						t.Errorf("%s: %v, want %q", at, err, c.wrong)
					}
					continue
				}
				if err != nil {
					t.Fatal(at, err)
				}
				in := d.Environment("production").Promotion.Comparisons()[0].Inputs
				if name == "all" && (in.Saturation.MaxCPURatio != 1.5 || in.Saturation.MaxMemoryRatio != 2 || in.ErrorLogs.Lines() != 0.5 || *in.Prometheus[0].Max != 100 ||
					*in.Prometheus[0].Min != 0 || in.Prometheus[0].Timeout.D() != 2*time.Second || *in.Command[0].Min != 0.5 || in.Command[0].Max != nil || len(in.Command) != 2) {
					t.Errorf("%s: %+v", at, in)
				}
			}
		})
	}
	_, err := promotionOf(t, "  steps:\n  - {weight: 100, min_samples: 1, limit: 1m, synthetic: 0, inputs: {error_logs: {max_ratio: 2}}}\n", "", false)
	if err == nil || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("a comparison with a baseline that there is not: %v", err)
	}
	if (ErrorLogs{}).Lines() != 10 {
		t.Error("no slack of its own")
	}
}
