package environments

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestEveryKeyIsDocumented: who declares something finds each key in
// docs/declarations.md or docs/alerts.md.
func TestEveryKeyIsDocumented(t *testing.T) {
	var text string
	for _, f := range []string{"../docs/declarations.md", "../docs/alerts.md"} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text += string(b)
	}
	n := 0
	var look func(typ reflect.Type, at string)
	look = func(typ reflect.Type, at string) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ == dateType {
			return
		}
		for key, of := range fields(typ) {
			n++
			path := strings.TrimPrefix(at+"."+key, ".")
			// The end of the path is enough, as for what alerts and secrets share.
			said := strings.Contains(text, " "+key+": ") || strings.Contains(text, "{"+key+": ")
			for end := path; end != "" && !said; _, end, _ = strings.Cut(end, ".") {
				said = strings.Contains(text, "`"+end)
			}
			if !said {
				t.Errorf("%s is documented nowhere", path)
			}
			look(of, path)
		}
	}
	for _, v := range []any{App{}, Environment{}, Trust{}, Waiver{}} {
		look(reflect.TypeOf(v), "")
	}
	if n < 100 {
		t.Errorf("%d keys only were looked for", n)
	}
}
