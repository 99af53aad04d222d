//go:build race

package main

// The race detector makes everything some ten times as slow; the hundred kills are counted without it.
const randomKills, takeOvers = 25, 8

// Under the race detector sync.Pool drops what it is given, and the LZ4 reader then makes 8 MiB of buffers for every small
// batch: thousands of batches take minutes to read.
const compression = "none"
