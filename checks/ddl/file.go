package ddl

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	pgquery "github.com/wasilibs/go-pgquery/parser"
)

// File is one migration.
type File struct {
	Name string // as it stands in the repository
	SQL  string
}

// annotation is a line by which goose, or dbmate, says how it reads the file.
var annotation = regexp.MustCompile(`(?i)^\s*--\s*(\+goose|migrate:)\s*([a-z]+)(.*)$`)

// script is the part of a migration that brings the schema forward.
type script struct {
	text string // as long as the file; what is not part of it is blank, so that positions stay
	one  bool   // it runs in one transaction
	odd  string // why it can't be read, "" if it can
}

// forward finds the part that brings the schema forward. A file without
// annotations is that from its first line to its last.
func forward(sql string) script {
	s := script{one: true}
	var b strings.Builder
	annotated, within, found := false, false, false
	for line := range strings.Lines(sql) {
		m := annotation.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if m != nil {
			annotated = true
			switch word := strings.ToLower(m[2]); word {
			case "up":
				within, found = true, true
			case "down":
				within = false
			case "no":
				s.one = s.one && !strings.Contains(strings.ToLower(m[3]), "transaction")
			case "envsub":
				s.odd = "takes parts of its SQL from the environment, so that what it does can't be known"
			}
			if strings.Contains(strings.ReplaceAll(strings.ToLower(m[3]), " ", ""), "transaction:false") {
				s.one = false
			}
		}
		if m == nil && within {
			b.WriteString(line)
			continue
		}
		b.WriteString(blank(line))
	}
	if !annotated {
		s.text = sql
		return s
	}
	s.text = b.String()
	if !found {
		s.odd = "has annotations of a migration tool, but none that says where the way up begins"
	}
	return s
}

// blank is as long as line and holds nothing.
func blank(line string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return ' '
	}, line) + strings.Repeat(" ", len(line)-len([]rune(line)))
}

// backwards says that the file's name is of a way down.
func backwards(name string) bool {
	return strings.HasSuffix(name, ".down.sql") || strings.HasSuffix(name, "_down.sql")
}

// statement is one parsed statement.
type statement struct {
	kind string // "AlterTableStmt"
	body json.RawMessage
	line int
	text string
}

// Statements are those by which a migration brings the schema forward; one says
// that they are written for a transaction.
func Statements(sql string) (list []string, one bool, err error) {
	s := forward(sql)
	if s.odd != "" {
		return nil, false, errors.New(s.odd)
	}
	parsed, _, err := parse(s.text)
	for _, p := range parsed {
		list = append(list, p.text)
		s.one = s.one && p.kind != "TransactionStmt"
	}
	return list, s.one, err
}

// parse reads SQL as PostgreSQL does. The line is that of the mistake.
func parse(sql string) (list []statement, line int, err error) {
	text, err := pgquery.ParseToJSON(sql)
	if err != nil {
		return nil, errorLine(sql, err), err
	}
	var tree struct {
		Stmts []struct {
			Stmt     map[string]json.RawMessage `json:"stmt"`
			Location int                        `json:"stmt_location"`
			Length   int                        `json:"stmt_len"` // 0: to the end
		} `json:"stmts"`
	}
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		return nil, 1, err
	}
	for _, s := range tree.Stmts {
		from := min(s.Location, len(sql))
		to := min(from+s.Length, len(sql))
		if s.Length == 0 {
			to = len(sql)
		}
		for kind, body := range s.Stmt {
			list = append(list, statement{kind: kind, body: body, line: lineAt(sql, from+leading(sql[from:])), text: sql[from:to]})
		}
	}
	return list, 0, nil
}

// errorLine is where the parser stopped; its error keeps that to itself.
func errorLine(sql string, err error) int {
	var at struct{ Cursorpos int }
	if b, e := json.Marshal(err); e != nil || json.Unmarshal(b, &at) != nil || at.Cursorpos < 1 {
		return 1
	}
	// In characters, beginning with 1.
	n := 0
	for i := range sql {
		if n++; n == at.Cursorpos {
			return lineAt(sql, i)
		}
	}
	return lineAt(sql, len(sql))
}

func lineAt(sql string, offset int) int {
	return 1 + strings.Count(sql[:min(offset, len(sql))], "\n")
}

// leading is the length of white space and comments at the beginning.
func leading(sql string) int {
	i := 0
	for i < len(sql) {
		rest := sql[i:]
		switch {
		case strings.ContainsRune(" \t\r\n\f\v;", rune(rest[0])):
			i++
		case strings.HasPrefix(rest, "--"):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				return len(sql)
			}
			i += n + 1
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest, "*/")
			if n < 0 {
				return len(sql)
			}
			i += n + 2
		default:
			return i
		}
	}
	return i
}
