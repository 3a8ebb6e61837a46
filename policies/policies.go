package policies

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/util"
	"github.com/open-policy-agent/opa/v1/version"
)

// Errors that callers tell apart.
var (
	// ErrPolicy: the policies themselves cannot be used.
	ErrPolicy = errors.New("policies cannot be used")
	// ErrInput: the input is none that a policy could judge.
	ErrInput = errors.New("input cannot be judged")
	// ErrEvaluation: the engine came to no decision that can be believed.
	ErrEvaluation = errors.New("no decision")
	// ErrThreshold: an environment declares a threshold that does not exist or
	// has the wrong type.
	ErrThreshold = errors.New("threshold is not allowed")
)

// Embedded holds the policies that gate ships: Rego, thresholds, the schema of
// the input. Paths are relative to this folder, and an overlay uses the same.
//
//go:embed lib readiness schema thresholds.yaml
var Embedded embed.FS

const (
	entrypoint     = "data.gate.readiness.decision"
	thresholdsFile = "thresholds.yaml"
	criteriaFile   = "criteria.yaml" // of an overlay: criteria beside gate's own
	schemaFile     = "schema/input.json"
)

// Policies are compiled and ready to judge. They are safe for concurrent use.
type Policies struct {
	query  rego.PreparedEvalQuery
	limits limits
	more   more
	digest string
	files  map[string][]byte
}

// New compiles the embedded policies; files of overlay, which may be nil, take
// the place of embedded ones with the same path or come beside them. Whatever
// does not compile in strict mode, or calls what is not deterministic, is
// ErrPolicy.
func New(ctx context.Context, overlay fs.FS) (*Policies, error) {
	files, err := sources(overlay)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	return build(ctx, files)
}

// Kept are the files that policies were made of, with the engine's version: all
// that is needed to judge by them again.
type Kept struct {
	Digest string            `json:"digest"`
	Engine string            `json:"engine"` // version of OPA
	Files  map[string]string `json:"files"`  // path → text
}

// Kept is p to be kept.
func (p *Policies) Kept() Kept {
	k := Kept{Digest: p.digest, Engine: version.Version, Files: map[string]string{}}
	for name, text := range p.files {
		k.Files[name] = string(text)
	}
	return k
}

// Engine is the version of the policy engine of this gate.
func Engine() string { return version.Version }

// Policies are those that were kept, on this gate's engine. That the files are
// what the digest names is proved first, else the error is ErrPolicy.
func (k Kept) Policies(ctx context.Context) (*Policies, error) {
	files := map[string][]byte{}
	for name, text := range k.Files {
		files[name] = []byte(text)
	}
	if got := digestOf(k.Engine, files); got != k.Digest {
		return nil, fmt.Errorf("%w: the files that were kept have the digest %s, not %s", ErrPolicy, got, k.Digest)
	}
	return build(ctx, files)
}

func build(ctx context.Context, files map[string][]byte) (*Policies, error) {
	limits, err := parseLimits(files[thresholdsFile])
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrPolicy, thresholdsFile, err)
	}
	more, err := parseMore(files, limits)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrPolicy, criteriaFile, err)
	}
	compiler, err := compile(files, more)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	data := limits.data()
	data["extra"] = more.data()
	query, err := rego.New(
		rego.Query(entrypoint),
		rego.Compiler(compiler),
		rego.Store(inmem.NewFromObject(data)),
		rego.Capabilities(capabilities()),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	return &Policies{query: query, limits: limits, more: more, digest: digestOf(version.Version, files), files: files}, nil
}

// Digest names the policies: all Rego, the thresholds, the schema, and the
// version of the engine. Tests of policies do not change it.
func (p *Policies) Digest() string { return p.digest }

// parts are the files and folders that policies consist of.
var parts = []string{"lib", "readiness", "schema", thresholdsFile, criteriaFile}

// sources reads every file that policies consist of, by path; tests are left
// out.
func sources(overlay fs.FS) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, tree := range []fs.FS{Embedded, overlay} {
		if tree == nil {
			continue
		}
		err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if top, _, _ := strings.Cut(name, "/"); !slices.Contains(parts, top) && name != "." {
				// A repository's folder may hold policies for other judges.
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			if d.IsDir() || !isSource(name) {
				return nil
			}
			files[name], err = fs.ReadFile(tree, name)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read policies: %w", err)
		}
	}
	return files, nil
}

func isSource(name string) bool {
	if path.Ext(name) == ".rego" {
		return !strings.HasSuffix(name, "_test.rego")
	}
	return name == thresholdsFile || name == schemaFile || name == criteriaFile
}

func compile(files map[string][]byte, more more) (*ast.Compiler, error) {
	modules := map[string]*ast.Module{}
	files = maps.Clone(files)
	if text := more.module(); text != "" {
		files["readiness/more.generated.rego"] = []byte(text)
	}
	for name, text := range files {
		if path.Ext(name) != ".rego" {
			continue
		}
		m, err := ast.ParseModuleWithOpts(name, string(text), ast.ParserOptions{
			Capabilities:      capabilities(),
			ProcessAnnotation: true,
			RegoVersion:       ast.RegoV1,
		})
		if err != nil {
			return nil, err
		}
		modules[name] = m
	}
	schemas, err := schemas(files[schemaFile])
	if err != nil {
		return nil, err
	}
	compiler := ast.NewCompiler().
		WithStrict(true).
		WithCapabilities(capabilities()).
		WithSchemas(schemas).
		WithUseTypeCheckAnnotations(true)
	compiler.Compile(modules)
	if compiler.Failed() {
		return nil, compiler.Errors
	}
	return compiler, nil
}

func schemas(text []byte) (*ast.SchemaSet, error) {
	var schema any
	if err := util.Unmarshal(text, &schema); err != nil {
		return nil, fmt.Errorf("%s: %w", schemaFile, err)
	}
	set := ast.NewSchemaSet()
	set.Put(ast.MustParseRef("schema.input"), schema)
	return set, nil
}

// capabilities are the engine's built-in functions without those whose result
// depends on anything but their arguments: clock, network, randomness, process.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(slices.Clone(c.Builtins), func(b *ast.Builtin) bool {
		return b.Nondeterministic || slices.Contains(forbidden, b.Name)
	})
	c.AllowNet = []string{}
	return c
}

// forbidden lists by name what must stay out even if the engine should stop
// marking it.
var forbidden = []string{
	"http.send", "net.lookup_ip_addr", "opa.runtime", "rand.intn", "time.now_ns", "uuid.rfc4122", "trace", "print",
	"internal.print",
}

func digestOf(engine string, files map[string][]byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "opa %s\n", engine)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(h, "%d %s %d\n", len(name), name, len(files[name]))
		h.Write(files[name])
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
