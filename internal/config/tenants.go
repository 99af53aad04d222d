package config

import (
	"errors"
	"fmt"
	"strings"

	"pstncalls/internal/config/env"
	"pstncalls/internal/graph"
)

// ReadTenants returns the tenants in a file: one a line; blank lines, and what follows a #, do not count. There is at least one,
// all are legal and different. The error names every line that is wrong, but shows none: the file may be a wrong one.
func ReadTenants(path string) ([]string, error) {
	text, err := env.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var tenants []string
	var wrong []error
	seen := map[string]bool{}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		id, _, _ := strings.Cut(line, "#")
		if id = strings.TrimSpace(id); id == "" {
			continue
		}
		if err := checkTenant(id, seen); err != nil {
			wrong = append(wrong, fmt.Errorf("line %d %w", n, err))
		}
		tenants = append(tenants, id)
	}
	if len(tenants) == 0 {
		return nil, errors.New("the file names no tenant")
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return tenants, nil
}

// checkTenant refuses an id that the Graph client would refuse or that the state topic cannot tell from its own names, and one that
// is in seen already; it adds the id there.
func checkTenant(id string, seen map[string]bool) error {
	if !graph.ValidTenant(id) {
		return errors.New("is not the id of a tenant")
	}
	switch id {
	case "meta", "claim", "signal":
		return errors.New("is a name that the state topic uses itself")
	}
	// Graph does not tell cases apart: a tenant polled under two spellings would have all its rows twice.
	lower := strings.ToLower(id)
	if seen[lower] {
		return errors.New("names a tenant a second time")
	}
	seen[lower] = true
	return nil
}
