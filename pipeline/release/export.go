package release

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// ErrTree marks a commit whose files cannot be exported safely.
var ErrTree = errors.New("the commit cannot be exported")

// Exported is a folder with the files of a commit and nothing else.
type Exported struct {
	Dir        string
	Commit     string // full id; of HEAD for a dirty tree
	Dirty      bool   // the files differ from those of Commit
	TreeDigest string // "sha256:…" of all files
	Files      []File // sorted by path
}

// Modes of a File, as Git has them.
const (
	modeRegular    = "100644"
	modeExecutable = "100755"
	modeLink       = "120000"
	modeSubmodule  = "160000"
)

// File is one exported file.
type File struct {
	Path   string // with slashes, relative to the export
	Mode   string // 100644, 100755 or 120000
	Digest string // hex SHA-256 of the content, of the target for a link
	Size   int64

	blob string
}

// Export writes the files of rev, exactly as they are committed, into dir,
// which must be empty or absent. Attributes and line-end settings have no say,
// and modes do not depend on the umask. With dirty it writes what git add -A
// would hold now; rev must then be empty or HEAD. Nothing is written into the
// clone. When Export fails it removes dir.
//
// Errors: ErrNoCommit; ErrTree for a submodule or a link that leads out.
func Export(ctx context.Context, c *Clone, rev string, dirty bool, dir string) (_ *Exported, err error) {
	if rev == "" {
		rev = "HEAD"
	}
	commit, err := c.Resolve(ctx, rev)
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("export to %s: %w", dir, err)
	}
	if names, err := os.ReadDir(dir); err == nil && len(names) > 0 {
		return nil, fmt.Errorf("export to %s: the folder is not empty", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	e := &Exported{Dir: dir, Commit: commit}
	g, tree := c.git, commit
	if dirty {
		head, err := c.Head(ctx)
		if err != nil {
			return nil, err
		}
		if head != commit {
			return nil, fmt.Errorf("uncommitted changes belong to HEAD (%.12s), not to %s (%.12s): check it out, or leave the changes out", head, rev, commit)
		}
		temp, err := os.MkdirTemp(filepath.Dir(dir), "index-")
		if err != nil {
			return nil, fmt.Errorf("export: %w", err)
		}
		defer os.RemoveAll(temp)
		if g, tree, err = c.workTree(ctx, temp); err != nil {
			return nil, err
		}
		committed, err := c.git.line(ctx, "rev-parse", "--verify", commit+"^{tree}")
		if err != nil {
			return nil, fmt.Errorf("tree of %s: %w", commit, err)
		}
		e.Dirty = tree != committed
	}
	if e.Files, err = list(ctx, g, tree); err != nil {
		return nil, err
	}
	if err := e.write(ctx, g); err != nil {
		return nil, err
	}
	e.TreeDigest = digestFiles(e.Files)
	return e, nil
}

// list reads the entries of a tree.
func list(ctx context.Context, g git, tree string) ([]File, error) {
	b, err := g.output(ctx, "ls-tree", "-r", "-z", "--full-tree", tree)
	if err != nil {
		return nil, fmt.Errorf("files of %s: %w", tree, err)
	}
	var files []File
	for entry := range bytes.SplitSeq(b, []byte{0}) {
		if len(entry) == 0 {
			continue
		}
		meta, name, ok := strings.Cut(string(entry), "\t")
		fields := strings.Fields(meta)
		if !ok || len(fields) != 3 {
			return nil, fmt.Errorf("files of %s: cannot read %q", tree, entry)
		}
		f := File{Path: name, Mode: fields[0], blob: fields[2]}
		switch f.Mode {
		case modeRegular, modeExecutable, modeLink:
		case "100664": // written by Git before 1.0.8
			f.Mode = modeRegular
		case modeSubmodule:
			return nil, fmt.Errorf("%w: %s is a Git repository of its own (a submodule): vendor its files, or ignore it", ErrTree, name)
		default:
			return nil, fmt.Errorf("%w: %s has the unknown mode %s", ErrTree, name, f.Mode)
		}
		for part := range strings.SplitSeq(name, "/") {
			if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") {
				return nil, fmt.Errorf("%w: %q is not a safe path", ErrTree, name)
			}
		}
		files = append(files, f)
	}
	sort.Slice(files, func(i, j int) bool { return files[i].Path < files[j].Path })
	return files, nil
}

// write writes e.Files and fills in their digests and sizes.
func (e *Exported) write(ctx context.Context, g git) (err error) {
	root, err := os.OpenRoot(e.Dir)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer root.Close()

	ctx, cancel := context.WithCancel(ctx)
	cmd := command(ctx, g.environ, g.dir, g.bin, g.args([]string{"cat-file", "--batch"})...)
	var ids, stderr bytes.Buffer
	for _, f := range e.Files {
		ids.WriteString(f.blob + "\n")
	}
	cmd.Stdin, cmd.Stderr = &ids, &stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return fmt.Errorf("git cat-file: %w", err)
	}
	defer func() {
		if err != nil {
			cancel() // it may be waiting for somebody to read the rest
		}
		werr := cmd.Wait()
		if err == nil && werr != nil {
			err = g.failed(ctx, "cat-file", stderr.String(), werr)
		}
		cancel()
	}()

	// Links come last: while files are written there is nothing to follow.
	type link struct{ path, target string }
	var links []link
	folders := map[string]bool{".": true}
	r := bufio.NewReaderSize(stdout, 1<<16)
	for i := range e.Files {
		f := &e.Files[i]
		content, err := blob(r, f)
		if err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
		}
		if err := e.folder(root, path.Dir(f.Path), folders); err != nil {
			return err
		}
		hash := sha256.New()
		if f.Mode == modeLink {
			target, err := io.ReadAll(io.TeeReader(content, hash))
			if err != nil {
				return fmt.Errorf("read %s: %w", f.Path, err)
			}
			links = append(links, link{f.Path, string(target)})
		} else if err := writeFile(root, f, io.TeeReader(content, hash)); err != nil {
			return err
		}
		f.Digest = hex.EncodeToString(hash.Sum(nil))
		if nl, err := r.ReadByte(); err != nil || nl != '\n' {
			return fmt.Errorf("read %s: Git's answer is cut short", f.Path)
		}
	}
	for _, l := range links {
		if err := root.Symlink(l.target, filepath.FromSlash(l.path)); err != nil {
			return fmt.Errorf("export link %s: %w", l.path, err)
		}
	}
	for _, l := range links {
		if err := staysInside(root, l.path); err != nil {
			return fmt.Errorf("%w: %s is a link to %q, outside of the repository: a build must not read what is not committed", ErrTree, l.path, l.target)
		}
	}
	return nil
}

// staysInside follows a link as the kernel would, but within root. A link that
// leads nowhere is harmless.
func staysInside(root *os.Root, link string) error {
	_, err := root.Stat(filepath.FromSlash(link))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return err
}

// blob reads the head of Git's answer for f and returns a reader of its bytes.
func blob(r *bufio.Reader, f *File) (io.Reader, error) {
	head, err := r.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("read %s: Git's answer is cut short", f.Path)
	}
	fields := strings.Fields(head)
	if len(fields) != 3 || fields[0] != f.blob || fields[1] != "blob" {
		return nil, fmt.Errorf("read %s: its object %s is not in the clone: run git fetch, or git fsck", f.Path, f.blob)
	}
	if f.Size, err = strconv.ParseInt(fields[2], 10, 64); err != nil || f.Size < 0 {
		return nil, fmt.Errorf("read %s: Git answered %q", f.Path, head)
	}
	return io.LimitReader(r, f.Size), nil
}

// folder makes a folder that anybody may read, whatever the umask.
func (e *Exported) folder(root *os.Root, name string, made map[string]bool) error {
	if made[name] {
		return nil
	}
	if err := e.folder(root, path.Dir(name), made); err != nil {
		return err
	}
	made[name] = true
	local := filepath.FromSlash(name)
	if err := root.Mkdir(local, 0o755); err != nil {
		return fmt.Errorf("export folder %s: %w", name, err)
	}
	if err := root.Chmod(local, 0o755); err != nil {
		return fmt.Errorf("export folder %s: %w", name, err)
	}
	return nil
}

func writeFile(root *os.Root, f *File, content io.Reader) error {
	mode := os.FileMode(0o644)
	if f.Mode == modeExecutable {
		mode = 0o755
	}
	w, err := root.OpenFile(filepath.FromSlash(f.Path), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("export %s: %w", f.Path, err)
	}
	n, err := io.Copy(w, content)
	if err == nil && n != f.Size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = w.Chmod(mode)
	}
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("export %s: %w", f.Path, err)
	}
	return nil
}
