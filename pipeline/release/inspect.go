package release

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

// ErrBinary: a build gave a binary that a release must not be made of.
var ErrBinary = errors.New("the binary is not what was asked for")

// inspect reads from the binary itself that it is static and was built with
// the pinned settings: what the go command was told is not taken on trust.
func inspect(binary []byte, toolchain, arch string) (*debug.BuildInfo, error) {
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]
	f, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return nil, fmt.Errorf("%w: no ELF file: %w", ErrBinary, err)
	}
	defer f.Close()
	if f.Machine != machine {
		return nil, fmt.Errorf("%w: it is for %s, not for %s", ErrBinary, f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return nil, fmt.Errorf("%w: it is not static (it has %s)", ErrBinary, p.Type)
		}
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return nil, fmt.Errorf("%w: no build information: %w", ErrBinary, err)
	}
	if info.GoVersion != toolchain {
		return nil, fmt.Errorf("%w: it was built with %s, not with %s", ErrBinary, info.GoVersion, toolchain)
	}
	want := map[string]string{"-trimpath": "true", "-buildmode": "exe", "-compiler": "gc", "CGO_ENABLED": "0", "GOOS": "linux", "GOARCH": arch}
	level, value, _ := strings.Cut(archLevel[arch], "=")
	want[level] = value
	for _, s := range info.Settings {
		if v, ok := want[s.Key]; ok && v == s.Value {
			delete(want, s.Key)
			continue
		}
		// These two come from files of the module: its go and godebug lines, its
		// default.pgo.
		if s.Key != "DefaultGODEBUG" && s.Key != "-pgo" {
			return nil, fmt.Errorf("%w: it was built with %s=%s", ErrBinary, s.Key, s.Value)
		}
	}
	for k, v := range want {
		return nil, fmt.Errorf("%w: it was built without %s=%s", ErrBinary, k, v)
	}
	return info, nil
}
