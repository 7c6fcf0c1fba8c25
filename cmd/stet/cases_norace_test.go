//go:build !race

package main

import "time"

// raceDetector multiplies the memory of what is built with it, and its time.
const raceDetector = false

// patience is how long the program may run in a case.
const patience = time.Minute
