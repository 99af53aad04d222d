package env

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// Errors is every mistake in an environment. The zero Errors has none.
type Errors struct {
	Mistakes []Mistake
}

// Mistake is one thing that is wrong with one variable.
type Mistake struct {
	Variable string
	Wrong    string // what is wrong
	Right    string // what would be right
}

// Add notes a mistake. What is not printable in it is replaced: no line feed in a value may pass for a line of ours.
func (e *Errors) Add(variable, wrong, right string) {
	e.Mistakes = append(e.Mistakes, Mistake{Variable: printable(variable), Wrong: printable(wrong), Right: printable(right)})
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// Err returns e with its mistakes sorted by variable, nil where it has none.
func (e *Errors) Err() error {
	if len(e.Mistakes) == 0 {
		return nil
	}
	slices.SortFunc(e.Mistakes, func(a, b Mistake) int { return cmp.Compare(a.String(), b.String()) })
	return e
}

// Error returns the mistakes, one a line.
func (e *Errors) Error() string {
	lines := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// String returns the mistake as `VARIABLE: what is wrong; what would be right`.
func (m Mistake) String() string { return m.Variable + ": " + m.Wrong + "; " + m.Right }
