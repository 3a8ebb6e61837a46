package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/smartcloudops/gate/pipeline/dagger/internal/dagger"
)

// serve makes a cluster of the newest PostgreSQL of the image and serves it. What
// is in it is gone with the container, so nothing waits for a disk.
const serve = `set -eu
bin=$(ls -d /usr/lib/postgresql/*/bin /usr/local/bin 2>/dev/null | sort -V -r | while read -r d; do [ -x "$d/initdb" ] && echo "$d" && break; done)
[ -n "$bin" ] || { echo "this image has no PostgreSQL: give another as --database" >&2; exit 1; }
id postgres >/dev/null
at=$(mktemp -d); chown postgres: "$at"
as() { setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; }
printf %s "$POSTGRES_PASSWORD" >"$at/password"; unset POSTGRES_PASSWORD; chown postgres: "$at/password"; chmod 400 "$at/password"
as "$bin/initdb" -D "$at/data" -U postgres --pwfile="$at/password" --auth=scram-sha-256 --encoding=UTF8 --locale=C >/dev/null
rm -f "$at/password"
echo 'host all all all scram-sha-256' >>"$at/data/pg_hba.conf"
exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$bin/postgres" -D "$at/data" -k "$at" \
  -c listen_addresses='*' -c max_connections=300 -c fsync=off -c full_page_writes=off
`

// server is a service of its own for each use: two with the same command and
// variables would be one.
func (m *Gate) server(password *dagger.Secret, use string) *dagger.Service {
	return m.Database.
		WithUser("0:0").
		WithSecretVariable("POSTGRES_PASSWORD", password).
		WithEnvVariable("GATE_USE", use).
		WithExposedPort(5432).
		AsService(dagger.ContainerAsServiceOpts{Args: []string{"sh", "-c", serve}})
}

// beside copies PostgreSQL, as Debian lays it out, with those of its libraries
// that are missing. Where it can't, gate itself says what it lacks.
const beside = `set -eu
there() { ls "$1"/usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }
if there "" || ! there /work/database; then exit 0; fi
cd /work/database
needed=$(chroot . sh -c 'ldd /usr/lib/postgresql/*/bin/* /usr/lib/postgresql/*/lib/*.so 2>/dev/null || true' | awk '$2 == "=>" && $3 ~ "^/" { print "." $3 }' | sort -u)
for f in usr/share/zoneinfo $needed; do
  if [ -e "$f" ] && [ ! -e "/$f" ]; then cp -rL --parents "$f" /; fi
done
cp -a --parents usr/lib/postgresql usr/share/postgresql /
ldconfig
`

// withPostgres is the machine with PostgreSQL beside gate, which runs one of its
// own: what serves behind an address it could neither kill, back up nor copy.
func (m *Gate) withPostgres() *dagger.Container {
	const at = "/work/database"
	return m.machine().
		WithMountedDirectory(at, m.Database.Rootfs()).
		WithExec([]string{"sh", "-c", beside}).
		WithoutMount(at)
}

// secretText is a password that nobody has seen.
func secretText() string { return strings.ToLower(rand.Text()) }

// secret keeps a text out of logs, layers and argument lists.
func secret(what, text string) *dagger.Secret {
	// A secret is known by its name: two must not share one.
	sum := sha256.Sum256([]byte(text))
	return dag.SetSecret("gate-"+what+"-"+hex.EncodeToString(sum[:8]), text)
}
