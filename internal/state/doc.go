// Package state owns what is known of a tenant between two commits: its windows, scans and ledgers, their digests, and the
// records of the state topic that hold them. It is pure: it reads records, answers what to publish for a row, and returns the
// records that make the answer durable.
//
// Keys and values, all under "<tenant>/pstn/":
//
//	tenant              JSON   where polling starts, requests of the last minute, conditions, lateness, how Graph reads, backfill,
//	                           how often new rows come
//	window/<day>        JSON   the window offset: counts, digest, last scan; day as 2026-11-01; until its ledger is dropped
//	month/<month>       JSON   the days whose ledgers have been dropped; month as 2026-11
//	scan/<day>          JSON   a scan in progress, by the first day of its range: where to go on
//	forgotten           JSON   the commit with which the tenant was forgotten; all else is deleted with it
//	ledger/<day>/<seq>  binary row ids with fingerprint and revision that one commit added or changed; see segment.go
//
// Beside them, under "shard", JSON: the conditions of the shard itself.
//
// A window's ledger is the fold of its ledger records in the order of seq: the higher seq wins. Every JSON value carries
// "v": 1; a newer one is refused.
//
// A day is in its month's record or has a window offset, never both. A settled window is never read again, unless somebody asks for
// it (Reopen); its ledger lives on for a while, because rows move into younger windows (Drop).
//
// What commands ask of the owner of a tenant's shard lies under "signal/<id>" (Signal).
//
// Invariants: a row has one entry in a tenant, in the ledger of its owner window, wherever it moves. Memory is changed before
// the commit; when the commit fails, the Tenant is thrown away and loaded again.
package state
