// Package row turns one row of Graph's PSTN call log into what the program publishes: privacy, then identity, then
// fingerprint, then an event or a reject. It is pure: no clock, no network, no log.
//
// # Invariants
//
//   - Every row comes back: with an event, or with a reject that says which property is wrong. Either way it has an id and a
//     fingerprint, and both are the same whenever the same row is seen again.
//   - The privacy rules come first. Nothing that they remove reaches the event, the key, the id, the fingerprint, the reject
//     or the JSON kept for the dead-letter topic. A rule covers its name in any letter case and at any depth; a value that
//     cannot be masked or hashed, because it is no string, is withheld; a row that is no object is withheld whole (it
//     counts as null).
//   - Nothing returned refers to the caller's bytes or to a buffer that is used again.
//
// # Fingerprint, algorithm 1
//
// What follows is frozen: ledgers hold these numbers. XXH64 is xxhash64 with seed 0, le32 and le64 are little-endian.
//
//	enc(null)   = "n"
//	enc(true)   = "t"
//	enc(false)  = "f"
//	enc(string) = "s" + its text in UTF-8, escapes resolved
//	              (text that is not valid Unicode: "x" + the literal as it came, quotes included)
//	enc(number) = "#" + its canonical form: "0", or sign, digits without zeros at either end, "e", exponent
//	              (0.0 is "0", 100 is "1e2", -12.50 is "-125e-1")
//	enc(array)  = "[" + le64(XXH64(le64(XXH64(enc(element))) for each element, in order))
//	enc(object) = "{" + le64(sum of member hashes, modulo 2^64)
//	member hash = XXH64(le32(length of the name in bytes) + name + enc(value))
//	fingerprint = XXH64(enc(row))
//
// Members whose value is null and members whose name contains "@odata." are left out, at any depth. A name that is not valid
// Unicode is hashed as its literal. The sum makes the order of members irrelevant without sorting them.
//
// # Row id
//
// Graph's id, if it is a string of 1 to 256 bytes that does not begin with "~". Otherwise "~" and the first 32 hex digits of
// SHA-256 over "row" and, for each of callId, userId, startDateTime, callType, callerNumber, calleeNumber and conferenceId,
// the le64 of its member hash (0 where absent; the sum where it is there twice). For a row that is no object: over "value"
// and its enc. This stays on algorithm 1 even if the fingerprint moves on.
package row
