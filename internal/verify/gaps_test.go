package verify

import "testing"

// One event can claim any number of revisions before it. So many are not named, for they would not fit into memory.
func TestGapsAreBounded(t *testing.T) {
	for _, claimed := range []int32{1_000_000, 1<<31 - 2, 1<<31 - 1} {
		notes := gaps(map[string][]found{"a": {{revision: claimed}}, "b": {{revision: 0}, {revision: 2}, {revision: 2}}}, false)
		missing, doubled := map[string]int{}, 0
		for _, n := range notes {
			if n.What == Missing {
				missing[n.RowID]++
			} else {
				doubled++
			}
		}
		if missing["a"] != maxMissing || missing["b"] != 1 || doubled != 1 {
			t.Errorf("an event of revision %d: %v missing, %d doubled", claimed, missing, doubled)
		}
	}
}
