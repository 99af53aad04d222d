// Package env owns how a struct is read from an environment: tags, secrets and their files, misspelt names, and the mistakes.
// Which variables there are, and which of their values are legal, its caller knows.
//
// A field with the tag env:"NAME, default=…" (go-envconfig's) is filled from the variable NAME; its tag usage:"…" is the
// variable's line in the manual. Structs without an env tag are sections, and are walked.
//
// What always holds:
//   - A variable that is set but empty counts as unset.
//   - Every [Secret] X may be given as X_FILE, the path of a file that holds it.
//   - Every mistake is found, not only the first: fields are decoded one at a time.
//   - No mistake holds the value of a secret, the contents of a file, or a path, which may be a secret in the wrong variable.
package env

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Reading is one reading of an environment: what is set, and the mistakes found so far. One goroutine uses it at a time.
type Reading struct {
	ours     []string          // names of all variables, X_FILE of secrets included
	values   map[string]string // what is set and not empty; a secret's file is read into the secret's own name
	secrets  []string          // values that no mistake may show
	mistakes Errors
}

// New returns a reading of environ, which has the form of os.Environ(). config points to the struct with all variables.
func New(environ []string, config any) *Reading {
	r := &Reading{values: map[string]string{}}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		// The first of two entries wins, as it does in os.Getenv.
		if _, twice := r.values[name]; name != "" && value != "" && !twice {
			r.values[name] = value
		}
	}
	for _, v := range Variables(config) {
		r.ours = append(r.ours, v.Name)
		if !v.Secret {
			continue
		}
		r.ours = append(r.ours, v.Name+"_FILE")
		if value, ok := r.values[v.Name]; ok {
			r.secrets = append(r.secrets, value)
		}
	}
	return r
}

// Err returns the mistakes as an *[Errors], nil where there are none.
func (r *Reading) Err() error { return r.mistakes.Err() }

// Add notes a mistake.
func (r *Reading) Add(variable, wrong, right string) { r.mistakes.Add(variable, wrong, right) }

// AddEach notes every error that is joined in err, or err itself where none are.
func (r *Reading) AddEach(variable string, err error, right string) {
	errs := []error{err}
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		errs = joined.Unwrap()
	}
	for _, e := range errs {
		r.Add(variable, e.Error(), right)
	}
}

// Value returns the variable's text, "" where it is not set.
func (r *Reading) Value(name string) string { return r.values[name] }

// Set reports whether the variable is set.
func (r *Reading) Set(name string) bool {
	_, ok := r.values[name]
	return ok
}

// Given reports whether a secret is set, or its file is, readable or not.
func (r *Reading) Given(name string) bool { return r.Set(name) || r.Set(name+"_FILE") }

// Sound reports whether no mistake has been noted for the variable.
func (r *Reading) Sound(name string) bool {
	return !slices.ContainsFunc(r.mistakes.Mistakes, func(m Mistake) bool { return m.Variable == name })
}

// Show quotes a value for a mistake, shortened. One that may hold a password (a URL's, or a secret in the wrong variable) is
// not shown.
func (r *Reading) Show(value string) string {
	if r.HoldsSecret(value) || strings.Contains(value, "@") {
		return "the value (not shown)"
	}
	if runes := []rune(value); len(runes) > 60 {
		return strconv.Quote(string(runes[:60])) + "…"
	}
	return strconv.Quote(value)
}

// HoldsSecret reports whether the value of a secret is part of value.
func (r *Reading) HoldsSecret(value string) bool {
	return slices.ContainsFunc(r.secrets, func(s string) bool { return strings.Contains(value, s) })
}
