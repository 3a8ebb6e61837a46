package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestFirstStartAndRestartKeepDataAndPort(t *testing.T) {
	t.Parallel()
	log := &notes{}
	o := options(folder(t), log)
	c, err := Open(deadline(t), o)
	if err != nil {
		t.Fatal(err)
	}
	if empty, err := c.Empty(deadline(t)); err != nil || !empty {
		t.Fatalf("a new database: Empty = %v, %v", empty, err)
	}
	app, pid := c.AppURL(), c.PID()
	admin := connect(t, c.AdminURL())
	for setting, want := range map[string]string{
		"data_checksums": "on", "server_encoding": "UTF8", "fsync": "on", "full_page_writes": "on",
		"max_connections": "200", "shared_buffers": "128MB", "wal_level": "replica", "listen_addresses": "127.0.0.1",
	} {
		if got := ask[string](t, admin, "SHOW "+setting); got != want {
			t.Errorf("%s = %s, want %s", setting, got, want)
		}
	}
	if got := ask[string](t, admin, "SELECT datcollate FROM pg_database WHERE datname = 'shop'"); got != "C" {
		t.Errorf("collation %s, want C", got)
	}
	if open := ask[int64](t, admin, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'"); open != 0 {
		t.Errorf("%d rules of pg_hba let somebody in without scram-sha-256", open)
	}
	hangUp(admin)
	must(t, connect(t, c.MigratorURL()), "CREATE TABLE orders (id int)", "INSERT INTO orders VALUES (7)")
	stop(t, c)
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the server, pid %d, outlived Stop: %v", pid, err)
	}
	if err := c.EnsureRunning(deadline(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("EnsureRunning after Stop: %v, want ErrClosed", err)
	}

	c = open(t, o) // its port and data are those of before
	if c.AppURL() != app {
		t.Error("the URL has changed by a restart")
	}
	if got := ask[int](t, connect(t, c.AppURL()), "SELECT id FROM orders"); got != 7 {
		t.Errorf("read %d, want 7", got)
	}
	if empty, err := c.Empty(deadline(t)); err != nil || empty {
		t.Errorf("with a table: Empty = %v, %v", empty, err)
	}
	if err := c.Ping(deadline(t)); err != nil {
		t.Error(err)
	}
	if want := "own cluster, PostgreSQL "; !strings.HasPrefix(c.Describe(), want) {
		t.Errorf("Describe = %q", c.Describe())
	}

	// No secret is printed or lies open.
	printed := fmt.Sprintf("%v %+v %#v %s", c, c, c, c.secrets) + log.String()
	for _, secret := range []string{c.secrets.Admin, c.secrets.App, c.secrets.Migrator} {
		if strings.Contains(printed, secret) {
			t.Error("a password is printed")
		}
	}
	for _, file := range []string{secretsFile, portFile, logFile, "lock"} {
		if info, err := os.Stat(c.path(file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", file, info.Mode(), err)
		}
	}
	args, err := os.ReadFile("/proc/" + strconv.Itoa(c.PID()) + "/cmdline")
	if err != nil || strings.Contains(string(args), c.secrets.Admin) {
		t.Errorf("arguments of the server: %q, %v", args, err)
	}
	if env, err := os.ReadFile("/proc/" + strconv.Itoa(c.PID()) + "/environ"); err == nil && strings.Contains(string(env), "HOME=") {
		t.Error("the server sees gate's environment")
	}
	stop(t, c)
	portTaken(t, o, log, app)
	t.Log(log)
}

// portTaken opens a cluster while another program holds its port.
func portTaken(t *testing.T, o Options, log *notes, app string) {
	t.Helper()
	before := mustParse(t, app)
	thief, err := net.Listen("tcp4", before.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	c := open(t, o)
	if after := mustParse(t, c.AppURL()); after.Host == before.Host {
		t.Fatalf("address is still %s, which another program holds", after.Host)
	}
	if err := c.Ping(deadline(t)); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "is taken by another program") {
		t.Errorf("the log says nothing of it:\n%s", log)
	}
}

func TestARunningServerIsAdopted(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(self)
	daemon.Env = append(os.Environ(), childDir+"="+dir)
	out, err := daemon.StdoutPipe()
	if err == nil {
		err = daemon.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var word string
	var pid int
	if _, err := fmt.Fscan(bufio.NewReader(out), &word, &pid); err != nil || word != "pid" {
		t.Fatalf("the daemon says %q: %v", word, err)
	}

	_, err = Open(deadline(t), options(dir, nil))
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "pid "+strconv.Itoa(daemon.Process.Pid)) {
		t.Fatalf("Open beside a living daemon: %v, want ErrLocked with its pid", err)
	}
	oneLiner(t, err)

	// The daemon's whole process group goes, as at the end of a session.
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err == nil {
		t.Fatal("the daemon ended well though it was killed")
	}
	log := &notes{}
	c := open(t, options(dir, log))
	if c.PID() != pid {
		t.Errorf("the server is pid %d now, was %d: it was not adopted\n%s", c.PID(), pid, log)
	}
	if sid, err := sessionOf(pid); err != nil || sid != pid {
		t.Errorf("the server's session is %d (%v), want its own, %d", sid, err, pid)
	}

	// Closing leaves it running too; and an adopted one is stopped by Stop.
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, options(dir, nil))
	if c.PID() != pid {
		t.Errorf("after Close the server is pid %d, was %d", c.PID(), pid)
	}
	// An adopted server that dies is started again as well.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "it is started again", func() bool {
		if err := c.EnsureRunning(deadline(t)); err != nil {
			t.Fatal(err)
		}
		return c.Restarts() == 1
	})
	if err := c.Ping(deadline(t)); err != nil {
		t.Error(err)
	}
}

func sessionOf(pid int) (int, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b))
	return strconv.Atoi(fields[5])
}

func TestFolderThatPostgreSQLCannotEnter(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root hands PostgreSQL over to another user, who may be kept out")
	}
	closed := filepath.Join(filepath.Dir(folder(t)), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Open(deadline(t), options(filepath.Join(closed, "db"), nil))
	if !errors.Is(err, ErrUnenterable) || !strings.Contains(err.Error(), closed+":") || !strings.Contains(err.Error(), "GATE_STATE") {
		t.Fatalf("Open in a closed folder: %v", err)
	}
	oneLiner(t, err)
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	mount := filepath.Dir(folder(t))
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=8m,mode=0711"); err != nil {
		t.Skipf("SKIPPED: a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mount, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	o := options(filepath.Join(mount, "db"), nil)
	_, err := Open(deadline(t), o)
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("Open on a full disk: %v, want ErrNoSpace", err)
	}
	oneLiner(t, err)
	// What was tried is tidied up, and the next try works once there is room.
	if left, err := filepath.Glob(filepath.Join(o.Dir, "create-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := syscall.Mount("tmpfs", mount, "tmpfs", syscall.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	stop(t, open(t, o))
}

func TestMistakesInOptions(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"relative folder":  {Dir: "db", Name: "shop"},
		"odd name":         {Dir: t.TempDir(), Name: `shop"; DROP`},
		"empty name":       {Dir: t.TempDir()},
		"reserved setting": {Dir: t.TempDir(), Name: "shop", Settings: map[string]string{"port": "1"}},
		"second line":      {Dir: t.TempDir(), Name: "shop", Settings: map[string]string{"work_mem": "1MB\nport=1"}},
		"no URL":           {Dir: t.TempDir(), Name: "shop", URL: "postgres://u:hunter2@[::1:5432/x"},
		"not PostgreSQL":   {Dir: t.TempDir(), Name: "shop", URL: "mysql://u:hunter2@h/x"},
		"bad URL option":   {Dir: t.TempDir(), Name: "shop", URL: "postgres://u:hunter2@h/x?sslmode=hunter2"},
	} {
		c, err := Open(deadline(t), o)
		if err == nil {
			stop(t, c)
			t.Errorf("%s: accepted", name)
			continue
		}
		oneLiner(t, err, "hunter2")
	}
}

func TestPasswordsThatOthersMayRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), secretsFile)
	made, err := loadSecrets(path, true)
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadSecrets(path, false)
	if err != nil || again != made {
		t.Fatalf("read other passwords than were kept: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSecrets(path, true); err == nil {
		t.Error("read passwords that a group may read")
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSecrets(path, true); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged passwords: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSecrets(path, false); err == nil {
		t.Error("made new passwords for an old cluster")
	}
}

func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	c := &Cluster{dir: t.TempDir(), log: &notes{}}
	if err := os.WriteFile(c.path(logFile), make([]byte, maxLog+1), 0o600); err != nil {
		t.Fatal(err)
	}
	c.boundLog()
	now, err1 := os.Stat(c.path(logFile))
	old, err2 := os.Stat(c.path(logFile + ".1"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if now.Size() != 0 || old.Size() != maxLog+1 {
		t.Errorf("log has %d bytes, its copy %d", now.Size(), old.Size())
	}
}
