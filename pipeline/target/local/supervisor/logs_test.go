package supervisor

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func (r *rig) write(addr string, from int) {
	r.Helper()
	resp, err := http.PostForm("http://"+addr+"/write", url.Values{"from": {strconv.Itoa(from)}})
	if err != nil {
		r.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}

func TestRotationLosesNothing(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(func(o *Options) { o.MaxLogBytes, o.KeepLogs = 64<<10, 1000 })
	in := r.start("sha256:one")
	// The instance writes while its log is rotated, by the supervisor too.
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = s.logs.rotate(in.Log)
		}
	})
	const rounds = 10
	for i := range rounds {
		r.write(in.Address, i*2000)
	}
	close(stop)
	wg.Wait()

	files, err := s.LogFiles(in.ID)
	if err != nil || len(files) < 5 {
		t.Fatalf("files %v, %v", files, err)
	}
	var text []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, b...)
	}
	var n int
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "line ") {
			continue
		}
		if want := fmt.Sprintf("line %06d %s\n", n, strings.Repeat("x", 80)); line != want {
			t.Fatalf("line %d is %q", n, line)
		}
		n++
	}
	if n != rounds*2000 {
		t.Errorf("%d lines of %d, in %d files", n, rounds*2000, len(files))
	}
	tail, err := s.Tail(in.ID, 1500)
	if err != nil || len(tail) != 1500 || !strings.HasPrefix(tail[0], fmt.Sprintf("line %06d ", n-1500)) || !strings.HasPrefix(tail[1499], fmt.Sprintf("line %06d ", n-1)) {
		t.Errorf("tail of %d lines, %v", len(tail), err)
	}
}

func TestLogsAreBounded(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(func(o *Options) { o.MaxLogBytes, o.KeepLogs = 64<<10, 1 })
	in := r.start("sha256:one")
	for i := range 3 {
		r.write(in.Address, i*2000)
		r.until(5*time.Second, "rotated", func() bool {
			info, err := os.Stat(in.Log)
			return err == nil && info.Size() <= 64<<10
		})
	}
	r.until(5*time.Second, "pruned", func() bool { files, _ := s.LogFiles(in.ID); return len(files) == 2 })
	files, _ := s.LogFiles(in.ID)
	if files[1] != in.Log {
		t.Errorf("files %v", files)
	}
}

// File systems without collapse range: the copy is complete when nobody writes
// at that very moment.
func TestRotateByTruncation(t *testing.T) {
	dir := t.TempDir()
	l := logs{dir: dir, max: 1000, keep: 5}
	path := filepath.Join(dir, "7-1.log")
	content := strings.Repeat("0123456789\n", 2000)
	f, err := l.open("7", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	none := func(*os.File, int64) error { return unix.EOPNOTSUPP }
	if err := l.rotateBy(path, none); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("after\n"); err != nil {
		t.Fatal(err)
	}
	old, _ := os.ReadFile(filepath.Join(dir, "7-1.1.log"))
	cur, _ := os.ReadFile(path)
	if string(old) != content || string(cur) != "after\n" {
		t.Errorf("old %d bytes of %d, current %q", len(old), len(content), cur)
	}
	if tail, err := l.tail("7", 0, 2); err != nil || !slices.Equal(tail, []string{"0123456789", "after"}) {
		t.Errorf("tail %q, %v", tail, err)
	}
}

func TestLogsOfOthersAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"notes.txt", "1-x.log", "x-1.log", "1-1.log.gz", "../1-1.log", "0-1.log"} {
		if _, ok := parseLog(dir, name); ok {
			t.Errorf("%s was taken for a log", name)
		}
	}
	for i := 1; i <= 5; i++ {
		f, err := (logs{dir: dir, keep: 2}).open(strconv.Itoa(i), 1, map[string]bool{"1": true})
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	all, _ := logs{dir: dir}.files(func(logFile) bool { return true })
	var names []string
	for _, f := range all {
		names = append(names, filepath.Base(f.path))
	}
	if want := []string{"1-1.log", "4-1.log", "5-1.log"}; !slices.Equal(names, want) {
		t.Errorf("kept %v, not %v", names, want)
	}
}

// An instance of another user writes its log, and can't open it.
func TestCredential(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: running an instance as another user needs root")
	}
	const nobody = 65534
	r := newRig(t, nil)
	bin, err := os.MkdirTemp("", "supervisor-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(bin) })
	app := filepath.Join(bin, "app")
	b, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(app, b, 0o755)
	}
	if err == nil {
		err = os.Chmod(bin, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := r.open(func(o *Options) {
		spec := o.SpecFor
		o.SpecFor = func(release, id string, port int) (Spec, error) {
			sp, err := spec(release, id, port)
			sp.Path, sp.Dir = app, ""
			sp.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
			return sp, err
		}
	})
	in := r.start("sha256:one")
	if pid, uid := r.who(in.Address); uid != nobody || pid != in.PID {
		t.Errorf("pid %d, uid %d", pid, uid)
	}
	if tail, err := s.Tail(in.ID, 1); err != nil || !strings.HasPrefix(tail[0], "hello from ") {
		t.Errorf("tail %q, %v", tail, err)
	}
	if info, err := os.Stat(in.Log); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 || info.Mode().Perm() != 0o600 {
		t.Errorf("log %+v, %v", info, err)
	}
	if err := s.Stop(t.Context(), in.ID); err != nil || !ended(in.PID) {
		t.Errorf("stop: %v", err)
	}
}
