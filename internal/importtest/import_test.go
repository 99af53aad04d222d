// Package importtest proves the shape of the module: which package may import which, who may use which library, and that no
// file has outgrown its readers. It has no code of its own.
package importtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "pstncalls"

// allowed says which packages of the module a package may import outside its tests: only ones further down.
// A new package needs a line here, so its place is a decision.
var allowed = map[string][]string{
	"producer": {"internal/clock", "internal/config", "internal/graph", "internal/graphfake", "internal/kafka", "internal/poller", "internal/row",
		"internal/schedule", "internal/state", "internal/status", "internal/verify", "internal/window", "schema"},
	"internal/importtest": {},

	"internal/poller": {"internal/clock", "internal/graph", "internal/kafka", "internal/row", "internal/schedule", "internal/state",
		"internal/status", "internal/verify", "internal/window", "schema"},
	"internal/verify": {"internal/clock", "internal/graph", "internal/kafka", "internal/row", "internal/state", "internal/window", "schema"},
	"internal/status": {"internal/kafka", "internal/schedule", "internal/state", "internal/window"},

	// The simulator knows nothing of the client: the two must be able to disagree.
	"internal/graphfake":         {"internal/clock", "internal/graphfake/calllog", "internal/graphfake/verdict", "internal/window"},
	"internal/graphfake/verdict": {"internal/graphfake/calllog"},
	"internal/graphfake/calllog": {"internal/window"},

	"internal/graph":    {"internal/clock"},
	"internal/kafka":    {"schema"},
	"internal/config":   {"internal/config/env", "internal/graph", "internal/row", "internal/window"},
	"internal/row":      {"schema"},
	"internal/schedule": {"internal/state", "internal/window"},
	"internal/state":    {"internal/window"},

	"internal/config/env": {},
	"internal/clock":      {},
	"internal/window":     {},
	"schema":              {},
}

// libraries says who may import what from outside, in code that is not a test: a package, or one file of it. The longest prefix of
// an import decides; what no prefix matches is free.
var libraries = map[string][]string{
	"net/http":                           {"internal/graph", "internal/graphfake", "internal/status", "producer"},
	"github.com/Azure":                   {"internal/graph"},
	"golang.org/x/oauth2":                {"internal/graph"},
	"github.com/twmb/franz-go":           {"internal/kafka", "producer/committed.go", "producer/demo.go", "producer/records.go"}, // records.go: what demo reads back
	"github.com/twmb/franz-go/pkg/kfake": {"producer/demo.go"},
	"github.com/twmb/franz-go/pkg/sr":    {"producer/registry.go", "producer/schema.go"},
	"github.com/hamba/avro":              {"schema"},
	"github.com/twmb/avro":               {}, // the second decoder of the tests
	"github.com/prometheus":              {"internal/status", "producer"},
	"github.com/sethvargo/go-envconfig":  {"internal/config/env"},
	"github.com/google/go-cmp":           {},
	"testing":                            {},
}

// Most lines of a file.
const (
	mostMain = 150 // producer/main.go
	mostCode = 499
	mostTest = 600
)

type pkg struct {
	Dir, ImportPath, Name              string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
}

// rel returns the package's path in the module.
func (p *pkg) rel() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func packages(t *testing.T) []*pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var ps []*pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		ps = append(ps, p)
	}
}

func TestDirection(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t) {
		seen[p.rel()] = true
		may, ok := allowed[p.rel()]
		if !ok {
			t.Errorf("%s is in no line of allowed", p.rel())
			continue
		}
		for _, imported := range p.Imports {
			if r, ours := strings.CutPrefix(imported, module+"/"); ours && !slices.Contains(may, r) {
				t.Errorf("%s imports %s", p.rel(), r)
			}
		}
		// Tests may look sideways, but config stays main's alone.
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if imported == module+"/internal/config" && p.rel() != "producer" && p.rel() != "internal/config" {
				t.Errorf("a test of %s imports config", p.rel())
			}
		}
	}
	for name := range allowed {
		if !seen[name] {
			t.Errorf("allowed names %s, which does not exist", name)
		}
	}
	noCycle(t)
}

// noCycle checks the table itself: what may be imported, directly or not, must not lead back.
func noCycle(t *testing.T) {
	t.Helper()
	var reach func(from, to string, depth int) bool
	reach = func(from, to string, depth int) bool {
		return depth < len(allowed) && slices.ContainsFunc(allowed[from], func(n string) bool { return n == to || reach(n, to, depth+1) })
	}
	for name := range allowed {
		if reach(name, name, 0) {
			t.Errorf("allowed leads from %s back to it", name)
		}
	}
}

func TestLibraries(t *testing.T) {
	for _, p := range packages(t) {
		for _, file := range p.GoFiles {
			for _, imported := range imports(t, filepath.Join(p.Dir, file)) {
				who, owned := owners(imported)
				if owned && !slices.Contains(who, p.rel()) && !slices.Contains(who, path.Join(p.rel(), file)) {
					t.Errorf("%s imports %s: only %v may, and tests", path.Join(p.rel(), file), imported, who)
				}
			}
		}
	}
}

// owners returns who may import a path, by the longest prefix that covers it.
func owners(imported string) (who []string, owned bool) {
	longest := -1
	for prefix, o := range libraries {
		if (imported == prefix || strings.HasPrefix(imported, prefix+"/")) && len(prefix) > longest {
			longest, who, owned = len(prefix), o, true
		}
	}
	return who, owned
}

func imports(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, s := range f.Imports {
		p, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		paths = append(paths, p)
	}
	return paths
}

func TestSizesAndNames(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains([]string{"util", "utils", "common", "types", "helpers", "misc", "shared"}, p.Name) {
			t.Errorf("%s: the name %s says nothing", p.rel(), p.Name)
		}
		for _, file := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			most := mostCode
			switch name := path.Join(p.rel(), file); {
			case name == "producer/main.go":
				most = mostMain
			case strings.HasSuffix(file, "_test.go"):
				most = mostTest
			}
			text, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(text, []byte("\n")); n > most {
				t.Errorf("%s has %d lines, at most %d are allowed", path.Join(p.rel(), file), n, most)
			}
		}
	}
}
