package runner

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// pusher is who a token belongs to.
type pusher struct {
	login    string
	workflow bool // a workflow's own token: what it pushes starts nothing
	contents string
}

// token makes the token of a job, with exactly the job's permissions.
func (r *Runner) token(j *Job, run *Run) string {
	t := r.o.GitHub.ActionsToken(copied(j.Permissions))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pushers[t] = pusher{login: "github-actions[bot]", workflow: true, contents: j.Permissions["contents"]}
	return t
}

func (r *Runner) expire(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pushers, token)
}

// Credentials are variables by which git pushes as that person, or machine user,
// who may write.
func (r *Runner) Credentials(login string) []string {
	r.t.Helper()
	t := r.o.GitHub.UserToken(login)
	r.mu.Lock()
	r.pushers[t] = pusher{login: login, contents: "write"}
	r.mu.Unlock()
	file := r.folder("askpass-" + strings.NewReplacer("[", "", "]", "", "/", "").Replace(login))
	script := fmt.Sprintf("#!/bin/sh\ncase \"$1\" in\n\"Username for '%s':\"*) echo x-access-token ;;\n\"Password for '%s':\"*) echo %s ;;\n*) exit 1 ;;\nesac\n", server, withUser(), t)
	if err := os.WriteFile(file, []byte(script), 0o700); err != nil { // #nosec G306 -- a program
		r.t.Fatal(err)
	}
	return []string{"GIT_ASKPASS=" + file}
}

func withUser() string { return strings.Replace(server, "://", "://x-access-token@", 1) }

// hooks answer a push as GitHub does. The repository is reached by its path,
// where nobody asks who pushes; so its hooks ask, in the words of git for GitHub's
// address, and take what the runner says.
type hooks struct {
	listener net.Listener
	done     sync.WaitGroup
}

// hook runs before and after a push. What only it can see, it says: whether a
// branch goes forward, and the workflow files that come.
const hook = `#!/bin/bash
set -euo pipefail
refuse() { echo "$1" >&2; exit 1; }
[ -n "${GIT_ASKPASS:-}" ] || refuse "could not read Username for '%[1]s': nobody says who pushes"
user=$("$GIT_ASKPASS" "Username for '%[1]s': ") && token=$("$GIT_ASKPASS" "Password for '%[2]s': ") || refuse "Authentication failed for '%[1]s'"
exec 3<>/dev/tcp/127.0.0.1/%[3]d
echo "${0##*/} $user $token" >&3
while read -r old new ref; do
	kind=forward
	if [ -z "${new//0/}" ]; then kind=deletion
	elif [ -n "${old//0/}" ]; then git merge-base --is-ancestor "$old" "$new" || kind=force
	fi
	echo "ref $old $new $kind $ref" >&3
	if [ "${0##*/}" = pre-receive ] && [ $kind != deletion ]; then
		git rev-list "$new" --not --all | while read -r commit; do
			git diff-tree -r -m --root --no-commit-id --diff-filter=d "$commit" -- .github/workflows | while read -r _ _ _ blob _ path; do
				echo "file $blob $path" >&3
			done
		done
	fi
done
echo end >&3
read -r answer <&3
[ "$answer" = ok ] || refuse "remote: $answer"
`

func (r *Runner) listen() (*hooks, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(hook, server, withUser(), l.Addr().(*net.TCPAddr).Port)
	for _, name := range []string{"pre-receive", "post-receive"} {
		file := filepath.Join(r.o.Git, "hooks", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o755)); err != nil { // #nosec G301 G306 -- programs
			return nil, errors.Join(err, l.Close())
		}
	}
	// GitHub gives any commit that it has.
	for _, kv := range [][2]string{{"uploadpack.allowAnySHA1InWant", "true"}, {"receive.advertisePushOptions", "false"}} {
		if _, err := r.bare.output("config", kv[0], kv[1]); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	h := &hooks{listener: l}
	h.done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			h.done.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				answer := "ok"
				if err := r.push(conn); err != nil {
					answer = err.Error()
				}
				fmt.Fprintln(conn, answer)
			})
		}
	})
	return h, nil
}

func (h *hooks) close() {
	h.listener.Close()
	h.done.Wait()
}

// update is one ref of a push.
type update struct{ old, new, kind, ref string }

// push hears of one, before or after.
func (r *Runner) push(conn net.Conn) error {
	var phase, user, token string
	var updates []update
	var files [][2]string
	for in := bufio.NewScanner(conn); in.Scan(); {
		f := strings.SplitN(in.Text(), " ", 5)
		switch {
		case f[0] == "end":
			r.mu.Lock()
			by, known := r.pushers[token]
			r.mu.Unlock()
			if !known || user != "x-access-token" {
				return errors.New("Invalid username or token. Authentication failed") //nolint:staticcheck // GitHub's own words
			}
			if phase == "pre-receive" {
				return r.mayPush(by, updates, files)
			}
			for _, u := range updates {
				r.pushed(u.ref, u.old, u.new, by)
			}
			return nil
		case len(f) == 5 && f[0] == "ref":
			updates = append(updates, update{f[1], f[2], f[3], f[4]})
		case len(f) >= 3 && f[0] == "file":
			files = append(files, [2]string{f[1], strings.Join(f[2:], " ")})
		case len(f) == 3:
			phase, user, token = f[0], f[1], f[2]
		default:
			return fmt.Errorf("odd line %q", in.Text())
		}
	}
	return errors.New("the push broke off")
}

// mayPush says what GitHub would say.
func (r *Runner) mayPush(by pusher, updates []update, files [][2]string) error {
	if by.contents != "write" {
		return fmt.Errorf("Permission to %s.git denied to %s", r.o.Repository, by.login) //nolint:staticcheck // GitHub's own words
	}
	for _, u := range updates {
		branch, isBranch := strings.CutPrefix(u.ref, "refs/heads/")
		if !isBranch {
			continue
		}
		var rules []struct {
			Type string `json:"type"`
		}
		if err := r.ask("/rules/branches/"+url.PathEscape(branch), &rules); err != nil {
			return err
		}
		for _, rule := range rules {
			broken := map[string]bool{
				"non_fast_forward": u.kind == "force", "deletion": u.kind == "deletion", "pull_request": u.kind != "deletion", "required_status_checks": false, "merge_queue": false,
			}
			no, known := broken[rule.Type]
			if !known {
				return fmt.Errorf("this runner does not know the rule %s", rule.Type)
			}
			if no && !slices.Contains(r.o.Bypass, by.login) {
				return fmt.Errorf("GH013: Repository rule violations found for %s: %s", u.ref, rule.Type)
			}
		}
	}
	if !by.workflow {
		return nil
	}
	// A workflow's token has no right to change workflows.
	for _, f := range files {
		out, err := r.bare.output("for-each-ref", "--format=%(refname)", "refs/heads/")
		if err != nil {
			return err
		}
		same := slices.ContainsFunc(strings.Fields(string(out)), func(ref string) bool {
			blob, err := r.bare.line("rev-parse", "--verify", "--quiet", ref+":"+f[1])
			return err == nil && blob == f[0]
		})
		if !same {
			return fmt.Errorf("refusing to allow a GitHub App to create or update workflow `%s` without `workflows` permission", f[1])
		}
	}
	return nil
}
