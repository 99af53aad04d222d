//go:build !race

package main

const randomKills, takeOvers = 100, 20
