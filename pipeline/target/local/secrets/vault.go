package secrets

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/smartcloudops/gate/environments"
)

// Vault holds the last known values of secrets, so that an instance comes back
// while a source is away. It is in memory alone.
type Vault struct {
	makers Makers
	now    func() time.Time

	mu      sync.Mutex
	held    map[string]*held // by digest of the declaration
	changed map[string]bool  // names of secrets with another value than before
}

type held struct {
	reading sync.Mutex // one read at a time; taken before mu

	mu    sync.Mutex // never held while a source is asked
	value Value
	known bool
	err   error // of the last read
	read  time.Time
}

func (h *held) last() (v Value, known bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.value, h.known, h.err
}

// NewVault holds nothing yet.
func NewVault(m Makers, now func() time.Time) *Vault {
	return &Vault{makers: m, now: now, held: map[string]*held{}, changed: map[string]bool{}}
}

func (v *Vault) of(s environments.Secret) *held {
	v.mu.Lock()
	defer v.mu.Unlock()
	id := environments.Digest(s)
	if v.held[id] == nil {
		v.held[id] = &held{}
	}
	return v.held[id]
}

// Value is the secret's last known value; it is read where there is none.
func (v *Vault) Value(ctx context.Context, name string, s environments.Secret) (Value, error) {
	h := v.of(s)
	if value, known, _ := h.last(); known {
		return value, nil
	}
	h.reading.Lock()
	defer h.reading.Unlock()
	value, known, err := h.last()
	if !known {
		v.read(ctx, h, name, s)
		value, known, err = h.last()
	}
	if !known {
		return Value{}, fmt.Errorf("secret %s: %w", name, err)
	}
	return value, nil
}

// Read reads the secret anew. After an error the value before goes on to be
// handed out by Value.
func (v *Vault) Read(ctx context.Context, name string, s environments.Secret) (Value, error) {
	h := v.of(s)
	h.reading.Lock()
	defer h.reading.Unlock()
	v.read(ctx, h, name, s)
	value, _, err := h.last()
	if err != nil {
		return Value{}, fmt.Errorf("secret %s: %w", name, err)
	}
	return value, nil
}

// read asks the source. The caller holds h.reading.
func (v *Vault) read(ctx context.Context, h *held, name string, s environments.Secret) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.Timeout, environments.DefaultSecretTimeout).D())
	defer cancel()
	source, err := v.makers.For(s)
	var value Value
	if err == nil {
		value, err = source.Read(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.read = v.now()
	if h.err = err; err != nil {
		return
	}
	if h.known && h.value.text != value.text {
		v.mu.Lock()
		v.changed[name] = true
		v.mu.Unlock()
	}
	h.value, h.known = value, true
}

// Changed are the names of the secrets that have got another value since it was
// last asked.
func (v *Vault) Changed() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	names := slices.Sorted(maps.Keys(v.changed))
	clear(v.changed)
	return names
}

// Refresh reads anew those that are due, all of them when asked to, and returns
// what went wrong, in order of name.
func (v *Vault) Refresh(ctx context.Context, declared map[string]environments.Secret, all bool) []error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		s := declared[name]
		h := v.of(s)
		h.mu.Lock()
		due := all || v.now().Sub(h.read) >= cmp.Or(s.Every, environments.DefaultEvery).D()
		h.mu.Unlock()
		if due {
			_, err := v.Read(ctx, name, s)
			if err != nil {
				errs = append(errs, err)
			}
		} else if _, _, err := h.last(); err != nil {
			errs = append(errs, fmt.Errorf("secret %s: %w", name, err))
		}
	}
	return errs
}
