package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// golden is what a release left behind: its topics, what Graph showed then, and when that was. TestMakeGolden writes it.
type golden struct {
	Version  string            `json:"version"`
	At       time.Time         `json:"at"`       // by the program's clock
	Endpoint string            `json:"endpoint"` // stands for the simulator's root
	IDs      map[string]string `json:"ids"`      // of the topics, by suffix of the name
	Sizes    map[string]int32  `json:"sizes"`    // their partitions

	rows []goldenRow
	recs []*goldenRecord
}

// goldenRow is a row as Graph showed it.
type goldenRow struct {
	Graph json.RawMessage `json:"graph"`
	Gone  bool            `json:"gone,omitempty"` // not any more
}

// goldenRecord is a committed record; of the compacted topics the newest of its key.
type goldenRecord struct {
	Topic     string       `json:"topic"` // what the name of the events topic is followed by
	Partition int32        `json:"partition"`
	Key       string       `json:"key"`
	Time      int64        `json:"time"`
	Headers   [][2]string  `json:"headers,omitempty"`
	Value     goldenBinary `json:"value"`
}

// goldenBinary stands there as it is where it is an object of JSON, and in base64 otherwise.
type goldenBinary []byte

func (b goldenBinary) MarshalJSON() ([]byte, error) {
	if len(b) > 0 && b[0] == '{' && json.Valid(b) {
		return b, nil
	}
	return json.Marshal([]byte(b))
}

func (b *goldenBinary) UnmarshalJSON(text []byte) error {
	if text[0] == '{' {
		*b = slices.Clone(text)
		return nil
	}
	return json.Unmarshal(text, (*[]byte)(b))
}

func (g *golden) write(t *testing.T, path string) {
	t.Helper()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	lines := []any{g}
	for _, r := range g.rows {
		lines = append(lines, r)
	}
	for _, r := range g.recs {
		lines = append(lines, r)
	}
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666) // what a release has written is never written again
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(out.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func readGolden(t *testing.T, path string) *golden {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g := &golden{}
	lines := bufio.NewScanner(f)
	for n := 0; lines.Scan(); n++ {
		var into any = g
		switch {
		case n == 0:
		case strings.HasPrefix(lines.Text(), `{"graph":`):
			g.rows = append(g.rows, goldenRow{})
			into = &g.rows[len(g.rows)-1]
		default:
			r := &goldenRecord{}
			g.recs = append(g.recs, r)
			into = r
		}
		if err := json.Unmarshal(lines.Bytes(), into); err != nil {
			t.Fatalf("%s: line %d: %v", path, n+1, err)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return g
}
