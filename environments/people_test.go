package environments

import "testing"

func TestGitHubUser(t *testing.T) {
	trust := &Trust{People: []Person{{GitHub: "Dora", Emails: []string{"dora@example.org"}}, {GitHub: "carl"}}}
	dora, carl := trust.GitHubUser("dora"), trust.GitHubUser("carl")
	for _, email := range []string{"dora@example.org", "dora@users.noreply.github.com", "4711+Dora@users.noreply.github.com", " DORA@Users.NoReply.GitHub.com "} {
		if !dora.Has(email) || carl.Has(email) {
			t.Errorf("%q: dora's %v, carl's %v", email, dora.Has(email), carl.Has(email))
		}
	}
	for _, email := range []string{"x+dora@users.noreply.github.com", "4711+isadora@users.noreply.github.com", "dora@users.noreply.github.com.example.org", "dora@example.com", ""} {
		if dora.Has(email) {
			t.Errorf("%q is not dora's", email)
		}
	}
	if len(carl.Emails) > 0 {
		t.Errorf("nobody has declared %v", carl.Emails)
	}
	key := Approver{Name: "ed25519:1", Emails: []string{"7+Carl@users.noreply.github.com"}}
	if !carl.Same(key) || !key.Same(carl) || key.Same(dora) {
		t.Error("who declares GitHub's address for a login is who has that login")
	}
}
