package github

import (
	"path"
	"strings"

	gh "github.com/google/go-github/v60/github"

	"github.com/smartcloudops/gate/checks"
)

// annotation is comparable, so that one which GitHub has already is known.
type annotation struct {
	path, level, title, message string
	line                        int
}

// annotate is f at its place; ok is false when it has none within the
// repository.
func annotate(f checks.Finding) (a annotation, ok bool) {
	file := strings.ReplaceAll(f.File, "\\", "/")
	if file == "" || path.IsAbs(file) || path.Clean(file) != file || file == ".." || strings.HasPrefix(file, "../") || visible(file) != file || strings.Contains(file, "\n") || len(file) > 1000 {
		return annotation{}, false
	}
	a = annotation{path: file, line: max(f.Line, 1), level: "notice", title: Line(f.Tool+" "+f.Rule, maxTitle)}
	switch f.Severity {
	case "high":
		a.level = "failure"
	case "medium":
		a.level = "warning"
	}
	message := Log(f.Message)
	if f.Fix != "" {
		message += "\nFix: " + Log(f.Fix)
	}
	// GitHub refuses an empty one, and trims.
	a.message = clip(strings.TrimSpace(message), maxMessage)
	if a.message == "" {
		a.message = "no message"
	}
	return a, true
}

func (a annotation) request() *gh.CheckRunAnnotation {
	return &gh.CheckRunAnnotation{Path: &a.path, StartLine: &a.line, EndLine: &a.line, AnnotationLevel: &a.level, Title: &a.title, Message: &a.message}
}

func annotationOf(a *gh.CheckRunAnnotation) annotation {
	return annotation{path: a.GetPath(), level: a.GetAnnotationLevel(), title: a.GetTitle(), message: a.GetMessage(), line: a.GetStartLine()}
}

func requests(all []annotation) []*gh.CheckRunAnnotation {
	var out []*gh.CheckRunAnnotation
	for _, a := range all {
		out = append(out, a.request())
	}
	return out
}
