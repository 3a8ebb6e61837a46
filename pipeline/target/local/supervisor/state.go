package supervisor

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smartcloudops/gate/pipeline/target/local/durable"
)

const stateVersion = 1

// state is what the state file holds: no secret, no environment.
type state struct {
	Version   int      `json:"version"`
	Boot      string   `json:"boot"` // process numbers and start times mean something in this boot only
	Next      int      `json:"next"` // id of the next instance
	Restarts  int      `json:"restarts"`
	Instances []record `json:"instances"`
}

// record is one instance. With a PID of 0 and a token it is an intent: a process
// with that token may or may not have been started.
type record struct {
	ID         string    `json:"id"`
	Release    string    `json:"release"`
	PID        int       `json:"pid"`
	Ticks      uint64    `json:"start_ticks"`
	Token      string    `json:"token"`
	Port       int       `json:"port"`
	Log        string    `json:"log"`
	Started    time.Time `json:"started"`
	Restarts   int       `json:"restarts"`
	Generation int       `json:"generation"`
	Failures   int       `json:"failures"` // ends in a row without a stable time between them
	LastExit   string    `json:"last_exit,omitempty"`
	Born       bool      `json:"born"`     // its Start has returned: without it nobody knows of the instance
	Readied    bool      `json:"readied"`  // the process has been ready
	Fit        bool      `json:"fit"`      // and was when last looked at
	Stopping   bool      `json:"stopping"` // it is not to be started again

	// What an adopter needs before it is given a spec again.
	ReadyPath    string        `json:"ready_path"`
	StartTimeout time.Duration `json:"start_timeout"`
	StopTimeout  time.Duration `json:"stop_timeout"`
}

// lockState keeps a second supervisor from taking the instances for orphans.
func lockState(file string) (*os.File, error) {
	f, err := os.OpenFile(file+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the instances' state: %w", err)
	}
	// A child that a killed daemon had just forked holds the lock until its exec.
	for deadline := time.Now().Add(time.Second); ; time.Sleep(20 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			break
		}
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	return nil, fmt.Errorf("lock %s.lock: %w", file, err)
}

func loadState(file string) (state, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return state{Version: stateVersion, Next: 1}, nil
	}
	if err != nil {
		return state{}, fmt.Errorf("read the instances' state: %w", err)
	}
	var st state
	if err := json.Unmarshal(b, &st); err != nil {
		return state{}, fmt.Errorf("%s is damaged: move it away to start anew, which stops the instances that run: %w", file, err)
	}
	if st.Version != stateVersion {
		return state{}, fmt.Errorf("%s has version %d and this gate knows %d: run the gate that wrote it", file, st.Version, stateVersion)
	}
	return st, nil
}

// save writes what is true now. After an error the file is as it was.
func (s *Supervisor) save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	st := state{Version: stateVersion, Boot: s.boot, Next: s.next, Restarts: s.restarts, Instances: []record{}}
	for _, in := range s.instances {
		st.Instances = append(st.Instances, in.rec)
	}
	s.mu.Unlock()
	slices.SortFunc(st.Instances, func(a, b record) int { return number(a.ID) - number(b.ID) })
	b, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	err = s.opt.Reserve.Do(func() error { return durable.Replace(s.opt.StateFile, append(b, '\n'), 0o600) })
	if err != nil {
		return fmt.Errorf("write the instances' state: %w", err)
	}
	return nil
}

// saveOrWarn is for steps that must not wait for a disk: without the record, an
// instance is restarted rather than adopted at the next take-over.
func (s *Supervisor) saveOrWarn() {
	if err := s.save(); err != nil {
		s.opt.Log.Warn("change of an instance not recorded; going on", "err", err)
	}
}

// tokenMark is what all tokens of a state file begin with. It follows from the
// file's place, so that orphans are found even when the file is lost.
func tokenMark(file string) (string, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", fmt.Errorf("folder of the instances' state: %w", err)
	}
	sum := sha256.Sum256([]byte(filepath.Join(dir, filepath.Base(abs))))
	return hex.EncodeToString(sum[:16]) + ".", nil
}

// Token is a variable for what is no instance, and must end with the daemon as an
// instance ends that no record vouches for: by the next New.
func (s *Supervisor) Token() string { return TokenName + "=" + newToken(s.mark) }

func newToken(mark string) string { return mark + rand.Text() }
