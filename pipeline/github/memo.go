package github

import "sync"

// memo keeps the first answer that was no error.
type memo[T any] struct {
	mu    sync.Mutex
	known bool
	value T
}

func (m *memo[T]) get(ask func() (T, error)) (T, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known {
		return m.value, nil
	}
	v, err := ask()
	if err == nil {
		m.value, m.known = v, true
	}
	return v, err
}
