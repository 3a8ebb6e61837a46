package scaffold

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

// schema is what says that there is a database, and how its schema comes about.
type schema struct {
	driver  *dependency // of PostgreSQL
	foreign *dependency // of another database
	tools   []string    // that migrate, with their places
	folders []string    // of SQL, with the number of files
	files   []string    // patterns of SQL, where folders are called so, else of all
}

// dependency is a package that was found in an import.
type dependency struct{ path, at string }

var (
	drivers = regexp.MustCompile(`^(github\.com/jackc/pgx|github\.com/lib/pq|gorm\.io/driver/postgres|github\.com/go-pg/pg|github\.com/uptrace/bun/driver/pgdriver|github\.com/jackc/pgconn)\b`)
	engines = regexp.MustCompile(`^(github\.com/go-sql-driver/mysql|gorm\.io/driver/(mysql|sqlite)|modernc\.org/sqlite|github\.com/mattn/go-sqlite3|github\.com/glebarez/sqlite|go\.mongodb\.org/mongo-driver)\b`)
	// movers are tools that migrate, by what their modules' paths hold.
	movers = []struct{ module, name string }{
		{"pressly/goose", "goose"}, {"golang-migrate/migrate", "golang-migrate"}, {"ariga.io/atlas", "atlas"}, {"jackc/tern", "tern"},
		{"rubenv/sql-migrate", "sql-migrate"}, {"amacneil/dbmate", "dbmate"}, {"uptrace/bun/migrate", "bun"}, {"go-gormigrate/gormigrate", "gormigrate"},
		{"entgo.io/ent", "ent"}, {"GuiaBolso/darwin", "darwin"}, {"lopezator/migrator", "migrator"},
	}
	sqlFolder = regexp.MustCompile(`(?i)^(migrations?|migrate|schema|schemas|sql|ddl|versions)$`)
)

func (t *tree) schema(folders []*folder) schema {
	var s schema
	for _, f := range folders {
		for _, file := range f.files {
			for _, spec := range file.syntax.Imports {
				p, _ := literal(spec.Path)
				i := &dependency{p, t.at(spec)}
				switch {
				case s.driver == nil && drivers.MatchString(p):
					s.driver = i
				case s.foreign == nil && engines.MatchString(p):
					s.foreign = i
				}
			}
		}
	}
	m := folders[0].module
	for _, r := range m.file.Require {
		for _, mv := range movers {
			if strings.Contains(r.Mod.Path, mv.module) {
				s.tools = append(s.tools, fmt.Sprintf("%s (%s:%d)", mv.name, path.Join(m.dir, "go.mod"), r.Syntax.Start.Line))
			}
		}
	}
	t.each(folders, func(r *reader, n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok && called(c) == "AutoMigrate" {
			s.tools = append(s.tools, fmt.Sprintf("AutoMigrate (%s)", r.at(c)))
		}
		return true
	})
	for dir, n := range t.sql {
		if sqlFolder.MatchString(path.Base(dir)) {
			s.folders = append(s.folders, fmt.Sprintf("%s (%s)", dir, count(n, "file")))
			s.files = append(s.files, path.Join(dir, "*.sql"))
		}
	}
	if len(s.files) == 0 {
		for dir := range t.sql {
			s.files = append(s.files, path.Join(dir, "*.sql"))
		}
	}
	slices.Sort(s.files)
	slices.Sort(s.folders)
	return s
}

// any says whether something changes a schema.
func (s schema) any() bool { return len(s.tools)+len(s.folders) > 0 }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
