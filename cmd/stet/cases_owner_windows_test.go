package main

import (
	"io/fs"
	"testing"
)

// checkOwner has nothing to look at.
func checkOwner(*testing.T, fs.FileInfo) {}
