package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/config"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// between returns the lines between two markers of the README.
func between(t *testing.T, text, begin, end string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, begin+"\n")
	part, _, ok2 := strings.Cut(rest, "\n"+end)
	if !ok || !ok2 {
		t.Fatalf("README.md has no lines between %s and %s", begin, end)
	}
	return part
}

// The README's table of variables is the manual.
func TestReadmeConfiguration(t *testing.T) {
	want := "| variable | default | meaning |\n|---|---|---|"
	for _, v := range config.Manual() {
		name, def := "`"+v.Name+"`", v.Default
		if v.Secret {
			name += " or `" + v.Name + "_FILE`"
		}
		if def != "" {
			def = "`" + def + "`"
		}
		want += fmt.Sprintf("\n| %s | %s | %s |", name, def, strings.ReplaceAll(v.Meaning, "|", `\|`))
	}
	got := between(t, readme(t), "<!-- variables: config.Manual -->", "<!-- end of variables -->")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("README.md, configuration: -want +got\n%s\nthe table as it should be:\n%s", d, want)
	}
}

// Every command is in the README's table with its synopsis, and the README names no other.
func TestReadmeCommands(t *testing.T) {
	text := readme(t)
	known := map[string]bool{"help": true}
	want := "| command | what it does |\n|---|---|"
	for _, c := range commands() {
		known[c.name] = true
		want += fmt.Sprintf("\n| `%s` | %s |", c.name, c.synopsis)
	}
	got := between(t, text, "<!-- commands -->", "<!-- end of commands -->")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("README.md, commands: -want +got\n%s\nthe table as it should be:\n%s", d, want)
	}
	for _, m := range regexp.MustCompile(`go run \./producer ([a-z]+)`).FindAllStringSubmatch(text, -1) {
		if !known[m[1]] {
			t.Errorf("README.md: %q is no command", m[0])
		}
	}
}

// The README's table of conditions is the definitions.
func TestReadmeConditions(t *testing.T) {
	want := "| condition | meaning | what you do |\n|---|---|---|"
	for _, d := range status.Definitions {
		want += fmt.Sprintf("\n| `%s` | %s | %s |", d.Name, d.Meaning, d.Do)
	}
	got := between(t, readme(t), "<!-- conditions: status.Definitions -->", "<!-- end of conditions -->")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("README.md, conditions: -want +got\n%s\nthe table as it should be:\n%s", d, want)
	}
}

// The README's table of versions ends with the formats of this one, and what each version left behind is in the tree.
func TestReadmeVersions(t *testing.T) {
	part := between(t, readme(t), "### Versions", "Rolling back:")
	rows := regexp.MustCompile(`(?m)^\| (\d+\.\d+\.\d+)[^|]* \| (\d+) \|`).FindAllStringSubmatch(part, -1)
	if len(rows) == 0 || rows[len(rows)-1][2] != strconv.Itoa(state.Version) {
		t.Fatalf("README.md, versions: %q, and the state's format is %d", rows, state.Version)
	}
	for _, r := range rows {
		if _, err := os.Stat("testdata/state-" + r[1] + ".jsonl"); err != nil {
			t.Errorf("version %s: %v: write it with TestMakeGolden", r[1], err)
		}
	}
}
