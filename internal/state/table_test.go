package state

import (
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
