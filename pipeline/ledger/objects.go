package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
)

// errMissing: there is no such object or name.
var errMissing = errors.New("no such object")

// objects reads objects through one git process, which starts with the first
// request and ends with close, or with gate's own end. Not for concurrent use.
type objects struct {
	repo   *repository
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

type object struct {
	id   string
	kind string // commit, tree, blob
	data []byte
}

func (o *objects) start() error {
	if o.cmd != nil {
		return nil
	}
	// Its life is the ledger's, not that of the call that happens to be first.
	cmd := o.repo.command(context.Background(), "cat-file", "--batch")
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start git cat-file: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start git cat-file: %w", err)
	}
	o.stderr.Reset()
	cmd.Stderr = &o.stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start git cat-file: %w", err)
	}
	o.cmd, o.in, o.out = cmd, in, bufio.NewReaderSize(out, 256<<10)
	return nil
}

func (o *objects) close() {
	if o.cmd == nil {
		return
	}
	o.in.Close()
	// Its answers that nobody waits for any more would keep it writing for ever.
	_ = o.cmd.Process.Kill()
	_ = o.cmd.Wait()
	o.cmd = nil
}

// read calls each with every object of names, in order. A name that there is
// not has errMissing as err; each ends the reading by returning an error.
func (o *objects) read(ctx context.Context, names []string, each func(i int, ob object, err error) error) (err error) {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("read the ledger: %w", context.Cause(ctx))
	}
	if len(names) == 0 {
		return nil
	}
	if err := o.start(); err != nil {
		return err
	}
	cmd, in := o.cmd, o.in
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	var writer sync.WaitGroup
	writer.Go(func() {
		// A failure shows at the reading end.
		_, _ = io.WriteString(in, strings.Join(names, "\n")+"\n")
	})
	defer func() {
		if undisturbed := stop(); err != nil || !undisturbed {
			// Answers may be left in the pipe: the next reader needs a fresh process.
			o.close()
		}
		writer.Wait()
		if ctx.Err() != nil && err != nil {
			err = fmt.Errorf("read the ledger: %w", context.Cause(ctx))
		}
	}()
	for i, name := range names {
		ob, oerr := o.next()
		if oerr != nil && !errors.Is(oerr, errMissing) {
			return o.failure(name, oerr)
		}
		if err := each(i, ob, oerr); err != nil {
			return err
		}
	}
	return nil
}

func (o *objects) failure(name string, err error) error {
	o.close() // also completes what it said
	if said := gitSaid(o.stderr.String()); said != "" {
		return fmt.Errorf("%w: read %s: %s", ErrBroken, name, said)
	}
	return fmt.Errorf("read %s: %w", name, err)
}

// next reads "<id> <kind> <size>\n<data>\n" or "<name> missing\n".
func (o *objects) next() (object, error) {
	line, err := o.out.ReadString('\n')
	if err != nil {
		return object{}, err
	}
	line = strings.TrimSuffix(line, "\n")
	if name, ok := strings.CutSuffix(line, " missing"); ok {
		return object{}, fmt.Errorf("%w: %s", errMissing, name)
	}
	f := strings.Fields(line)
	if len(f) != 3 {
		return object{}, fmt.Errorf("git cat-file said %.100q", line)
	}
	size, err := strconv.Atoi(f[2])
	if err != nil || size < 0 {
		return object{}, fmt.Errorf("git cat-file said %.100q", line)
	}
	data := make([]byte, size+1)
	if _, err := io.ReadFull(o.out, data); err != nil {
		return object{}, err
	}
	return object{id: f[0], kind: f[1], data: data[:size]}, nil
}

// one reads one object of the given kind.
func (o *objects) one(ctx context.Context, name, kind string) (object, error) {
	var got object
	err := o.read(ctx, []string{name}, func(_ int, ob object, err error) error {
		if err == nil && ob.kind != kind {
			err = fmt.Errorf("%w: %s is a %s, want a %s", ErrBroken, name, ob.kind, kind)
		}
		got = ob
		return err
	})
	return got, err
}

// treeItem is one line of a tree.
type treeItem struct {
	name   string
	id     string
	folder bool
}

func (o *objects) tree(ctx context.Context, id string) ([]treeItem, error) {
	ob, err := o.one(ctx, id, "tree")
	if err != nil {
		return nil, err
	}
	var items []treeItem
	for b := ob.data; len(b) > 0; {
		mode, rest, ok := bytes.Cut(b, []byte{' '})
		name, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(rest) < 20 {
			return nil, fmt.Errorf("%w: tree %s is damaged", ErrBroken, id)
		}
		items = append(items, treeItem{name: string(name), id: hex.EncodeToString(rest[:20]), folder: string(mode) == "40000"})
		b = rest[20:]
	}
	return items, nil
}

// header returns the values of a field in the head of a commit.
func header(commit []byte, field string) []string {
	head, _, _ := strings.Cut(string(commit), "\n\n")
	var out []string
	for line := range strings.Lines(head) {
		if v, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), field+" "); ok {
			out = append(out, v)
		}
	}
	return out
}
