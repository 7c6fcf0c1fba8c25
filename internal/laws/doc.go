// Package laws holds the laws of the house as tests: what may import what,
// what a package of pkg must not touch, how long files and functions may grow,
// what must stand beside what. It has no code of its own for others to import.
//
// A law is a function from a tree of files to findings. Each is tried twice:
// on testdata/bad/<law>.txtar, a small tree that breaks it and says where, and
// on the repository. A finding that is right as it is gets a line with its
// reason in allow.txt; a line that allows nothing fails as well.
//
// The laws read syntax and the module's own types. They are tripwires for
// honest mistakes, no proof against somebody who wants to get around them.
package laws
