//go:build race

package main

// raceDetector multiplies the memory of what is built with it.
const raceDetector = true
