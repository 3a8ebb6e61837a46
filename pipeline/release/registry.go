package release

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// ErrRegistry: a registry did not do what was asked of it.
var ErrRegistry = errors.New("registry")

// Registry is a repository of an OCI registry that holds releases by digest.
// Without a user the machine's own Docker credentials are used, if any.
type Registry struct {
	Repository string // host/path, as registry.example.com/team/app
	User       string
	Password   string
}

// Push copies the release from the store to the registry, byte by byte, so that
// the digest stays, and sees that it is there. tag, which may be empty, is moved
// to it for people. It may be there already.
//
// Errors: ErrNoRelease, ErrCorrupt, ErrRegistry.
func (r Registry) Push(ctx context.Context, s *Store, digest, tag string) error {
	if tag != "" && !tagName.MatchString(tag) {
		return fmt.Errorf("%.100q is not a tag: letters, digits, _ . and -, as v1.2", tag)
	}
	img, err := s.Get(digest)
	if err != nil {
		return err
	}
	ref, err := r.reference(digest)
	if err != nil {
		return err
	}
	if err := remote.Write(ref, img, r.options(ctx)...); err != nil {
		return r.failed("push "+digest, err)
	}
	there, err := remote.Head(ref, r.options(ctx)...)
	if err != nil {
		return r.failed("see what was pushed", err)
	}
	if there.Digest.String() != digest {
		return fmt.Errorf("%w %s: release %s is %s there", ErrRegistry, r.Repository, digest, there.Digest)
	}
	if tag == "" {
		return nil
	}
	if err := remote.Tag(ref.Context().Tag(tag), img, r.options(ctx)...); err != nil {
		return r.failed("tag "+tag, err)
	}
	return nil
}

// Pull copies the release from the registry into the store. Everything is
// checked against its digest.
//
// Errors: ErrNotImage, ErrRegistry.
func (r Registry) Pull(ctx context.Context, s *Store, digest string) error {
	ref, err := r.reference(digest)
	if err != nil {
		return err
	}
	img, err := remote.Image(ref, r.options(ctx)...)
	if err != nil {
		return r.failed("pull "+digest, err)
	}
	// A list of images has the digest that was asked for, and the image that is
	// taken out of it another one: that must not get into the store.
	if got, err := img.Digest(); err != nil {
		return r.failed("pull "+digest, err)
	} else if got.String() != digest {
		return fmt.Errorf("%w %s: asked for release %s, and got %s", ErrRegistry, r.Repository, digest, got)
	}
	if _, err := s.Put(ctx, img); err != nil {
		return fmt.Errorf("%w %s: %w", ErrRegistry, r.Repository, err)
	}
	return nil
}

// The library is more lenient: it takes a scheme for a host, and a tag for
// something that may be passed over.
var (
	repositoryName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$`)
	tagName        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	errorCode      = regexp.MustCompile(`^[A-Z][A-Z_]{2,39}$`)
)

func (r Registry) reference(digest string) (name.Digest, error) {
	if h, err := v1.NewHash(digest); err != nil || plain(h) != nil {
		return name.Digest{}, fmt.Errorf("%q is not the digest of a release (sha256:…)", digest)
	}
	ref, err := name.NewDigest(r.Repository+"@"+digest, name.StrictValidation)
	if err != nil || !repositoryName.MatchString(r.Repository) {
		// What stands before an @ may be a password.
		shown := r.Repository[strings.LastIndex(r.Repository, "@")+1:]
		return ref, fmt.Errorf("registry %.100q: write host/path without scheme, user, tag or digest, as registry.example.com/team/app", shown)
	}
	return ref, nil
}

func (r Registry) options(ctx context.Context) []remote.Option {
	o := []remote.Option{remote.WithContext(ctx)}
	if r.User == "" && r.Password == "" {
		return append(o, remote.WithAuthFromKeychain(authn.DefaultKeychain))
	}
	return append(o, remote.WithAuth(&authn.Basic{Username: r.User, Password: r.Password}))
}

// failed says what to do where the registry's answer tells. Of the answer only
// its status and codes are repeated: the rest may be long, and hold anything,
// the credentials that it was sent among them.
func (r Registry) failed(what string, err error) error {
	if errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("%w %s: %s: %w", ErrRegistry, r.Repository, what, err)
	}
	next := "see that it is reachable"
	if t, ok := errors.AsType[*transport.Error](err); ok {
		switch t.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			next = "give credentials that may do this: GATE_REGISTRY_USER and GATE_REGISTRY_PASSWORD, or docker login"
		case http.StatusNotFound:
			next = "see that it is there: gate publish pushes it"
		}
		answer := fmt.Sprintf("it answers %d %s", t.StatusCode, http.StatusText(t.StatusCode))
		for _, d := range t.Errors[:min(len(t.Errors), 5)] {
			if code := string(d.Code); errorCode.MatchString(code) && code != r.Password {
				answer += " " + code
			}
		}
		err = errors.New(answer)
	}
	return fmt.Errorf("%w %s: %s: %w: %s", ErrRegistry, r.Repository, what, err, next)
}

// Layout writes the release to dir as an OCI image layout of its own, with the
// same digest. dir must be empty or absent.
//
// Errors: ErrNoRelease, ErrCorrupt.
func (s *Store) Layout(digest, dir string) error {
	img, err := s.Get(digest)
	if err != nil {
		return err
	}
	if names, err := os.ReadDir(dir); err == nil && len(names) > 0 {
		return fmt.Errorf("write layout to %s: the folder is not empty", dir)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	l, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = l.AppendImage(img)
	}
	if err != nil {
		return fmt.Errorf("write layout to %s: %w", dir, err)
	}
	return nil
}
