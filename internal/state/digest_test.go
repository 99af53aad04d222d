package state

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestDigestGolden(t *testing.T) {
	d := HashEvent("9c4984c7-6c3c-427d-a30c-bd0b2eacee90", 1, 0x0102030405060708, []byte("avro"))
	if got, want := d.String(), "dd2bca1a551d0861b3eb45f84f94c793"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	b, err := json.Marshal(d)
	var back Digest
	if err != nil || json.Unmarshal(b, &back) != nil || back != d {
		t.Errorf("%s reads back as %s", b, back)
	}
	for _, s := range []string{"", "12", strings.Repeat("g", 32), strings.Repeat("0", 33)} {
		if back.UnmarshalText([]byte(s)) == nil {
			t.Errorf("%q was read", s)
		}
	}
	carry := Digest{0, ^uint64(0)}.Add(Digest{0, 1})
	if want := (Digest{1, 0}); carry != want {
		t.Errorf("carry: got %s", carry)
	}
}

// Whatever the events are: their order does not matter; one that is lost, doubled, changed or swapped always shows.
func TestDigestShowsEveryDifference(t *testing.T) {
	type event struct {
		id          string
		revision    int32
		fingerprint uint64
		avro        []byte
	}
	sum := func(es []event) (d Digest) {
		for _, e := range es {
			d = d.Add(HashEvent(e.id, e.revision, e.fingerprint, e.avro))
		}
		return d
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 5))
		randomBytes := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			return b
		}
		// Rows with up to three revisions; ids of all lengths, so that an id can be mistaken for the next field.
		var es []event
		for i := range 2 + r.IntN(10) {
			id := guidOf(i)
			if r.IntN(3) == 0 {
				id = fmt.Sprintf("%d-%s", i, randomBytes(r.IntN(300)))
			}
			for revision := range 1 + r.Int32N(3) {
				es = append(es, event{id, revision, r.Uint64(), randomBytes(1 + r.IntN(60))})
			}
		}
		es = append(es, event{es[0].id, 100, r.Uint64(), randomBytes(9)}) // a row with two revisions at least
		want := sum(es)
		r.Shuffle(len(es), func(i, j int) { es[i], es[j] = es[j], es[i] })
		if sum(es) != want {
			t.Fatalf("seed %d: the order shows", seed)
		}
		half := r.IntN(len(es))
		if sum(es[:half]).Add(sum(es[half:])) != want {
			t.Fatalf("seed %d: the sum of two parts is not the sum of all", seed)
		}
		shows := func(what string, change func([]event) []event) {
			t.Helper()
			if sum(change(slices.Clone(es))) == want {
				t.Fatalf("seed %d: %s does not show", seed, what)
			}
		}
		for i, e := range es {
			set := func(what string, with event) {
				t.Helper()
				shows(what, func(es []event) []event { es[i] = with; return es })
			}
			shows("a lost event", func(es []event) []event { return slices.Delete(es, i, i+1) })
			shows("a doubled event", func(es []event) []event { return append(es, e) })
			shows("an event three times", func(es []event) []event { return append(es, e, e) })
			set("another id", event{e.id + "x", e.revision, e.fingerprint, e.avro})
			set("a shorter id", event{e.id[1:], e.revision, e.fingerprint, e.avro})
			set("a revision more", event{e.id, e.revision + 1, e.fingerprint, e.avro})
			set("another revision", event{e.id, e.revision ^ 1<<r.IntN(31), e.fingerprint, e.avro})
			set("another fingerprint", event{e.id, e.revision, e.fingerprint ^ 1<<r.IntN(64), e.avro})
			set("a longer value", event{e.id, e.revision, e.fingerprint, append(slices.Clone(e.avro), 0)})
			set("a shorter value", event{e.id, e.revision, e.fingerprint, e.avro[1:]})
			for at := range e.avro {
				changed := slices.Clone(e.avro)
				changed[at] ^= byte(1 + r.IntN(255))
				set(fmt.Sprintf("byte %d of the value", at), event{e.id, e.revision, e.fingerprint, changed})
			}
			j := (i + 1 + r.IntN(len(es)-1)) % len(es)
			if string(es[j].avro) != string(e.avro) {
				shows("values swapped between two events", func(es []event) []event {
					es[i].avro, es[j].avro = es[j].avro, es[i].avro
					return es
				})
			}
			shows("fingerprints swapped between two events", func(es []event) []event {
				es[i].fingerprint, es[j].fingerprint = es[j].fingerprint, es[i].fingerprint
				return es
			})
			shows("one event in the place of another", func(es []event) []event { es[j] = e; return es })
			for k := range es {
				if k == i || es[k].id != e.id || string(es[k].avro) == string(e.avro) {
					continue
				}
				shows("values swapped between two revisions of a row", func(es []event) []event {
					es[i].avro, es[k].avro = es[k].avro, es[i].avro
					return es
				})
				shows("two revisions of a row swapped", func(es []event) []event {
					es[i].fingerprint, es[k].fingerprint = es[k].fingerprint, es[i].fingerprint
					es[i].avro, es[k].avro = es[k].avro, es[i].avro
					return es
				})
			}
		}
	}
}

// Where one field ends and the next begins shows, too.
func TestDigestKeepsFieldsApart(t *testing.T) {
	whole := HashEvent("row", 0x01020304, 0x05060708090a0b0c, []byte("value"))
	for _, other := range []Digest{
		HashEvent("ro", 0x77010203, 0x0405060708090a0b, []byte("\x0cvalue")),
		HashEvent("row\x01", 0x02030405, 0x060708090a0b0c76, []byte("alue")),
		HashEvent("", 0x01020304, 0x05060708090a0b0c, []byte("value")),
	} {
		if other == whole {
			t.Error("two events have one hash")
		}
	}
}
