package runner

import "testing"

func TestExpressions(t *testing.T) {
	s := scope{status: &outcome{}, contexts: object{
		"github": object{"event_name": "push", "sha": "abc", "event": object{"pull_request": object{"base": object{"sha": "def"}}, "run": object{"id": 12345678901.0}}},
		"env":    object{"ENGINE": "none", "EMPTY": ""},
		"inputs": object{"lift": false, "marker": "m-1"},
		"vars":   object{},
	}}
	for in, want := range map[string]string{
		"plain":                                      "plain",
		"a ${{ github.sha }} b ${{github.sha}}":      "a abc b abc",
		"${{ vars.GATE_ENGINE || 'dagger' }}":        "dagger",
		"${{ env.BASE || env.ENGINE }}":              "none",
		"${{ env.EMPTY || 'x' }}":                    "x",
		"${{ github.event.pull_request.base.sha }}":  "def",
		"${{ github.event.merge_group.base_sha }}":   "",
		"${{ github.event.run.id }}":                 "12345678901",
		"${{ GITHUB.Event_Name == 'PUSH' }}":         "true",
		"${{ github.event_name != 'push' && 'x' }}":  "false",
		"${{ inputs.lift }}":                         "false",
		"${{ inputs.lift == 'false' }}":              "false",
		"${{ inputs.none == false }}":                "true",
		"${{ '' == 0 }}":                             "true",
		"${{ 'a }} b' }}":                            "a }} b",
		"${{ 'it''s' }}":                             "it's",
		"${{ format('{0} and {{1}} {1}', 'a', 2) }}": "a and {1} 2",
		"${{ startsWith('/GATE x', '/gate ') }}":     "true",
		"${{ inputs.lift && 'lift' || 'hold' }} ${{ inputs.marker && format('({0})', inputs.marker) || '' }}": "hold (m-1)",
	} {
		if got, err := s.interpolate(in); err != nil || got != want {
			t.Errorf("%s: got %q (%v), want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"${{ github.runid }}", "${{ secrets.X }}", "${{ toJSON(github) }}", "${{ 1 < 2 }}", "${{ github.sha", "${{ github.event }}", "${{ format('{1}', 'a') }}",
		"${{ format('}', 'a') }}", "${{ github.sha.x }}", "${{ github.* }}", "${{ github.event == 1 }}", "${{ startsWith('a') }}", "${{ github[sha] }}", "${{ a b }}",
	} {
		if got, err := s.interpolate(in); err == nil {
			t.Errorf("%s is understood, as %q", in, got)
		}
	}
}

func TestConditions(t *testing.T) {
	for _, c := range []struct {
		in                string
		failed, cancelled bool
		want              bool
	}{
		{"", false, false, true}, {"", true, false, false}, {"", false, true, false},
		{"always()", true, true, true}, {"failure()", true, false, true}, {"failure()", false, false, false}, {"cancelled()", true, true, true},
		{"github.x == 'y'", false, false, true}, {"github.x == 'y'", true, false, false}, {"${{ github.x }}", false, false, true}, {"${{ !github.x }}", false, false, false},
		{"always() && github.x == 'z'", false, false, false}, {"!cancelled()", true, false, true}, {"success() || true", true, false, true},
	} {
		s := scope{status: &outcome{c.failed, c.cancelled}, contexts: object{"github": object{"x": "y"}}}
		if got, err := s.condition(c.in); err != nil || got != c.want {
			t.Errorf("%+v: got %v (%v)", c, got, err)
		}
	}
	s := scope{status: &outcome{}, contexts: object{}}
	for _, in := range []string{"a ${{ true }}", "github.x", "${{ true }} && ${{ true }}", "true &&"} {
		if _, err := s.condition(in); err == nil {
			t.Errorf("%s is understood", in)
		}
	}
}
