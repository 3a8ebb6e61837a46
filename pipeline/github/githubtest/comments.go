package githubtest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"
)

type comment struct {
	id          int64
	number      int
	login, body string
	at, updated time.Time
	reactions   map[string]bool // who + content
}

const maxComment = 65536

func (s *Server) comment(id int64) *comment {
	for _, c := range s.state.comments {
		if c.id == id {
			return c
		}
	}
	return nil
}

func (m *comment) wire() map[string]any {
	updated := m.updated
	if updated.IsZero() {
		updated = m.at
	}
	return map[string]any{
		"id": m.id, "body": m.body, "user": account(m.login), "created_at": stamp(m.at), "updated_at": stamp(updated),
		"html_url": fmt.Sprintf("https://github.com/x/pull/%d#issuecomment-%d", m.number, m.id), "author_association": "NONE",
	}
}

func (s *Server) listComments(c *call) answer {
	found := []any{}
	for _, m := range s.state.comments {
		if int64(m.number) == number(c, "issue_number") {
			found = append(found, m.wire())
		}
	}
	list, h := paged(s, c, found)
	return answer{status: http.StatusOK, body: list, header: h}
}

func tooLong(c *call) (answer, bool) {
	if b := text(c.body, "body"); b == "" || utf8.RuneCountInString(b) > maxComment {
		return refuse(http.StatusUnprocessableEntity, "Validation Failed: body is empty or too long (maximum is 65536 characters)"), true
	}
	return answer{}, false
}

func (s *Server) createComment(c *call) answer {
	if a, bad := tooLong(c); bad {
		return a
	}
	if s.state.pull(number(c, "issue_number")) == nil {
		return notFound()
	}
	m := &comment{id: s.state.next(), number: int(number(c, "issue_number")), login: c.who.name, body: text(c.body, "body"), at: s.Clock.Now(), reactions: map[string]bool{}}
	s.state.comments = append(s.state.comments, m)
	return created(m.wire())
}

func (s *Server) getComment(c *call) answer {
	m := s.comment(number(c, "comment_id"))
	if m == nil {
		return notFound()
	}
	return ok(m.wire())
}

func (s *Server) updateComment(c *call) answer {
	m := s.comment(number(c, "comment_id"))
	if m == nil {
		return notFound()
	}
	if a, bad := tooLong(c); bad {
		return a
	}
	if m.login != c.who.name {
		// GitHub lets whoever may write do that; gate must not.
		s.wrong = append(s.wrong, "a comment of "+m.login+" was changed by "+c.who.name)
	}
	m.body, m.updated = text(c.body, "body"), s.Clock.Now()
	return ok(m.wire())
}

func (s *Server) deleteComment(c *call) answer {
	m := s.comment(number(c, "comment_id"))
	if m == nil {
		return notFound()
	}
	if m.login != c.who.name {
		s.wrong = append(s.wrong, "a comment of "+m.login+" was deleted by "+c.who.name)
	}
	s.state.comments = slices.DeleteFunc(s.state.comments, func(o *comment) bool { return o.id == m.id })
	return answer{status: http.StatusNoContent}
}

func (s *Server) createReaction(c *call) answer {
	m := s.comment(number(c, "comment_id"))
	if m == nil {
		return notFound()
	}
	content := text(c.body, "content")
	key := c.who.name + " " + content
	one := map[string]any{"id": m.id*100 + int64(len(key)), "content": content, "user": account(c.who.name), "created_at": stamp(s.Clock.Now())}
	if m.reactions[key] {
		return ok(one)
	}
	m.reactions[key] = true
	return created(one)
}

func (m *comment) reacted() []string { return slices.Sorted(maps.Keys(m.reactions)) }
