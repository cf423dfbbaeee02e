// Package mutants plants faults in core, one at a time, and sees that a named test finds each: a property that cannot fail proves
// nothing. It has tests only. A fault is an exact piece of source and what stands there instead; the toolchain is given the changed file
// by an overlay, so the tree itself is never touched. A piece that is not in its file exactly once fails the test: move the fault along
// with the code it is about.
//
// It is no search for faults and no measure of coverage; it does not change while tests run in parallel, because it shares nothing.
package mutants
