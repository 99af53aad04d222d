package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// guards are what holds the promise up. Where each stands in the code, a comment names tests that fail without it:
//
//	// Guard: fence. Taken out: TestOpenOrder, TestTakeOvers.
var guards = []string{"fence", "claim barrier", "meta check", "first error", "one epoch", "abort on error", "unknown outcome", "seen-set", "ledger restore", "host pin", "budget",
	"one goroutine a shard", "whole scan", "standing by", "stale page", "no redirect"}

// TestGuards: every guard is in the code, with the name of a test that is there to fail when it is taken out.
func TestGuards(t *testing.T) {
	guard, test := regexp.MustCompile(`^\s*// Guard: ([^.]+)\. Taken out: (.*)`), regexp.MustCompile(`\bTest[A-Z]\w*`)
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	there := map[string]bool{}
	named := map[string][]string{} // tests, by guard
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, "_test.go") {
			for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
				there[m[1]] = true
			}
			return nil
		}
		of := ""
		for line := range strings.Lines(string(text)) {
			m := guard.FindStringSubmatch(line)
			switch {
			case m != nil:
				of = m[1]
				line = m[2]
			case of == "" || !strings.HasPrefix(strings.TrimSpace(line), "//"):
				of = ""
				continue
			}
			named[of] = append(named[of], test.FindAllString(line, -1)...)
			if strings.HasSuffix(strings.TrimSpace(line), ".") { // the sentence may go on in the next line
				of = ""
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range guards {
		if len(named[g]) == 0 {
			t.Errorf("no comment names a test for the guard %q", g)
		}
	}
	for g, tests := range named {
		if !slices.Contains(guards, g) {
			t.Errorf("the guard %q is in no line of guards", g)
		}
		for _, name := range tests {
			if !there[name] {
				t.Errorf("guard %q: there is no %s", g, name)
			}
		}
	}
}
