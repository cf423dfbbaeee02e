// Package checkpoint is the agent's memory on disk: a small map from keys to values that survives the death of the
// agent and of the machine at any instant.
//
// Underneath is one file, "journal", of appended records. A record holds one [Batch] and is taken whole or not at all.
// Its frame is its length and a CRC-32C over its place in the file, its length and its content, so that a record is
// never taken for one at another place. [Journal.Commit] returns only after the record is on disk; all batches that are
// waiting share one write and one fdatasync. The file is rewritten without what is outdated at [Open] and when more
// than half of it is outdated; the rewrite is a new file, synced and renamed over the old one, then the directory is
// synced.
//
// # Damage
//
// A file that ends inside a record was cut off by a crash; nothing in that record was ever acknowledged, and it is
// dropped. Any other unreadable stretch is [Damage]: it is reported with its place, the records before and after it are
// kept, and the file as it was found stays beside the journal under another name.
//
// # Disk full
//
// A batch that cannot be written is refused with an error and leaves no trace; the journal goes on and takes the next
// batch that fits.
//
// # What it is not
//
// It is no database: all values are in memory, and there is one owner. A lock on the directory keeps a second process
// out. All methods are safe for concurrent use; one goroutine, which ends with [Journal.Close], does the writing.
package checkpoint
