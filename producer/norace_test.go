//go:build !race

package main

const randomKills, takeOvers = 100, 20

const compression = "lz4"
