package backup

import (
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/smartcloudops/gate/checks"
)

// newStore is an object store in this process, and who may use it.
func newStore(t *testing.T) (*s3mem.Backend, *Remote) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("backups"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(srv.Close)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return backend, &Remote{Bucket: "backups", Prefix: "shop/staging", Endpoint: srv.URL, AccessKey: "someone", SecretKey: "whatever", Identity: id.String()}
}

func objects(t *testing.T, b *s3mem.Backend) map[string][]byte {
	t.Helper()
	list, err := b.ListBucket("backups", nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, o := range list.Contents {
		got, err := b.GetObject("backups", o.Key, nil)
		if err != nil {
			t.Fatal(err)
		}
		out[o.Key], err = io.ReadAll(got.Contents)
		if err != nil {
			t.Fatal(err)
		}
		got.Contents.Close()
	}
	return out
}

func put(t *testing.T, b *s3mem.Backend, name string, body []byte) {
	t.Helper()
	if _, err := b.PutObject("backups", name, map[string]string{}, bytes.NewReader(body), int64(len(body)), nil); err != nil {
		t.Fatal(err)
	}
}

func TestCopiesInAnObjectStore(t *testing.T) {
	t.Parallel()
	backend, remote := newStore(t)
	w := newWorld(t, func(o *Options) { o.Remote = remote })
	w.exec(shop)
	w.based(1)
	p := (&driller{w: w}).measure(t)
	if len(p.Faults) > 0 || len(p.Remote) != 1 || !p.Remote[0].Restored || !p.Remote[0].Equal || p.Remote[0].Objects < 3 {
		t.Fatalf("%+v", p)
	}
	all := objects(t, backend)
	var names []string
	for name, body := range all {
		names = append(names, name)
		if !strings.HasPrefix(name, "shop/staging/") || !bytes.HasPrefix(body, []byte("age-encryption.org/v1")) || bytes.Contains(body, []byte("thing 4")) {
			t.Errorf("%s is not sealed", name)
		}
	}
	slices.Sort(names)

	// The disk of the backups is gone: what the store has is enough.
	w.close()
	w.open(func(o *Options) {
		o.Dir += "-new"
		o.Remote = remote
	})
	w.based(1)
	c := w.restore(checks.BackupPoint{Remote: true})
	if n := count(t, c.OwnerURL(), "orders"); n != 500 {
		t.Errorf("%d orders", n)
	}
	w.discard(c)
	for name := range all {
		if _, there := objects(t, backend)[name]; !there {
			t.Errorf("%s was removed", name)
		}
	}

	fails := func(t *testing.T, kind, says string) {
		t.Helper()
		c, err := w.k.Restore(t.Context(), checks.BackupPoint{Remote: true, Verify: true})
		if err == nil {
			w.discard(c)
		}
		var fault *checks.BackupFault
		if !errors.As(err, &fault) || fault.Kind != kind || !strings.Contains(fault.What, says) {
			t.Errorf("got %v, want %s with %q", err, kind, says)
		}
	}
	newest := func(suffix, below string) string {
		found := ""
		for name := range objects(t, backend) {
			if strings.HasSuffix(name, suffix) && strings.Contains(name, below) && path.Base(name) > path.Base(found) {
				found = name
			}
		}
		return found
	}
	t.Run("a missing object is put back", func(t *testing.T) {
		tar := newest(tarSuffix, "/base/")
		remove(t, backend, tar)
		w.until("it is there again", func() bool {
			_, there := objects(t, backend)[tar]
			return there
		})
	})

	t.Run("what is too old goes", func(t *testing.T) {
		if err := w.k.Base(t.Context()); err != nil { // the third, of the two that are kept
			t.Fatal(err)
		}
		w.until("nothing is left of the first", func() bool {
			now, err := backend.ListBucket("backups", nil, gofakes3.ListBucketPage{})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range now.Contents {
				if _, old := all[o.Key]; old {
					return false
				}
			}
			return len(now.Contents) >= 5 // two base backups, each of two objects, and a segment
		})
	})

	// From here on nobody puts back what is missing: the server is gone.
	w.end()
	if err := w.db.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	whole, own := objects(t, backend), remote.Identity
	base := newest(tarSuffix, "/base/")
	generation, _, _ := strings.Cut(base, "/base/")
	first := strings.TrimPrefix(path.Ext(strings.TrimSuffix(base, tarSuffix)), ".")
	flipped := func(t *testing.T, name string) {
		t.Helper()
		spoilt := slices.Clone(whole[name])
		spoilt[len(spoilt)/2] ^= 1
		put(t, backend, name, spoilt)
	}
	for _, c := range []struct {
		name        string
		plant       func(t *testing.T)
		fault, says string
	}{
		{"another key", func(t *testing.T) {
			other, err := age.GenerateX25519Identity()
			if err != nil {
				t.Fatal(err)
			}
			remote.Identity = other.String()
		}, checks.FaultKey, "sealed for another key"},
		{"one bit of the base backup", func(t *testing.T) { flipped(t, base) }, checks.FaultCorrupt, "can't be unpacked"},
		{"half of the base backup", func(t *testing.T) { put(t, backend, base, whole[base][:len(whole[base])/2]) }, checks.FaultCorrupt, "can't be unpacked"},
		{"half of a segment", func(t *testing.T) {
			name := generation + "/wal/" + first + walSuffix
			put(t, backend, name, whole[name][:len(whole[name])/2])
		}, checks.FaultCorrupt, "can't be opened"},
		{"one bit of a segment", func(t *testing.T) { flipped(t, generation+"/wal/"+first+walSuffix) }, checks.FaultCorrupt, "can't be opened"},
		{"one bit of what is known of the base backup", func(t *testing.T) { flipped(t, newest(metaSuffix, "/base/")) }, checks.FaultCorrupt, ""},
		{"a missing segment", func(t *testing.T) { remove(t, backend, generation+"/wal/"+first+walSuffix) }, checks.FaultMissing, first},
		{"no base backup", func(t *testing.T) {
			for name := range whole {
				if strings.HasSuffix(name, tarSuffix) {
					remove(t, backend, name)
				}
			}
		}, checks.FaultNone, "no base backup"},
		{"nothing known of any base backup", func(t *testing.T) {
			for name := range whole {
				if strings.HasSuffix(name, metaSuffix) {
					remove(t, backend, name)
				}
			}
		}, checks.FaultNone, "no base backup"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.plant(t)
			fails(t, c.fault, c.says)
			remote.Identity = own
			for name, body := range whole {
				put(t, backend, name, body)
			}
		})
	}
	c = w.restore(checks.BackupPoint{Remote: true, Verify: true})
	if n := count(t, c.OwnerURL(), "orders"); n != 500 {
		t.Errorf("%d orders once all is whole again", n)
	}
	w.discard(c)
}

func remove(t *testing.T, b *s3mem.Backend, name string) {
	t.Helper()
	if _, err := b.DeleteObject("backups", name); err != nil {
		t.Fatal(err)
	}
}

func TestAStoreThatCanNotBeUsedIsAProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.Remote = &Remote{Bucket: "backups", Broken: "the environment variable KEY is not set"}
	})
	w.until("it is said", func() bool { return strings.Contains(w.k.Facts().Problem, "KEY is not set") })
	if s := (&Remote{Bucket: "b", SecretKey: "hush", Identity: "hush"}).GoString(); strings.Contains(s, "hush") {
		t.Errorf("says %s", s)
	}
}
