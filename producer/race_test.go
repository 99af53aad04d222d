//go:build race

package main

// The race detector makes everything some ten times as slow; the hundred kills are counted without it.
const randomKills, takeOvers = 25, 8
