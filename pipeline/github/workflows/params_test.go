package workflows

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValidateRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Params)
		want   string
	}{
		"no repository":           {func(p *Params) { p.Repository = "" }, "give --repository"},
		"a repository's address":  {func(p *Params) { p.Repository = "https://github.com/o/r" }, "give --repository"},
		"a branch with a quote":   {func(p *Params) { p.Protected = "ma'in" }, "--protected"},
		"a branch of two lines":   {func(p *Params) { p.Protected = "main\nx" }, "--protected"},
		"a branch YAML reads":     {func(p *Params) { p.Protected = "1.0" }, "--protected"},
		"a branch that is a word": {func(p *Params) { p.Protected = "true" }, "--protected"},
		"a development version":   {func(p *Params) { p.Gate = "(devel)" }, "give --version"},
		"a moving version":        {func(p *Params) { p.Gate = "latest" }, "give --version"},
		"no owner":                {func(p *Params) { p.Owners = nil }, "give --owners"},
		"an owner without @":      {func(p *Params) { p.Owners = []string{"me"} }, "no @login"},
		"an owner of two lines":   {func(p *Params) { p.Owners = []string{"@a\n* @b"} }, "no @login"},
		"a range of Go":           {func(p *Params) { p.Go = "1.26" }, "not exact"},
		"the latest Dagger":       {func(p *Params) { p.Dagger = "latest" }, "not exact"},
		"an unknown engine":       {func(p *Params) { p.Engine = "docker" }, "neither"},
		"a runner of two":         {func(p *Params) { p.Runner = "a, b" }, "runner label"},
		"no environment":          {func(p *Params) { p.Environments = nil }, "no environment"},
		"an odd environment":      {func(p *Params) { p.Environments = []string{"Prod"} }, "can't be one"},
		"an environment for YAML": {func(p *Params) { p.Environments = []string{"null"} }, "can't be one"},
		"gate's own environment":  {func(p *Params) { p.Environments = []string{"evidence"} }, "gate's own secrets"},
		"a way back":              {func(p *Params) { p.Environments = []string{"a", "a-back"} }, "ways back"},
	} {
		p := kinds()["own"]
		c.change(&p)
		_, err := Render(p)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want an error with %q", name, err, c.want)
		}
	}
}

func TestSettingsAreReadAsWritten(t *testing.T) {
	for kind, p := range kinds() {
		data, err := p.Settings()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadSettings(data)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		want := p.WithDefaults()
		want.Environments = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
	}
	if _, err := ReadSettings([]byte("owner: ['@a']\n")); err == nil || !strings.Contains(err.Error(), SettingsFile) {
		t.Errorf("a misspelt key: %v", err)
	}
}
