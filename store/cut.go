package store

// Cut cuts operations, in their order, into runs of at most so many operations and bytes each. An operation larger than that is a run
// of its own. It copies nothing.
func Cut(ops []Op, most, bytes int) (out [][]Op) {
	from, size := 0, 0
	for i, op := range ops {
		n := op.Size()
		if i > from && (i-from == most || size+n > bytes) {
			out = append(out, ops[from:i])
			from, size = i, 0
		}
		size += n
	}
	if from < len(ops) {
		out = append(out, ops[from:])
	}
	return out
}
