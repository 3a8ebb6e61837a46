package ledger

import (
	"fmt"
	"testing"
)

func BenchmarkAppend(b *testing.B) {
	l := openIn(b, state(b))
	for i := 0; b.Loop(); i++ {
		if _, err := l.Append(b.Context(), statement(fmt.Sprint("bench-", i))); err != nil {
			b.Fatal(err)
		}
	}
}

// large builds a ledger of n entries.
func large(b *testing.B, n int) string {
	dir := state(b)
	l := openIn(b, dir)
	all := make([]Statement, n-1)
	for i := range all {
		all[i] = statement(fmt.Sprint("bench-", i))
	}
	_, err := l.AppendAll(b.Context(), all)
	must(b, err)
	return dir
}

func BenchmarkVerify10000(b *testing.B) {
	dir := large(b, 10000)
	for b.Loop() {
		if rep := verified(b, openIn(b, dir)); rep.Entries != 10000 {
			b.Fatal(rep.Entries)
		}
	}
}

// BenchmarkRead10000 is what a command pays that looks at the whole ledger once.
func BenchmarkRead10000(b *testing.B) {
	dir := large(b, 10000)
	for b.Loop() {
		if _, _, err := openIn(b, dir).Head(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendAt10000(b *testing.B) {
	l := openIn(b, large(b, 10000))
	_, _, err := l.Head(b.Context())
	must(b, err)
	for i := 0; b.Loop(); i++ {
		if _, err := l.Append(b.Context(), statement(fmt.Sprint("more-", i))); err != nil {
			b.Fatal(err)
		}
	}
}
