package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// stalling is an image one of whose layers stops in the middle for ever, with
// the process still holding the lock.
type stalling struct {
	v1.Image
	layer int
}

func (s *stalling) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	layers, err := s.Image.Layers()
	if err != nil {
		return nil, err
	}
	for i, l := range layers {
		if d, err := l.Digest(); err != nil || d != h {
			continue
		}
		if i == s.layer {
			return stallingLayer{l}, nil
		}
		return l, nil
	}
	return nil, errors.New("no such layer")
}

type stallingLayer struct{ v1.Layer }

func (l stallingLayer) Compressed() (io.ReadCloser, error) {
	r, err := l.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.MultiReader(io.LimitReader(r, 700), stop{})), nil
}

type stop struct{}

func (stop) Read([]byte) (int, error) {
	fmt.Println("stalled")
	time.Sleep(time.Hour) // until it is killed
	return 0, io.EOF
}

func TestTwoWritersAtOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store") // both also create it
	const count = 15
	first, second := helper(t, job{Do: "put", Store: dir, Seed: 100, Count: count}), helper(t, job{Do: "put", Store: dir, Seed: 108, Count: count})
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(first.Wait(), second.Wait()); err != nil {
		t.Fatal(err)
	}
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if list := sound(t, s); len(list) != count+8 {
		t.Errorf("%d releases, want %d", len(list), count+8)
	}
}

func TestWaitingForTheStoreEnds(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	unlock, err := s.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.Put(ctx, mustImage(t, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.List(); err != nil {
		t.Errorf("reading waits for a writer: %v", err)
	}
}

func TestKilledWriterLeavesAWholeStore(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	kept := put(t, s, 1)
	for _, layer := range []int{1, 2} { // the first one is the same in every release, so it is there already
		cmd := helper(t, job{Do: "stall", Store: s.dir, Seed: 2, Layer: layer})
		killAfter(t, cmd.StdoutPipe, cmd.Start, cmd.Wait, func() error { return cmd.Process.Kill() }, 1)
		if list := sound(t, s); !slices.Equal(list, []string{kept}) {
			t.Errorf("killed in layer %d: list %q, want %q", layer, list, kept)
		}
	}
	if left, err := os.ReadDir(s.temp()); err != nil || len(left) == 0 {
		t.Fatalf("nothing was killed in the middle: %v", err)
	}
	fresh := newStore(t)
	cmd := helper(t, job{Do: "stall", Store: fresh.dir, Seed: 2})
	killAfter(t, cmd.StdoutPipe, cmd.Start, cmd.Wait, func() error { return cmd.Process.Kill() }, 1)
	if list := sound(t, fresh); len(list) != 0 {
		t.Errorf("killed in the very first layer: list %q", list)
	}
	put(t, fresh, 2)
	sound(t, fresh)
	random := rand.New(rand.NewSource(1))
	for round := range 6 {
		cmd := helper(t, job{Do: "put", Store: s.dir, Seed: int64(1000 * (round + 1)), Count: 500})
		killAfter(t, cmd.StdoutPipe, cmd.Start, cmd.Wait, func() error {
			time.Sleep(time.Duration(random.Intn(8000)) * time.Microsecond) // anywhere in a Put
			return cmd.Process.Kill()
		}, 2)
		if list := sound(t, s); len(list) < 3 || list[0] != kept {
			t.Errorf("round %d: list %q", round, list)
		}
	}
	put(t, s, 3)
	sound(t, s)
	if left, err := os.ReadDir(s.temp()); err != nil || len(left) != 0 {
		t.Errorf("%d files are left over, %v", len(left), err)
	}
}

// killAfter starts a process and kills it when it has printed so many lines.
func killAfter(t *testing.T, pipe func() (io.ReadCloser, error), start, wait, kill func() error, lines int) {
	t.Helper()
	out, err := pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	for seen := 0; seen < lines; {
		if _, err := out.Read(one); err != nil {
			t.Fatalf("the writer ended: %v, %v", err, wait())
		}
		if one[0] == '\n' {
			seen++
		}
	}
	if err := kill(); err != nil {
		t.Fatal(err)
	}
	if err := wait(); err == nil {
		t.Fatal("the writer was done before it was killed")
	}
}
