// Package verify proves from the topics alone that the events topic holds exactly the rows that the state says it holds, day by
// day, and compares a day's rows with what Graph shows.
//
// It reads the state at the last commit of each shard, then every partition of the events topic up to the high watermark taken
// after that, and recounts rows, events and digest of each owner window from headers and value bytes. Events of later commits do not
// count, so a producer at work changes nothing; one of a commit that its shard has not made even when all has been read is no
// event of the program's.
//
// For a settled day that is to be read again, it rebuilds the ledger from the events, proved in the same way (Rebuild).
//
// Invariants: nothing is written, no shard is fenced. The recount needs memory by days, not by rows; only the days that differ are
// read again, to name their rows, in as many parts as memory asks for. A report that was interrupted is partial, and proves no day. A
// day is Proved only if rows, events and digest are equal; one that differs is Unproven, and not Differs, only where retention has
// removed events that may be the missing ones.
package verify
