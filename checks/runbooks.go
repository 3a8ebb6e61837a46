package checks

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// RunbooksPayload is what the runbooks of a commit are like.
type RunbooksPayload struct {
	Folder   string     `json:"folder"`
	Alerts   []string   `json:"alerts"` // that gate can raise
	Runbooks []Runbook  `json:"runbooks"`
	Missing  []string   `json:"missing"`            // alerts without a runbook
	Incident Procedure  `json:"incident"`           // how an incident is handled
	Template bool       `json:"template"`           // for what is written after one
	Findings []Finding  `json:"findings,omitempty"` // what is wrong, with file and line
	Earliest *time.Time `json:"earliest"`           // the first review date of all; null: one has none
}

// Runbook is what is to be done about one alert.
type Runbook struct {
	Alert    string `json:"alert"`
	File     string `json:"file"`
	Owner    string `json:"owner"`
	Severity string `json:"severity"`
	Review   string `json:"review"` // date until which it was found right, 2026-01-31
	Steps    int    `json:"steps"`
}

// Procedure is how an incident is handled, whatever its cause.
type Procedure struct {
	File    string   `json:"file"`
	Present bool     `json:"present"`
	Missing []string `json:"missing"` // of who, severity, communication, timeline
}

// Files of the folder that are no runbooks.
const (
	incidentFile = "incident-response.md"
	templateFile = "post-incident-template.md"
)

// incidentParts are the headings that the procedure must fill.
var incidentParts = []string{"who", "severity", "communication", "timeline"}

// Runbooks reads the runbooks in the folder that app.yaml declares.
func Runbooks() Check {
	return Check{
		Name: "runbooks", Criterion: "runbooks", Version: 1, Scope: OfRelease, Title: "One runbook for each alert",
		Parameters: func(in Input) map[string]string {
			p := map[string]string{"tree": in.TreeDigest}
			if in.Declarations != nil && in.Declarations.App != nil {
				p["folder"] = in.Declarations.App.Runbooks
			}
			return p
		},
		Estimate: func(Input) time.Duration { return 0 },
		Measure:  runbooksMeasure,
		Pool:     runbooksPool,
	}
}

func runbooksMeasure(_ context.Context, in Input) (Measurement, error) {
	folder := in.Declarations.App.Runbooks
	switch {
	case folder == "":
		return Measurement{Status: Unavailable, Reason: "app.yaml declares no runbooks; declare runbooks: docs/runbooks, and write one for each alert (gate init does)"}, nil
	case in.Source == "":
		return Measurement{Status: Unavailable, Reason: "the source of the commit is not at hand"}, nil
	}
	root, err := os.OpenRoot(in.Source) // no link of the commit leads out of it
	if err != nil {
		return Measurement{}, err
	}
	defer root.Close()
	p := RunbooksPayload{Folder: folder, Alerts: []string{}, Runbooks: []Runbook{}, Missing: []string{}}
	for _, a := range Alerts() {
		p.Alerts = append(p.Alerts, a.Name)
		file := path.Join(folder, a.Name+".md")
		text, err := fs.ReadFile(root.FS(), file)
		if errors.Is(err, fs.ErrNotExist) {
			p.Missing = append(p.Missing, a.Name)
			p.find(file, 0, "the alert "+a.Name+" has no runbook", "write it: what it means, and the steps")
			continue
		}
		if err != nil {
			return Measurement{}, err
		}
		p.runbook(a, file, text)
	}
	if err := p.procedure(root.FS()); err != nil {
		return Measurement{}, err
	}
	p.earliest()
	return Measurement{Status: Completed, Payload: p}, nil
}

func (p *RunbooksPayload) find(file string, line int, message, fix string) {
	p.Findings = append(p.Findings, Finding{Tool: "runbooks", Rule: "runbook", Severity: "high", File: file, Line: line, Message: message, Fix: fix})
}

// front is what stands above a runbook.
type front struct {
	Alert    string `yaml:"alert"`
	Owner    string `yaml:"owner"`
	Severity string `yaml:"severity"`
	Review   string `yaml:"review"`
}

func (p *RunbooksPayload) runbook(a Alert, file string, text []byte) {
	head, body, ok := parted(text)
	if !ok {
		p.find(file, 1, "there is no front matter", "begin with ---, alert, owner, severity, review, ---")
	}
	var f front
	if err := yaml.UnmarshalWithOptions(head, &f, yaml.DisallowUnknownField()); err != nil {
		p.find(file, 1, "the front matter can't be read", "write alert, owner, severity and review, each with a text")
	}
	r := Runbook{Alert: a.Name, File: file, Owner: strings.TrimSpace(f.Owner), Severity: f.Severity, Steps: steps(body)}
	if f.Alert != a.Name {
		p.find(file, 2, "it names the alert "+f.Alert+", and stands for "+a.Name, "name the alert as the file")
		r.Alert = f.Alert
	}
	if r.Owner == "" {
		p.find(file, 1, "it has no owner", "name who keeps it right")
	}
	if r.Severity != a.Severity {
		p.find(file, 1, "its severity is not that of the alert, "+a.Severity, "write severity: "+a.Severity)
	}
	if r.Steps == 0 {
		p.find(file, 1, "it has no steps", "list them below a heading Steps")
	}
	if _, err := time.Parse(time.DateOnly, f.Review); err == nil {
		r.Review = f.Review
	} else {
		p.find(file, 1, "it has no review date", "write review: with the day by which somebody looks whether it is still right, as 2027-01-31")
	}
	p.Runbooks = append(p.Runbooks, r)
}

// parted is the front matter and what follows it.
func parted(text []byte) (head, body []byte, ok bool) {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	rest, ok := bytes.CutPrefix(text, []byte("---\n"))
	if !ok {
		return nil, text, false
	}
	head, body, ok = bytes.Cut(rest, []byte("\n---\n"))
	if !ok {
		return nil, text, false
	}
	return head, body, true
}

var (
	headingRE = regexp.MustCompile(`^#{1,6}\s+(.+?)\s*#*$`)
	stepRE    = regexp.MustCompile(`^(?:[0-9]{1,3}[.)]|[-*+])\s+\S`)
)

// steps are the items of the lists below a heading that says Steps.
func steps(body []byte) int {
	n, in := 0, false
	for _, line := range visible(body) {
		if m := headingRE.FindStringSubmatch(line); m != nil {
			in = strings.Contains(strings.ToLower(m[1]), "step")
		} else if in && stepRE.MatchString(line) {
			n++
		}
	}
	return n
}

var commentRE = regexp.MustCompile(`(?s)<!--.*?(?:-->|\z)`)

// visible are the lines that a reader sees.
func visible(body []byte) []string {
	return strings.Split(string(commentRE.ReplaceAll(body, nil)), "\n")
}

// procedure looks for the incident's procedure and the template. A heading with
// nothing below it says nothing.
func (p *RunbooksPayload) procedure(root fs.FS) error {
	p.Incident = Procedure{File: path.Join(p.Folder, incidentFile), Missing: []string{}}
	text, err := fs.ReadFile(root, p.Incident.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Incident.Missing = slices.Clone(incidentParts)
		p.find(p.Incident.File, 0, "there is no procedure for incidents", "write who, severity, communication and timeline")
	case err != nil:
		return err
	default:
		p.Incident.Present = true
		filled := map[string]bool{}
		at := ""
		_, body, _ := parted(text)
		for _, line := range visible(body) {
			if m := headingRE.FindStringSubmatch(line); m != nil {
				at = strings.ToLower(m[1])
			} else if strings.TrimSpace(line) != "" {
				for _, part := range incidentParts {
					if strings.Contains(at, part) {
						filled[part] = true
					}
				}
			}
		}
		for _, part := range incidentParts {
			if !filled[part] {
				p.Incident.Missing = append(p.Incident.Missing, part)
				p.find(p.Incident.File, 1, "the procedure says nothing of "+part, "fill a heading with that word")
			}
		}
	}
	file := path.Join(p.Folder, templateFile)
	text, err = fs.ReadFile(root, file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if p.Template = len(bytes.TrimSpace(text)) > 0; !p.Template {
		p.find(file, 0, "there is no template for what is written after an incident", "write one")
	}
	return nil
}

// earliest is the first of the review dates, if every runbook has one.
func (p *RunbooksPayload) earliest() {
	var first time.Time
	for _, r := range p.Runbooks {
		t, err := time.Parse(time.DateOnly, r.Review)
		if err != nil {
			return
		}
		// Through the whole day.
		if t = t.Add(24 * time.Hour); first.IsZero() || t.Before(first) {
			first = t
		}
	}
	if !first.IsZero() {
		p.Earliest = &first
	}
}

// runbooksPool keeps the newest reading, as all are of the same files; if one saw
// less all the same, that one.
func runbooksPool(payloads [][]byte) ([]byte, error) {
	return poolWorst(payloads, func(a, b RunbooksPayload) RunbooksPayload {
		if len(a.Runbooks) < len(b.Runbooks) || len(a.Missing) > len(b.Missing) {
			return a
		}
		return b
	})
}
