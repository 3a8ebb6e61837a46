#!/usr/bin/env bash
# Runs every function of the module for real, on a small clone, twice, and prints
# how long each took: cold is its first call here, warm the second, with another
# nonce. Without an engine it says so, and nothing is wrong.
#
#   GATE_DAGGER_BASE      root file system (folder) or OCI archive (file) instead of the module's image
#   GATE_DAGGER_VULNDB    folder with a copy of the Go vulnerability database
#   GATE_DAGGER_GOPROXY   where modules come from, instead of the public proxy
#   GATE_DAGGER_ONLY      try these alone, such as "build test"
#   GATE_DAGGER_PASSES    "cold" leaves out the second call
#   GATE_DAGGER_WORK      work in this folder, and keep it
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

version=
if command -v dagger >/dev/null; then version=$(timeout 20 dagger --silent core version 2>/dev/null || true); fi
if [ -z "$version" ]; then
  echo 'NO DAGGER ENGINE: pipeline/dagger was compiled, not run' >&2
  exit 0
fi
echo "engine $version, $(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg), $(date -u +%F)"

work=${GATE_DAGGER_WORK:-$(mktemp -d /tmp/gate-dagger.XXXXXX)}
chmod 711 "$work"
children=()
finish() {
  if [ -n "${place:-}" ]; then there down staging >/dev/null 2>&1 || true; fi
  for p in "${children[@]}"; do kill "$p" 2>/dev/null || true; done
  [ -n "${GATE_DAGGER_WORK:-}" ] || rm -rf "$work"
}
trap finish EXIT
rm -rf "${work:?}"/*
mkdir "$work/log"

failed=0
ok() { printf 'ok      %s\n' "$*"; }
fail() { printf 'FAILED  %s\n' "$*"; failed=1; }
is() { if [ "$2" = "$3" ]; then ok "$1: $2"; else fail "$1: $2, want $3"; fi; }
json() { python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"; }

# The clone: the same service under a moment of load, a change to it, and one
# whose tests fail.
head=$work/head
git clone -q "$root" "$head"
commit() { git -C "$head" add -A; git -C "$head" -c user.name=try -c user.email=try@localhost commit -qm "$1"; git -C "$head" rev-parse HEAD; }
sed -i 's/^  warmup: .*/  warmup: 2s/; s/^  closed: .*/  closed: 10s/; s/^  open: .*/  open: 10s/; s/^  step: .*/  step: 3s/; s/^  knee: .*/  knee: 9s/' "$head/environments/app.yaml"
base=$(commit 'Load for a moment')
printf '\nThe pipeline was tried.\n' >>"$head/README.md"
change=$(commit 'Say that it was tried')
printf 'package app\n\nimport "testing"\n\nfunc TestTried(t *testing.T) { t.Error("as it should") }\n' >"$head/app/tried_test.go"
broken=$(commit 'Break the tests')
git -C "$head" checkout -q --detach "$change"

call=(timeout 3600 dagger --progress=plain -m "$root" call --source="$head")
if [ -d "${GATE_DAGGER_BASE:-}" ]; then call+=(--rootfs="$GATE_DAGGER_BASE"); fi
if [ -f "${GATE_DAGGER_BASE:-}" ]; then call+=(--tarball="$GATE_DAGGER_BASE"); fi
if [ -n "${GATE_DAGGER_VULNDB:-}" ]; then call+=(--vulndb="$GATE_DAGGER_VULNDB"); fi
if [ -n "${GATE_DAGGER_GOPROXY:-}" ]; then call+=(--goproxy="$GATE_DAGGER_GOPROXY"); fi

export GATE_STATE=$work/state
(cd "$root" && CGO_ENABLED=0 go build -trimpath -o "$work/gate" ./pipeline/cmd/gate)
gate() { "$work/gate" -C "$head" "$@"; }
digest=$(gate build --commit "$change" --output json 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["release"])')
# Two programs that only this needs, with the repository's modules.
for p in registry hub; do
  printf '{"Replace": {"%s/pipeline/%s/main.go": "%s/pipeline/dagger/testdata/%s/main.go"}}' "$root" $p "$root" $p >"$work/overlay.json"
  (cd "$root" && go build -overlay "$work/overlay.json" -o "$work/$p-program" ./pipeline/$p)
done

# The place: another clone, whose ledger has a remote, and a daemon that serves
# staging from it. Containers reach the remote by this machine's address.
place=
there() {
  GATE_STATE=$work/place-state GATE_SIGNING_KEY=$(cat "$work/host.pem") GOVULNDB=${GATE_DAGGER_VULNDB:+file://$GATE_DAGGER_VULNDB} "$work/gate" -C "$place" "$@"
}
key() { openssl genpkey -algorithm ed25519 -out "$1" 2>/dev/null; openssl pkey -in "$1" -pubout -outform DER | tail -c 32 | od -An -tx1 | tr -d ' \n'; }
served() { curl -sk https://127.0.0.1:28443/version | python3 -c 'import json, sys; print(json.load(sys.stdin)["release"])'; }
release() { there build --commit "$1" --output json | python3 -c 'import json, sys; print(json.load(sys.stdin)["release"])'; }
another() {
  printf 'package app\n\nvar tried = "%s"\n\nfunc init() {\n\tif tried == "" {\n\t\tpanic("not tried")\n\t}\n}\n' "$1" >"$place/app/tried.go"
  git -C "$place" add -A
  git -C "$place" commit -qm "$1"
  git -C "$place" push -q origin HEAD:main
  git -C "$place" rev-parse HEAD
}
found() {
  [ -z "$place" ] || return 0
  local ip hub=$work/hub at=$work/place
  ip=$(hostname -I | cut -d' ' -f1)
  mkdir "$hub"
  ssh-keygen -q -t ed25519 -N '' -C try -f "$work/userkey"
  cp "$work/userkey.pub" "$hub/authorized_keys"
  ssh-agent -D -a "$work/agent" >/dev/null &
  children+=($!)
  export TRY_TOKEN=$RANDOM$RANDOM$RANDOM
  "$work/hub-program" "$ip" 15443 15022 "$hub" >"$work/log/hub" 2>&1 &
  children+=($!)
  git clone -q --no-checkout "$head" "$at"
  git -C "$at" checkout -q -B main "$base" --
  git -C "$at" config user.name try
  git -C "$at" config user.email try@localhost
  sed -i 's/127.0.0.1:8443/127.0.0.1:28443/' "$at/environments/staging.yaml"
  local host ci
  host=$(key "$work/host.pem") ci=$(key "$work/ci.pem")
  printf 'remote: %s\nprotected: main\nkeys:\n  - {id: "ed25519:%s", name: host, may: [measure, decide, promote, daemon]}\n  - {id: "ed25519:%s", name: CI, may: [promote]}\n' \
    "$hub/hub.git" "$host" "$ci" >"$at/environments/trust.yaml"
  git -C "$at" commit -qam 'Trust'
  git clone -q --bare "$at" "$hub/hub.git"
  git -C "$at" remote set-url origin "$hub/hub.git"
  place=$at
  first=$(another first) second=$(another second) third=$(another third)
  git -C "$place" fetch -q
  # Two ways there, from clones that declare one each.
  for far in "https https://$ip:15443/hub.git" "ssh ssh://git@$ip:15022/hub.git"; do
    git clone -q "$hub/hub.git" "$work/by-${far%% *}"
    sed -i "s|^remote: .*|remote: ${far##* }|" "$work/by-${far%% *}/environments/trust.yaml"
  done
  SSH_AUTH_SOCK=$work/agent ssh-add -q "$work/userkey"
  local c
  for c in "$first" "$second"; do
    there build --commit "$c" && there verify staging --commit "$c" --check tests,scan,leaks,config,runbooks || return 1
  done >"$work/log/place" 2>&1
  first_digest=$(release "$first") second_digest=$(release "$second")
  release "$third" >/dev/null
  GATE_STATE=$work/place-state GATE_SIGNING_KEY=$(cat "$work/host.pem") GOVULNDB=${GATE_DAGGER_VULNDB:+file://$GATE_DAGGER_VULNDB} \
    "$work/gate" -C "$place" serve staging --sync 1s >"$work/log/daemon" 2>&1 &
  children+=($!)
  for _ in $(seq 120); do ! there status staging --output json 2>/dev/null | grep -q '"actual"' || break; sleep 0.5; done
  there promote "$first" --to staging --reason first >>"$work/log/place" 2>&1
  by_https=(--token=env:TRY_TOKEN --server="https://$ip:15443" --authority="$hub/authority.pem")
  by_ssh=(--ssh="$work/agent" --known-hosts="$hub/known_hosts")
}
# far WAY NAME ARGS…: a call with the clone that goes this way.
far() {
  local way=$1 name=$2
  shift 2
  timed "$name" "${call[@]/--source=$head/--source=$work/by-$way}" "$@"
}

# of NAME ARGS…: one call; timed NAME COMMAND…: any. Its answer is in $answer, how long it took in the table.
declare -A took
names=()
wanted() { [ -z "${GATE_DAGGER_ONLY:-}" ] || [[ " $GATE_DAGGER_ONLY " == *" $1 "* ]]; }
of() {
  local name=$1
  shift
  timed "$name" "${call[@]}" "$@"
}
timed() {
  local name=$1 rc=0 from=$EPOCHREALTIME
  shift
  answer=$("$@" 2>"$work/log/$pass-$name") || rc=$?
  [[ " ${names[*]} " == *" $name "* ]] || names+=("$name")
  took[$pass,$name]=$(python3 -c "print('%.1f' % ($EPOCHREALTIME - $from))")
  [ $rc = 0 ] || tail -n 3 "$work/log/$pass-$name"
  return $rc
}

# One that measures leaves its evidence in $out/NAME.
measured() {
  local name=$1 check=$2
  shift 2
  wanted "$name" || return 0
  if ! of "$name" "$name" --commit "$change" --nonce "$nonce" "$@" directory export --path="$out/$name"; then fail "$name"; return; fi
  local file
  file=$(echo "$out/$name/evidence/$check"*.json)
  is "$name repeats the nonce" "$(json "$file" 'd["nonce"]')" "$nonce"
  is "$name" "$(json "$file" 'd["status"] + d.get("reason", "")')" completed
}

imported() { gate evidence import "$1" --commit "$change" --nonce "$2" --since "$since" >/dev/null 2>"$work/log/import"; }

pass() {
  pass=$1 out=$work/$1 nonce=try-$1-$RANDOM$RANDOM$RANDOM since=$(date -u +%FT%TZ)
  mkdir "$out"

  if wanted develop; then
    # Not in the clone that is measured: what Git writes there would make its second build another one.
    git -c advice.detachedHead=false clone -q "$head" "$out/developed"
    timed develop env -C "$out/developed" timeout 3600 dagger --progress=plain develop || fail 'dagger develop'
    is 'dagger develop leaves Git clean' "$(git -C "$out/developed" status --porcelain)" ''
  fi
  if wanted gate; then
    if of gate gate export --path="$out/gate" && "$out/gate" --help >/dev/null; then ok 'gate runs'; else fail gate; fi
  fi
  if wanted build; then
    of build build --commit "$change" digest || fail build
    is 'build has the digest that gate has on this machine' "$answer" "$digest"
    of build-layout build --commit "$change" layout export --path="$out/layout" || fail 'build layout'
    is 'the layout has it, too' "$(json "$out/layout/index.json" 'd["manifests"][0]["digest"]')" "$digest"
    of build-commit build --commit "$change" commit && is 'build commit' "$answer" "$change"
    of build-container build --commit "$change" container entrypoint && ok "the container runs" $answer || fail 'build container'
    of build-binary build --commit "$change" binary export --path="$out/binary" && "$out/binary" --help >/dev/null 2>&1 && ok 'the binary runs' || fail 'build binary'
  fi
  for f in lint policies; do
    wanted $f || continue
    of $f $f && ok "$f: $(tail -n 1 <<<"$answer")" || fail $f
  done
  if wanted checks; then
    # It takes no arguments: what stands in for them is a file that Git does not see.
    printf '%s\n' "${call[@]:6}" | sed -n 's/^--//p' >"$head/.env"
    timed checks env -C "$head" timeout 3600 dagger --progress=plain checks && ok 'dagger checks' || fail "dagger checks"
    rm "$head/.env"
  fi

  measured test tests
  measured scan scan
  measured leaks leaks
  measured config config
  measured runbooks runbooks
  local with=()
  for f in test scan leaks config runbooks; do [ ! -d "$out/$f" ] || with+=(--with="$out/$f"); done
  if [ ${#with[@]} = 5 ]; then
    measured load-test load "${with[@]}"
    measured update update "${with[@]}"
    measured rollback-drill rollback "${with[@]}"
    measured restart-drill restart "${with[@]}"
    measured scaling-drill scaling "${with[@]}"
    measured migrate-rehearsal migration "${with[@]}"
    measured restore-drill backup "${with[@]}"
    measured alert-drill alerting "${with[@]}"
    measured tls tls "${with[@]}"
    measured network network "${with[@]}"
    measured secrets secrets "${with[@]}"
    if wanted test; then
      if imported "$out/test" "$nonce"; then ok 'a ledger here takes the evidence'; else fail "import: $(cat "$work/log/import")"; fi
      if imported "$out/scan" "foreign-$nonce"; then fail 'evidence with a foreign nonce was taken'; else ok "refused: $(tail -n 1 "$work/log/import")"; fi
    fi
  fi
  if wanted alone; then
    of tls-alone tls --commit "$change" status && is 'tls, with what admits the commit measured first' "$answer" completed || fail tls-alone
  fi
  if wanted sync; then
    if of test-sync test --commit "$broken" sync; then fail 'tests that fail are no error'; else ok 'test sync fails where tests fail'; fi
  fi

  if wanted verify; then
    of verify verify --commit "$change" --nonce "$nonce" export --path="$out/verify" || fail verify
    is 'verify has all checks' "$(cd "$out/verify/evidence" && echo *)" 'alerting.staging.json backup.staging.json config.staging.json leaks.json load.staging.json migration.staging.json network.staging.json restart.staging.json rollback.staging.json runbooks.json scaling.staging.json scan.json secrets.staging.json tests.json tls.staging.json update.staging.json'
    is 'verify has measured all of it' "$(grep -L '"status": "completed"' "$out"/verify/evidence/*.json || true)" ''
    if imported "$out/verify" "$nonce"; then ok 'a ledger here takes all of it'; else fail "import: $(cat "$work/log/import")"; fi
    of decide decide --evidence="$out/verify" --commit "$change" --nonce "$nonce" --since "$since" verdict && ok "decide: $answer" || fail decide
    local again=(decide --evidence="$out/verify" --commit "$change" --since "$since" --nonce)
    if of decide-foreign "${again[@]}" "foreign-$nonce" verdict; then fail 'decide takes a foreign nonce'; else ok 'decide refuses a foreign nonce'; fi
    of report report --evidence="$out/verify" --commit "$change" --nonce "$nonce" --since "$since" export --path="$out/report" || fail report
    for f in report.html report.md report.sarif junit.xml report.json; do [ -s "$out/report/$f" ] || fail "report has no $f"; done
  fi

  if wanted run; then
    of run run --commit "$change" --nonce "$nonce-run" export --path="$out/run" || fail run
    ok "run: exit $(cat "$out/run/exit"), $(json "$out/run/decision.json" 'd["verdict"]')"
    if imported "$out/run" "$nonce-run"; then ok 'a ledger here takes what run measured'; else fail "import: $(cat "$work/log/import")"; fi
    of run-base run --commit "$change" --base "$base" --nonce "$nonce-base" export --path="$out/run-base" || fail 'run --base'
    is 'run --base judges by the base' "$(json "$out/run-base/claim.json" 'd["base"]')" "$base"
    ok "run --base: exit $(cat "$out/run-base/exit"), $(json "$out/run-base/decision.json" 'd["verdict"]')"
    of run-broken run --commit "$broken" --nonce "$nonce-broken" export --path="$out/run-broken" || fail 'run of a broken commit gave no folder'
    is 'run of a broken commit' "$(cat "$out/run-broken/exit")" 3
  fi

  if wanted publish; then
    export TRY_PASSWORD=$RANDOM$RANDOM
    "$work/registry-program" 127.0.0.1:15000 >"$work/log/$pass-registry" 2>&1 &
    local registry=$! to=(publish --registry=registry.localhost:15000/try/app --local=tcp://127.0.0.1:15000 --commit "$change" --username=try)
    children+=("$registry")
    of publish "${to[@]}" --password=env:TRY_PASSWORD && is publish "$answer" "registry.localhost:15000/try/app@$digest" || fail publish
    is 'the registry has it' "$(curl -su "try:$TRY_PASSWORD" "http://127.0.0.1:15000/v2/try/app/manifests/$digest" | sha256sum | cut -d' ' -f1)" "${digest#sha256:}"
    if TRY_PASSWORD=wrong of publish-wrong "${to[@]}" --password=env:TRY_PASSWORD; then fail 'publish with a wrong password'; else ok 'publish fails with a wrong password'; fi
    kill "$registry"
  fi

  if wanted remote; then
    if found; then
      local request=(--key="file:$work/ci.pem" --reason=tried)
      is 'the place serves' "$(served)" "$first_digest"
      far https promote promote --release="$second" "${request[@]}" "${by_https[@]}" && ok "promote: $answer" || fail promote
      is 'promote got it there' "$(served)" "$second_digest"
      far ssh rollback rollback "${request[@]}" "${by_ssh[@]}" && ok "rollback: $answer" || fail rollback
      is 'rollback went back' "$(served)" "$first_digest"
      far ssh promote-later promote --release="$second" --timeout=0s "${request[@]}" "${by_ssh[@]}" && ok "promote --timeout=0s: $answer" || fail 'promote --timeout=0s'
      for _ in $(seq 120); do [ "$(served)" != "$second_digest" ] || break; sleep 0.5; done
      is 'the place went on with it' "$(served)" "$second_digest"
      far https status status "${by_https[@]}" || fail status
      is 'status: the remote desires' "$(json <(echo "$answer") '[e["desired"] for e in d if e["name"] == "staging"][0]')" "$second_digest"
      local socket
      socket=/tmp/gate-$(id -u)/$(printf %s "$work/place-state/env/staging" | sha256sum | cut -c1-12).sock
      far https status-admin status --admin="$socket" "${by_https[@]}" || fail 'status --admin'
      is 'status: the daemon serves' "$(json <(echo "$answer") 'd[0]["actual"]["stable"]')" "$second_digest"
      if far https status-no-admin --environment=production status --admin="$socket.none" "${by_https[@]}"; then fail 'status by a socket where nobody is'; else ok 'status fails by a socket where nobody is'; fi
      if far https promote-refused promote --release="$third" "${request[@]}" "${by_https[@]}"; then fail 'promote of what was not measured'; else ok "promote of what was not measured is refused"; fi
      is 'and nothing came of it' "$(served)" "$second_digest"
      if TRY_TOKEN=wrong far https status-wrong status "${by_https[@]}"; then fail 'status with a wrong token'; else ok 'status fails with a wrong token'; fi
      far https rollback-again rollback "${request[@]}" "${by_https[@]}" && is 'back again' "$(served)" "$first_digest" || fail 'rollback again'
    else
      fail "the place to promote to: $(tail -n 2 "$work/log/place")"
    fi
  fi

  if wanted postgres; then
    export TRY_PASSWORD=$RANDOM$RANDOM
    service postgres 15432:5432 postgres --password=env:TRY_PASSWORD
    if serves; then
      if command -v psql >/dev/null; then
        is postgres "$(PGPASSWORD=$TRY_PASSWORD psql -h 127.0.0.1 -p 15432 -U postgres -Atc 'select 6*7')" 42
      else ok 'postgres listens (there is no psql here to ask it)'; fi
    else fail postgres; fi
    end
  fi
  if wanted staging; then
    service staging 18443:8443 staging --commit "$change"
    if serves; then
      is 'staging serves the release' "$(curl -sk https://127.0.0.1:18443/version | python3 -c 'import json, sys; print(json.load(sys.stdin)["release"])')" "$digest"
    else fail staging; fi
    end
  fi
}

# service NAME PORTS ARGS…: a call that serves until it is ended.
service() {
  local name=$1 ports=$2
  shift 2
  serving=$name from=$EPOCHREALTIME port=${ports%%:*}
  # A shell's child in the background ignores SIGINT, by which the call ends.
  python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); os.execvp(sys.argv[1], sys.argv[1:])' \
    "${call[@]:2}" "$@" up --ports "$ports" >"$work/log/$pass-$name" 2>&1 &
  child=$!
  children+=("$child")
}
serves() {
  for _ in $(seq 3600); do
    kill -0 "$child" 2>/dev/null || { tail -n 3 "$work/log/$pass-$serving"; return 1; }
    if grep -q 'tunnel started' "$work/log/$pass-$serving"; then
      [[ " ${names[*]} " == *" $serving "* ]] || names+=("$serving")
      took[$pass,$serving]=$(python3 -c "print('%.1f' % ($EPOCHREALTIME - $from))")
      return 0
    fi
    sleep 0.5
  done
  return 1
}
end() {
  kill -INT "$child" 2>/dev/null || true
  wait "$child" 2>/dev/null || true
}

for p in ${GATE_DAGGER_PASSES:-cold warm}; do
  echo "== $p"
  pass "$p"
done

printf '\n%-18s %9s %9s\n' seconds cold warm
for n in "${names[@]}"; do printf '%-18s %9s %9s\n' "$n" "${took[cold,$n]:--}" "${took[warm,$n]:--}"; done
exit $failed
