package state

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"
)

func TestKeyOf(t *testing.T) {
	guid := "9c4984c7-6c3c-427d-a30c-bd0b2eacee90"
	k, ok := keyOf(guid)
	if !ok || k.guid() != guid {
		t.Errorf("got %t, %s", ok, k.guid())
	}
	seen := map[rowKey]string{k: guid}
	for _, id := range []string{strings.ToUpper(guid), "9C4984c7-6c3c-427d-a30c-bd0b2eacee90", "{" + guid + "}", guid[1:], guid + "0",
		strings.ReplaceAll(guid, "-", ""), strings.Replace(guid, "9", "g", 1), strings.Replace(guid, "-", "_", 1), "", "~h", string(k[:])} {
		k, ok := keyOf(id)
		if ok {
			t.Errorf("%q is taken for a GUID", id)
		}
		if other, doubled := seen[k]; doubled {
			t.Errorf("%q and %q have one key", id, other)
		}
		seen[k] = id
	}
}

func TestTable(t *testing.T) {
	const n = 1_000_000
	tab := newTable()
	check := map[int]bool{1000: true, 30_000: true, 300_000: true, 700_000: true, n: true}
	for i := 1; i <= n; i++ {
		k, _ := keyOf(guidOf(i))
		tab.put(entry{key: k, fingerprint: uint64(i)})
		if check[i] || i > 1000 && i%9973 == 0 {
			// 64 bytes a row is what the ledger may cost in all.
			if got := float64(unsafe.Sizeof(entry{})) * float64(cap(tab.slots)) / float64(i); got >= 64 {
				t.Fatalf("%d rows: %.1f bytes a row", i, got)
			}
		}
	}
	k, _ := keyOf(guidOf(7))
	tab.put(entry{key: k, fingerprint: 99})
	if tab.n != n {
		t.Errorf("%d rows, want %d", tab.n, n)
	}
	for i := 1; i <= n; i++ {
		k, _ := keyOf(guidOf(i))
		want := uint64(i)
		if i == 7 {
			want = 99
		}
		if e := tab.find(k); e == nil || e.fingerprint != want {
			t.Fatalf("row %d: got %+v", i, e)
		}
	}
	if k, _ := keyOf(guidOf(n + 1)); tab.find(k) != nil {
		t.Error("a row was found that is not there")
	}
}

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

func TestDigestShowsEveryDifference(t *testing.T) {
	type event struct {
		id          string
		revision    int32
		fingerprint uint64
		avro        string
	}
	sum := func(es []event) (d Digest) {
		for _, e := range es {
			d = d.Add(HashEvent(e.id, e.revision, e.fingerprint, []byte(e.avro)))
		}
		return d
	}
	r := rand.New(rand.NewPCG(5, 5))
	for range 500 {
		es := make([]event, 2+r.IntN(20))
		for i := range es {
			es[i] = event{fmt.Sprint("row-", i), r.Int32N(3), r.Uint64(), fmt.Sprint(r.Uint64())}
		}
		want := sum(es)
		r.Shuffle(len(es), func(i, j int) { es[i], es[j] = es[j], es[i] })
		if sum(es) != want {
			t.Fatal("the order shows")
		}
		with := func(change func([]event) []event) []event { return change(append([]event(nil), es...)) }
		for name, other := range map[string][]event{
			"lost":           es[1:],
			"doubled":        append(es[:len(es):len(es)], es[0]),
			"swapped avro":   with(func(e []event) []event { e[0].avro, e[1].avro = e[1].avro, e[0].avro; return e }),
			"other id":       with(func(e []event) []event { e[0].id += "x"; return e }),
			"id and avro":    with(func(e []event) []event { e[0].avro = "x" + e[0].avro; return e }),
			"revision":       with(func(e []event) []event { e[0].revision++; return e }),
			"fingerprint":    with(func(e []event) []event { e[0].fingerprint++; return e }),
			"lost and twice": with(func(e []event) []event { e[0] = e[1]; return e }),
		} {
			if sum(other) == want {
				t.Fatalf("%s does not show", name)
			}
		}
	}
}
